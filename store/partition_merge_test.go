package store_test

import (
	"context"
	"database/sql"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/internal/testutil"
	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

const countPartitions = `SELECT count(*) FROM pg_inherits WHERE inhparent = 'sensor_data'::regclass`

// openDaily opens two stores on a database with a reading on each of days before now, a partition
// each: one that creates partitions of days, and one that chooses their size.
func openDaily(
	t *testing.T, days int,
) (daily, chooses *store.Store, db *sql.DB, rs []store.Reading) {
	t.Helper()
	dsn := pgtest.DSN(t) + durable
	db, err := sql.Open("postgres", dsn)
	ok(t, err)
	t.Cleanup(func() { _ = db.Close() })
	daily, chooses = openAt(t, dsn), openWith(t, dsn,
		func(c *store.Config) { c.Partition = "auto" })
	now := time.Now().UTC().Truncate(time.Second)
	for d := range days {
		rs = append(rs,
			store.Reading{
				SensorID:  1,
				Timestamp: now.AddDate(0, 0, -d),
				Received:  now,
				Value:     float64(d),
			})
	}
	for part := range slices.Chunk(rs, 300) {
		write(t, daily, part...)
	}
	if n := scan[int](t, db, countPartitions); n != days {
		t.Fatalf("got %d partitions, want %d", n, days)
	}
	return daily, chooses, db, rs
}

// mergeAll merges until nothing is left to merge or in use.
func mergeAll(t *testing.T, s *store.Store) {
	t.Helper()
	for again := true; again; {
		again = false
		err := s.MergePartitions(t.Context(), time.Now(),
			func(m store.MergedPartitions) { again = again || m.InUse })
		if err != nil && !store.Transient(err) {
			t.Fatal(err)
		}
		again = again || err != nil
	}
}

// TestMergePartitions_ChangesNoReading has two instances merge, whose passes are interrupted, while
// readings are written and deleted: a reader sees all readings at every moment.
func TestMergePartitions_ChangesNoReading(t *testing.T) {
	daily, chooses, db, rs := openDaily(t, 400)
	store.RollUpAtOnce(chooses)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	want := map[string]bool{}
	for _, r := range rs {
		want[line(r)] = true
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var writers, workers errgroup.Group
	writers.Go(func() error {
		rnd := rand.New(rand.NewPCG(seed, 1))
		for i := range 250 {
			late := rs[rnd.IntN(len(rs))]
			late.SensorID, late.Timestamp = 2, late.Timestamp.Add(time.Duration(i)*time.Millisecond)
			_, err := daily.Write(t.Context(), []store.Reading{late}, store.SideWrites{})
			if err != nil {
				return err
			}
			want[line(late)] = true
			if rnd.IntN(4) == 0 {
				if _, err := daily.DeleteReadings(t.Context(), 2, late.Timestamp,
					late.Timestamp.Add(time.Millisecond), false); err != nil {
					return err
				}
				delete(want, line(late))
			}
			// another value, in place of a deleted one
			if late.Value++; !want[line(late)] && rnd.IntN(4) == 0 {
				res, err := daily.Write(t.Context(), []store.Reading{late}, store.SideWrites{})
				if err != nil {
					return err
				}
				if res.Outcomes[0] == store.Stored {
					want[line(late)] = true
				}
			}
		}
		return nil
	})
	for w, s := range []*store.Store{chooses, daily} {
		workers.Go(func() error {
			rnd := rand.New(rand.NewPCG(seed, 100+uint64(w)))
			for ctx.Err() == nil {
				cut, stop := context.WithTimeout(ctx,
					time.Duration(100+rnd.IntN(1500))*time.Millisecond)
				_ = s.MergePartitions(cut, time.Now(), func(store.MergedPartitions) {})
				_, _, _ = s.RollUp(cut, 1+rnd.IntN(40))
				stop()
			}
			return nil
		})
	}
	workers.Go(func() error {
		for ctx.Err() == nil {
			got, err := chooses.Readings(t.Context(),
				store.ReadingsQuery{Sensors: []int64{1}, Limit: 1000})
			if err != nil {
				return err
			}
			if len(got) != len(rs) {
				t.Errorf("%d readings are seen while partitions are merged, want %d", len(got),
					len(rs))
				return nil
			}
		}
		return nil
	})
	ok(t, writers.Wait())
	cancel()
	ok(t, workers.Wait())
	testutil.Eventually(t, testutil.Timeout,
		"the sessions of the passes that were cut off have ended", func() bool {
			const sessions = `
			SELECT count(*)
			FROM pg_stat_activity
			WHERE datname = current_database() AND application_name = 'oei-ms merge'`
			return scan[int](t, db, sessions) == 0
		})
	mergeAll(t, chooses)
	for _, got := range lines(all(t, daily, 1, 2)) {
		if !want[got] {
			t.Errorf("%s was found, but was not written or was deleted", got)
		}
		delete(want, got)
	}
	for l := range want {
		t.Errorf("%s is lost", l)
	}
	// the days of the last two months, and months
	if n := scan[int](t, db, countPartitions); n > 80 {
		t.Errorf("%d partitions are left", n)
	}
	const triggers = `SELECT count(*) FROM pg_trigger WHERE tgname = 'note_merge_change'`
	if n := scan[int](t, db, triggers); n > 0 {
		t.Errorf("%d triggers are left", n)
	}
	drainRollups(t, chooses)
	_, _, err := checkRollups(t.Context(), db)
	ok(t, err)
}

// TestMergePartitions_OfThousands has a database that answers queries with thousands of partitions,
// of which few are left.
func TestMergePartitions_OfThousands(t *testing.T) {
	_, chooses, db, rs := openDaily(t, 1500)
	got, err := chooses.Readings(t.Context(),
		store.ReadingsQuery{Sensors: []int64{1}, Limit: 10_000})
	ok(t, err)
	if len(got) != len(rs) {
		t.Errorf("got %d readings, want %d", len(got), len(rs))
	}
	start, end := rs[len(rs)-1].Timestamp, rs[0].Timestamp.Add(time.Second)
	found, _, err := chooses.History(t.Context(), series.HistoryQuery{
		Sensors: []int64{1},
		Start:   start,
		End:     end,
		Bounds:  []time.Time{start, end},
		Ends:    true,
		Now:     end,
	})
	ok(t, err)
	if len(found[1]) != 1 || found[1][0].Readings != int64(len(rs)) {
		t.Errorf("history: got %+v", found)
	}
	mergeAll(t, chooses)
	if n := scan[int](t, db, countPartitions); n > 100 {
		t.Errorf("%d partitions are left", n)
	}
	if got := lines(all(t, chooses, 1)); !slices.Equal(got[len(got)-1:], lines(rs[:1])) ||
		len(got) != len(rs) {
		t.Errorf("got %d readings after that, want %d", len(got), len(rs))
	}
}

// TestMergePartitions_UpToTheirMaxSize has days of which a month would be too large.
func TestMergePartitions_UpToTheirMaxSize(t *testing.T) {
	_, chooses, db, rs := openDaily(t, 120)
	const maxBytes = 256 << 10 // ten of these days
	store.SetMaxPartitionBytes(chooses, maxBytes)
	err := chooses.MergePartitions(t.Context(), time.Now(), func(m store.MergedPartitions) {
		if m.Count > 10 || m.Bytes > maxBytes {
			t.Errorf("merged %+v", m)
		}
	})
	ok(t, err)
	if n := scan[int](t, db, countPartitions); n > 80 {
		t.Errorf("got %d partitions, want fewer than 80 of 120", n)
	}
	if got := all(t, chooses, 1); len(got) != len(rs) {
		t.Errorf("got %d readings, want %d", len(got), len(rs))
	}
}

// TestMergePartitions_KeepsAConfiguredSize has a configured size and few partitions.
func TestMergePartitions_KeepsAConfiguredSize(t *testing.T) {
	daily, _, db, _ := openDaily(t, 120)
	ok(t, daily.MergePartitions(t.Context(), time.Now(),
		func(m store.MergedPartitions) { t.Errorf("merged %+v", m) }))
	if n := scan[int](t, db, countPartitions); n != 120 {
		t.Errorf("got %d partitions, want 120", n)
	}
}
