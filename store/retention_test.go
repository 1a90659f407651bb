package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

// addKept adds a sensor with a retention in days; nil is the default.
func addKept(t testing.TB, s *store.Store, gateway int64, key string, days *int) store.Sensor {
	t.Helper()
	v, err := s.CreateSensor(t.Context(), store.Sensor{
		GatewayID: gateway,
		Key:       key,
		Name:      key,
		Type:      "temperature",
		IsActive:  true,
		Tags:      "{}",
		Retention: days,
	})
	ok(t, err)
	return v
}

// openWithRetention opens a store with a default retention.
func openWithRetention(
	t testing.TB, dsn string, retention time.Duration, size string,
) *store.Store {
	t.Helper()
	cfg := store.DefaultConfig()
	cfg.Retention, cfg.Partition = retention, size
	s, err := store.Open(t.Context(), dsn, cfg, slog.New(slog.DiscardHandler))
	ok(t, err)
	t.Cleanup(func() { _ = s.Close() })
	store.RollUpAtOnce(s)
	return s
}

// TestEnforceRetention_RemovesExpiredReadingsOnly has writers, two instances that enforce retention
// and roll up, interrupted passes and killed connections: in the end the readings, rollups and
// latest are those that were stored and are not expired.
func TestEnforceRetention_RemovesExpiredReadingsOnly(t *testing.T) {
	for _, size := range []string{"day", "week"} {
		t.Run(size, func(t *testing.T) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			dsn := pgtest.DSN(t) + durable
			db, err := sql.Open("postgres", dsn)
			ok(t, err)
			defer db.Close()
			const byDefault = 4 * 24 * time.Hour
			now := time.Now().UTC()
			instances := []*store.Store{
				openWithRetention(t, dsn, byDefault, size),
				openWithRetention(t, dsn, byDefault, size),
			}
			kept := map[int64]time.Duration{} // 0: for ever
			g := addGateway(t, instances[0], "g").ID
			for i, days := range []*int{nil, ptr(0), ptr(1), ptr(2), ptr(9), nil} {
				v := addKept(t, instances[0], g, fmt.Sprint(i), days)
				kept[v.ID] = byDefault
				if days != nil {
					kept[v.ID] = time.Duration(*days) * 24 * time.Hour
				}
			}
			ids := make([]int64, 0, len(kept))
			for id := range kept {
				ids = append(ids, id)
			}
			slices.Sort(ids)

			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var writers, workers errgroup.Group
			offered := make([][]store.Reading, 2)
			for w := range offered {
				rnd := rand.New(rand.NewPCG(seed, uint64(w)))
				writers.Go(func() error {
					for range 40 {
						var rs []store.Reading
						for range 1 + rnd.IntN(60) {
							ago := time.Duration(rnd.IntN(16*24*3600)) * time.Second
							at := now.Add(-ago).Truncate(time.Second)
							id := ids[rnd.IntN(len(ids))]
							if id == ids[0] { // it has been silent of late
								at = at.Add(-5 * 24 * time.Hour)
							}
							rs = append(rs,
								store.Reading{
									SensorID:  id,
									Timestamp: at,
									Received:  now,
									Value:     float64(at.Unix() % 1000),
								})
						}
						_, err := instances[w].Write(ctx, rs, store.SideWrites{})
						for store.Transient(err) {
							_, err = instances[w].Write(ctx, rs, store.SideWrites{})
						}
						if err != nil {
							return err
						}
						offered[w] = append(offered[w], rs...)
					}
					return nil
				})
			}
			var dropped, refused int
			for w, s := range instances {
				rnd := rand.New(rand.NewPCG(seed, 100+uint64(w)))
				workers.Go(func() error {
					for ctx.Err() == nil {
						cut, stop := context.WithTimeout(ctx,
							time.Duration(10+rnd.IntN(200))*time.Millisecond)
						_ = s.EnforceRetention(cut, now, func(r store.RetentionStep) {
							if w == 0 && r.Dropped {
								dropped++
							}
							if w == 0 && r.InUse {
								refused++
							}
						})
						_, _, _ = s.RollUp(cut, 1+rnd.IntN(40))
						stop()
					}
					return nil
				})
			}
			workers.Go(func() error {
				rnd := rand.New(rand.NewPCG(seed, 200))
				for ctx.Err() == nil {
					time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond)
					const one = `
						SELECT pg_terminate_backend(pid)
						FROM pg_stat_activity
						WHERE datname = current_database()
							AND application_name = 'oei-ms ingest'
							AND state <> 'idle'
						ORDER BY random()
						LIMIT 1`
					_, _ = db.ExecContext(ctx, one)
					if _, _, err := checkRollups(t.Context(), db); err != nil {
						return err
					}
				}
				return nil
			})
			ok(t, writers.Wait())
			cancel()
			ok(t, workers.Wait())
			drainRollups(t, instances[0])
			retain := func() (steps int, again bool) {
				err := instances[1].EnforceRetention(t.Context(), now, func(r store.RetentionStep) {
					steps++
					again = again || r.InUse // PostgreSQL's own housekeeping may be at it
				})
				if store.Transient(err) { // a connection that was killed when it had nothing to do
					return steps, true
				}
				ok(t, err)
				return steps, again
			}
			for again := true; again; {
				_, again = retain()
			}
			if steps, _ := retain(); steps > 0 {
				t.Errorf("a second pass made %d steps", steps)
			}
			drainRollups(t, instances[0])
			if _, _, err := checkRollups(t.Context(), db); err != nil {
				t.Error(err)
			}
			want := map[string]bool{}
			newest := map[int64]string{}
			for _, r := range slices.Concat(offered...) {
				if k := kept[r.SensorID]; k == 0 ||
					!r.Timestamp.Before(now.Add(-k).Truncate(24*time.Hour)) {
					want[line(r)] = true
					newest[r.SensorID] = max(newest[r.SensorID], line(r))
				}
			}
			for _, got := range lines(all(t, instances[0], ids...)) {
				if !want[got] {
					t.Errorf("%s is there and not kept", got)
				}
				delete(want, got)
			}
			for l := range want {
				t.Errorf("%s is kept and not there", l)
			}
			latest := must(instances[0].Latest(t.Context(), store.LatestQuery{Limit: 100}))
			for _, r := range latest {
				if line(r) != newest[r.SensorID] {
					t.Errorf("latest: got %s, want %s", line(r), newest[r.SensorID])
				}
				delete(newest, r.SensorID)
			}
			if len(newest) > 0 {
				t.Errorf("latest lacks %v", newest)
			}
			t.Logf("one instance dropped %d partitions while readings came, and found %d in use",
				dropped, refused)
		})
	}
}

