package store_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/store"
)

func TestPartitions(t *testing.T) {
	t.Run("back-filled days get partitions, once for several instances at the same time",
		func(t *testing.T) {
			s, db := openRaw(t)
			others := []*store.Store{s}
			for range 3 {
				others = append(others, openAt(t, scan[string](t, db, dsnQuery)+durable))
			}
			var rs []store.Reading
			for d := range 20 {
				rs = append(rs, reading(1, -d*24*60*17, float64(d)))
			}
			rs = append(rs,
				store.Reading{SensorID: 1, Timestamp: time.Date(2026, 3, 4, 0, 0, 0, 0, time.UTC)},
				store.Reading{
					SensorID:  1,
					Timestamp: time.Date(2026, 3, 3, 23, 59, 59, 999999000, time.UTC),
				},
				store.Reading{
					SensorID:  1,
					Timestamp: time.Date(1999, 12, 31, 23, 59, 59, 999999000, time.UTC),
				})
			var wg sync.WaitGroup
			for i, s := range others {
				wg.Go(func() {
					mine := slices.Clone(rs)
					for j := range mine {
						mine[j].SensorID = int64(i + 1)
					}
					if res, err := s.Write(t.Context(), mine, store.SideWrites{}); err != nil ||
						slices.ContainsFunc(res.Outcomes,
							func(o store.Outcome) bool { return o != store.Stored }) {
						t.Errorf("got %v, %v", res.Outcomes, err)
					}
				})
			}
			wg.Wait()
			if n := scan[int](t, db, `SELECT count(*) FROM sensor_data`); n != 4*len(rs) {
				t.Errorf("rows: got %d, want %d", n, 4*len(rs))
			}
			if n := scan[int](t, db, countPartitions); n != 22 {
				t.Errorf("partitions: got %d, want 22", n)
			}
			const keys = `
				SELECT count(*)
				FROM pg_inherits p
				JOIN pg_index i ON i.indrelid = p.inhrelid AND i.indisprimary
				WHERE p.inhparent = 'sensor_data'::regclass`
			if n := scan[int](t, db, keys); n != 22 {
				t.Errorf("primary keys: got %d, want 22", n)
			}
		})
	t.Run("the partitions of the coming days are created ahead, once", func(t *testing.T) {
		s, db := openRaw(t)
		for range 2 {
			ok(t, s.EnsurePartitions(t.Context()))
		}
		tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format("20060102")
		const exists = `SELECT to_regclass('sensor_data_'||$1::text) IS NOT NULL`
		if !scan[bool](t, db, exists, tomorrow) {
			t.Error("there is none for tomorrow")
		}
	})
	t.Run("one that was dropped in between is made again", func(t *testing.T) {
		s, db := openRaw(t)
		write(t, s, reading(1, 0, 1))
		run(t, db, `DROP TABLE sensor_data_20260304`)
		if got := write(t, s, reading(1, 0, 2), reading(1, 1, 2)); got != "[stored stored]" {
			t.Errorf("got %s", got)
		}
	})
	t.Run("one that was detached is attached again with what it has", func(t *testing.T) {
		s, db := openRaw(t)
		write(t, s, reading(1, 0, 1))
		run(t, db, `ALTER TABLE sensor_data DETACH PARTITION sensor_data_20260304`)
		if got := write(t, s, reading(1, 0, 2), reading(1, 1, 2)); got != "[conflict stored]" {
			t.Errorf("got %s", got)
		}
	})
}

// TestPartitions_AreSeenWhenTheyAreNew writes into partition after partition: what was acknowledged
// is seen by every statement that begins afterwards, in sessions that have listed the partitions
// while they were attached.
func TestPartitions_AreSeenWhenTheyAreNew(t *testing.T) {
	s, db := openRaw(t)
	var stored atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	var readers errgroup.Group
	for range 3 {
		readers.Go(func() error {
			session, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer session.Close()
			for ctx.Err() == nil {
				want := stored.Load()
				var got int64
				const q = `SELECT count(*) FROM sensor_data WHERE sensor_id = $1`
				err := session.QueryRowContext(ctx, q, 1).Scan(&got)
				if err == nil && got < want {
					err = fmt.Errorf("%d of %d readings are seen", got, want)
				}
				if err != nil && ctx.Err() == nil {
					return err
				}
			}
			return nil
		})
	}
	for day := range 300 {
		write(t, s, reading(1, -day*24*60, 1))
		stored.Add(1)
	}
	cancel()
	ok(t, readers.Wait())
}