// TestEnforceRetention_WaitsForReaders has a slow reader: the drop waits for it, and ingest does
// not wait for the drop.
func TestEnforceRetention_WaitsForReaders(t *testing.T) {
	s, db := openRaw(t)
	g := addGateway(t, s, "g").ID
	v := addKept(t, s, g, "s", ptr(1))
	old := reading(v.ID, 0, 1)
	write(t, s, old)
	reader, err := db.BeginTx(t.Context(), nil)
	ok(t, err)
	defer reader.Rollback()
	var n int
	ok(t, reader.QueryRowContext(t.Context(), `SELECT count(*) FROM sensor_data`).Scan(&n))
	var told []store.RetentionStep
	err = s.EnforceRetention(t.Context(), noon.Add(72*time.Hour), func(r store.RetentionStep) {
		told = append(told, r)
		if !r.InUse {
			return
		}
		if len(told) == 2 {
			ok(t, reader.Rollback())
		}
		// with the reader there, and without
		if got := write(t, s, reading(v.ID, 3*24*60+len(told), 1)); got != "[stored]" {
			t.Errorf("ingest: got %s", got)
		}
	})
	ok(t, err)
	if len(told) != 3 || !told[0].InUse || !told[1].InUse || !told[2].Dropped ||
		told[2].Partition != "sensor_data_20260304" || told[2].Bytes == 0 {
		t.Errorf("got %+v, want twice in use, then dropped", told)
	}
	if got := len(all(t, s, v.ID)); got != 2 {
		t.Errorf("got %d readings, want the 2 new ones", got)
	}
}

func TestEnforceRetention_DeletesFromPartitionsThatOthersKeep(t *testing.T) {
	s, db := openRaw(t)
	g := addGateway(t, s, "g").ID
	short, long := addKept(t, s, g, "short", ptr(1)).ID, addKept(t, s, g, "long", nil).ID
	var rs []store.Reading
	for i := range 45_000 {
		rs = append(rs,
			store.Reading{
				SensorID:  short,
				Timestamp: noon.Add(time.Duration(i) * 100 * time.Millisecond),
				Value:     1,
			})
	}
	write(t, s, append(rs, reading(long, 0, 1))...)
	steps := map[int64]int{}
	// it has to be a day after the end of its partition
	ok(t,
		s.EnforceRetention(t.Context(), noon.Add(36*time.Hour-1),
			func(r store.RetentionStep) { t.Errorf("too early: %+v", r) }))
	ok(t, s.EnforceRetention(t.Context(), noon.Add(36*time.Hour), func(r store.RetentionStep) {
		if r.SensorID != short || r.Dropped {
			t.Errorf("got %+v", r)
		}
		steps[r.Readings]++
	}))
	if steps[20_000] != 2 || steps[5_000] != 1 || len(steps) != 2 {
		t.Errorf("readings of each step: got %v", steps)
	}
	if got := lines(all(t, s, short, long)); len(got) != 1 || got[0] != line(reading(long, 0, 1)) {
		t.Errorf("left: got %v", got)
	}
	if n := scan[int](t, db, `SELECT count(*) FROM latest`); n != 1 {
		t.Errorf("latest: got %d, want that of the neighbour", n)
	}
	// When the neighbour keeps no more either, the partition goes.
	_, err := s.UpdateSensor(t.Context(), long, 0,
		store.SensorChange{Retention: &sql.Null[int]{V: 2, Valid: true}})
	ok(t, err)
	var last store.RetentionStep
	ok(t, s.EnforceRetention(t.Context(), noon.Add(100*time.Hour),
		func(r store.RetentionStep) { last = r }))
	if !last.Dropped {
		t.Errorf("got %+v, want it dropped", last)
	}
	write(t, s, reading(long, 0, 1)) // it may be stored again
}