func TestPartitions_HaveTheirSize(t *testing.T) {
	tests := []struct{ size, at, name, start, end string }{
		{
			"day", "2026-03-04T00:30:00+01:00", "sensor_data_20260303", "2026-03-03T00:00:00Z",
			"2026-03-04T00:00:00Z",
		},
		{
			"day", "1969-12-31T23:59:59.999999Z", "sensor_data_19691231", "1969-12-31T00:00:00Z",
			"1970-01-01T00:00:00Z",
		},
		{
			"hour", "2026-03-04T23:59:59.999999Z", "sensor_data_2026030423", "2026-03-04T23:00:00Z",
			"2026-03-05T00:00:00Z",
		},
		{
			"hour", "1969-12-31T22:30:00Z", "sensor_data_1969123122", "1969-12-31T22:00:00Z",
			"1969-12-31T23:00:00Z",
		},
		{
			"week", "2026-03-01T23:59:59Z", "sensor_data_20260223_20260302", "2026-02-23T00:00:00Z",
			"2026-03-02T00:00:00Z",
		},
		{
			"week", "2026-03-02T00:00:00Z", "sensor_data_20260302_20260309", "2026-03-02T00:00:00Z",
			"2026-03-09T00:00:00Z",
		},
		{
			"month", "2024-02-29T12:00:00Z", "sensor_data_20240201_20240301",
			"2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z",
		},
		{
			"month", "2026-12-31T23:59:59Z", "sensor_data_20261201_20270101",
			"2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z",
		},
	}
	for _, tt := range tests {
		name, start, end := store.Slot(tt.size, must(time.Parse(time.RFC3339, tt.at)))
		if name != tt.name || start.Format(time.RFC3339) != tt.start ||
			end.Format(time.RFC3339) != tt.end {
			t.Errorf("%s of %s: got %s from %v to %v, want %s from %s to %s", tt.size, tt.at, name,
				start, end, tt.name, tt.start, tt.end)
		}
	}
}

// TestPartitions_OfManySizes changes the size repeatedly, and lets two instances disagree as in a
// rolling restart.
func TestPartitions_OfManySizes(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	db, err := sql.Open("postgres", dsn)
	ok(t, err)
	defer db.Close()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	sizes := []string{"hour", "day", "week", "month"}
	written := make([]int, 2)
	for round := range 8 {
		var wg sync.WaitGroup
		for w := range written {
			cfg := store.DefaultConfig()
			rnd := rand.New(rand.NewPCG(seed, uint64(2*round+w)))
			cfg.Partition = sizes[(round+w*rnd.IntN(len(sizes)))%len(sizes)]
			s := must(store.Open(t.Context(), dsn, cfg, slog.New(slog.DiscardHandler)))
			wg.Go(func() {
				defer s.Close()
				for i := range 4 {
					rs := make([]store.Reading, 0, 20)
					// crowded, or far from all others
					around := noon.Add(time.Duration(rnd.IntN([]int{60, 3000}[i%2]*24)) * time.Hour)
					for range cap(rs) {
						written[w]++
						at := around.Add(time.Duration(rnd.IntN(50*3600)) * time.Second)
						rs = append(rs,
							store.Reading{
								SensorID:  int64(2*written[w] + w),
								Timestamp: at,
								Received:  at,
							})
					}
					res, err := s.Write(t.Context(), rs, store.SideWrites{})
					if err != nil ||
						slices.ContainsFunc(res.Outcomes,
							func(o store.Outcome) bool { return o != store.Stored }) {
						t.Errorf("%s: got %v, %v", cfg.Partition, res.Outcomes, err)
					}
				}
				if err := s.EnsurePartitions(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if n := scan[int](t, db, `SELECT count(*) FROM sensor_data`); n != written[0]+written[1] {
		t.Errorf("rows: got %d, want %d", n, written[0]+written[1])
	}
	lengths := map[float64]int{}
	rows, err := db.QueryContext(t.Context(), `
		SELECT extract(epoch FROM b.bounds[2]::timestamptz - b.bounds[1]::timestamptz) / 3600
		FROM pg_inherits i
		JOIN pg_class c ON c.oid = i.inhrelid
		CROSS JOIN regexp_match(
			pg_get_expr(c.relpartbound, c.oid), '\(''(.+)''\) TO \(''(.+)''\)') AS b (bounds)
		WHERE i.inhparent = 'sensor_data'::regclass`)
	ok(t, err)
	defer rows.Close()
	for rows.Next() {
		var hours float64
		ok(t, rows.Scan(&hours))
		lengths[hours]++
	}
	ok(t, rows.Err())
	if lengths[1] == 0 || lengths[24] == 0 || lengths[24*7] == 0 ||
		lengths[24*30]+lengths[24*31] == 0 {
		t.Errorf("partitions by their hours: got %v, want some of each size", lengths)
	}
	t.Logf("partitions by their hours: %v", lengths)
}

// TestPartitions_AutoMakesFew imports twenty years in random order, and readings as they are
// measured: partitions are longer with age, and few.
func TestPartitions_AutoMakesFew(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	db, err := sql.Open("postgres", dsn)
	ok(t, err)
	defer db.Close()
	s := openWith(t, dsn, func(c *store.Config) { c.Partition = "auto" })
	ok(t, s.EnsurePartitions(t.Context()))
	now := time.Now().UTC()
	rnd := rand.New(rand.NewPCG(3, 4))
	var rs []store.Reading
	for d := range 20 * 365 {
		rs = append(rs,
			store.Reading{
				SensorID:  1,
				Timestamp: now.AddDate(0, 0, -d).Truncate(time.Second),
				Value:     1,
			})
	}
	rnd.Shuffle(len(rs), func(i, j int) { rs[i], rs[j] = rs[j], rs[i] })
	for part := range slices.Chunk(rs, 100) {
		if got := write(t, s, part...); strings.Count(got, "stored") != len(part) {
			t.Fatalf("got %s", got)
		}
	}
	if n := scan[int](t, db,
		`SELECT count(*) FROM pg_inherits WHERE inhparent = 'sensor_data'::regclass`); n > 80 {
		t.Errorf("got %d partitions, want fewer than 80", n)
	}
	if got := all(t, s, 1); len(got) != len(rs) {
		t.Errorf("got %d readings, want %d", len(got), len(rs))
	}
}

// TestPartitions_AutoHeedsRetention has a short retention: the partitions of readings that it keeps
// are short, and older ones are not.
func TestPartitions_AutoHeedsRetention(t *testing.T) {
	dsn := pgtest.DSN(t) + durable
	db, err := sql.Open("postgres", dsn)
	ok(t, err)
	defer db.Close()
	s := openWith(t, dsn, func(c *store.Config) { c.Partition = "auto" })
	addKept(t, s, addGateway(t, s, "g").ID, "short", ptr(90))
	now := time.Now().UTC()
	for age, want := range map[int]float64{50: 7, 400: 31, 1500: 366} {
		at := now.AddDate(0, 0, -age)
		write(t, s, store.Reading{SensorID: 1, Timestamp: at})
		const q = `
			SELECT extract(epoch FROM b.bounds[2]::timestamptz - b.bounds[1]::timestamptz) / 86400
			FROM pg_inherits i
			JOIN pg_class c ON c.oid = i.inhrelid
			CROSS JOIN regexp_match(
				pg_get_expr(c.relpartbound, 0), '\(''(.+)''\) TO \(''(.+)''\)') AS b (bounds)
			WHERE i.inhparent = 'sensor_data'::regclass
				AND $1 >= b.bounds[1]::timestamptz
				AND $1 < b.bounds[2]::timestamptz`
		if days := scan[float64](t, db, q, at); days > want || days < want-3 {
			t.Errorf("%d days ago: a partition of %v days, want %v", age, days, want)
		}
	}
}