func TestEnforceRetention_RemovesNothingWithoutRetention(t *testing.T) {
	s, _ := openRaw(t)
	v := addSensor(t, s, addGateway(t, s, "g").ID, "s")
	write(t, s, reading(v.ID, 0, 1))
	ok(t,
		s.EnforceRetention(t.Context(), noon.AddDate(200, 0, 0),
			func(r store.RetentionStep) { t.Errorf("removed: %+v", r) }))
}

// TestPreviewRetention_IsWhatEnforceRetentionRemoves reads previews in pages of any size.
func TestPreviewRetention_IsWhatEnforceRetentionRemoves(t *testing.T) {
	s, db := openRaw(t)
	store.RollUpAtOnce(s)
	g := addGateway(t, s, "g").ID
	short, long := addKept(t, s, g, "short", ptr(1)).ID, addKept(t, s, g, "long", ptr(30)).ID
	var rs []store.Reading
	for d := range 6 {
		for i := range 10 {
			rs = append(rs, reading(short, -d*24*60+i, 1))
			if d == 2 || d == 3 {
				rs = append(rs, reading(long, -d*24*60+i, 1))
			}
		}
	}
	write(t, s, rs...)
	drainRollups(t, s)
	now := noon.Add(36 * time.Hour)
	var said []string
	var after time.Time
	for more := true; more; {
		var page []store.ExpiringPartition
		var err error
		page, after, more, err = s.PreviewRetention(t.Context(), now, after, 4)
		ok(t, err)
		for _, e := range page {
			said = append(said, fmt.Sprintf("%s %t %d", e.Name, e.Dropped, *e.Readings))
			if *e.Bytes == 0 || len(e.Sensors) != 1 || e.Sensors[0].ID != short ||
				*e.Sensors[0].Readings != 10 || e.Sensors[0].Retention != 24*time.Hour {
				t.Errorf("got %+v", e)
			}
		}
	}
	var done []string
	ok(t, s.EnforceRetention(t.Context(), now, func(r store.RetentionStep) {
		if r.Dropped {
			r.Readings = 10
		}
		done = append(done, fmt.Sprintf("%s %t %d", r.Partition, r.Dropped, r.Readings))
	}))
	if !slices.Equal(said, done) || len(said) != 6 {
		t.Errorf("said %v, done %v", said, done)
	}
	if n := scan[int](t, db, `SELECT count(*) FROM sensor_data`); n != 20 {
		t.Errorf("left: got %d, want the 20 of the neighbour", n)
	}
	if left, _, _, err := s.PreviewRetention(t.Context(), now, time.Time{}, 10); err != nil ||
		len(left) > 0 {
		t.Errorf("after that: got %v, %v", left, err)
	}
}

// TestEnforceRetention_OfALongPartition shortens a retention after its partition was made: the
// expired readings are removed before the partition is.
func TestEnforceRetention_OfALongPartition(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	s := openWithRetention(t, dsn, 0, "month")
	g := addGateway(t, s, "g").ID
	short, middle, long := addKept(t, s, g, "short", ptr(3)).ID, addKept(t, s, g, "middle",
		ptr(10)).ID, addKept(t, s, g, "long", nil).ID
	var rs []store.Reading
	now := time.Date(2026, 3, 25, 12, 0, 0, 0, time.UTC)
	for day := range 24 {
		for _, id := range []int64{short, middle, long} {
			rs = append(rs,
				store.Reading{
					SensorID:  id,
					Timestamp: time.Date(2026, 3, 1+day, 18, 0, 0, 0, time.UTC),
				})
		}
	}
	write(t, s, rs...)
	drainRollups(t, s)
	said := map[string]int64{}
	for after, more := (time.Time{}), true; more; {
		var page []store.ExpiringPartition
		var err error
		page, after, more, err = s.PreviewRetention(t.Context(), now, after, 1)
		ok(t, err)
		for _, e := range page {
			if e.Dropped {
				t.Errorf("%+v would be dropped", e)
			}
			for _, v := range e.Sensors {
				said[fmt.Sprint(v.ID)] += *v.Readings
			}
		}
	}
	done := map[string]int64{}
	ok(t,
		s.EnforceRetention(t.Context(), now,
			func(r store.RetentionStep) { done[fmt.Sprint(r.SensorID)] += r.Readings }))
	// of the days that are over
	for id, want := range map[int64]int{short: 3, middle: 10, long: 24} {
		if got := len(all(t, s, id)); got != want {
			t.Errorf("sensor %d: %d readings are left, want %d", id, got, want)
		}
	}
	if fmt.Sprint(said) != fmt.Sprint(done) || done[fmt.Sprint(short)] != 21 {
		t.Errorf("said %v, done %v", said, done)
	}
}
