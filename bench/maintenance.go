package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/oei-ms/oei-ms/internal/postgres"
	"github.com/oei-ms/oei-ms/store"
)

// maintenance prints the size of a reading on disk before its partition is reindexed and after.
func maintenance(ctx context.Context, db *sql.DB, dsn string) error {
	if err := size(ctx, db, "before reindexing"); err != nil {
		return err
	}
	began := time.Now()
	keys, err := reindex(ctx, dsn, 0)
	if err != nil {
		return err
	}
	fmt.Printf("%d partitions reindexed in %v\n", keys,
		time.Since(began).Round(100*time.Millisecond))
	return size(ctx, db, "after")
}

// reindex reindexes closed partitions, pauses for pauses times the duration of each, and returns
// their number.
func reindex(ctx context.Context, dsn string, pauses int) (keys int, err error) {
	st, err := store.Open(ctx, dsn, store.DefaultConfig(), slog.Default())
	if err != nil {
		return 0, err
	}
	defer st.Close()
	// the first pass records the writes, the second one, an hour later, finds none and reindexes
	for n := range 2 {
		began := time.Now()
		err := st.ReindexClosed(ctx, began.Add(time.Duration(2*n)*time.Hour),
			func(c store.Reindexed) {
				if !c.InUse {
					keys++
				}
				select {
				case <-ctx.Done():
				case <-time.After(time.Duration(pauses) * time.Since(began)):
				}
				began = time.Now()
			})
		if err != nil {
			return keys, err
		}
	}
	return keys, nil
}

// size prints the size of a reading on disk.
func size(ctx context.Context, db *sql.DB, when string) error {
	var readings, heap, index, rollups, rollupIndex float64
	const q = `
		SELECT (SELECT count(*) FROM sensor_data), sum(pg_table_size(c.oid)),
		sum(pg_indexes_size(c.oid)),
			pg_table_size('rollup_1h') + pg_table_size('rollup_1m'),
			pg_indexes_size('rollup_1h') + pg_indexes_size('rollup_1m')
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'sensor_data'::regclass`
	if err := db.QueryRowContext(ctx,
		q).Scan(&readings, &heap, &index, &rollups, &rollupIndex); err != nil {
		return err
	}
	fmt.Printf("bytes on disk per reading, %s: %.1f + %.1f key + %.1f rollups + %.1f their keys = "+
		"%.1f\n", when,
		heap/readings, index/readings, rollups/readings, rollupIndex/readings,
		(heap+index+rollups+rollupIndex)/readings)
	return nil
}

// maintenanceCost compares ingest at full speed during reindexing with ingest alone, in turns. The
// service pauses for four times the duration of the work.
func maintenanceCost(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "oei-ms-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // as root the database runs as another user
		return err
	}
	s, err := startService(ctx, dir, "OEI_STORE_ROLLUPS=false")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	dsn := postgres.RunningDSN(s.dir + "/postgres")
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	keys, err := register(ctx, db, o)
	if err != nil {
		return err
	}
	// the partition of the ingested readings
	yesterday := time.Now().UTC().Truncate(24 * time.Hour).Add(-24 * time.Hour)
	if err := load(ctx, db, yesterday, o.days); err != nil {
		return err
	}
	const leave = `INSERT INTO compactions (partition, writes, quiet_since, key_bytes)
		VALUES ($1, 0, now(), 1e9)`
	if _, err := db.ExecContext(ctx, leave,
		"sensor_data_"+yesterday.Format("20060102")); err != nil {
		return err
	}
	for round := range 3 {
		var alone float64
		for i, scenario := range []struct {
			title  string
			pauses int
		}{
			{"ingest alone", -1},
			{"ingest during reindexing", 4},
			{"ingest during reindexing without pauses", 0},
		} {
			busy, stop := context.WithCancel(ctx)
			ended := make(chan int, 1)
			go func() {
				n := 0
				if scenario.pauses >= 0 {
					n = reindexUntil(busy, db, dsn, scenario.pauses)
				}
				ended <- n
			}()
			f := &fleet{addrs: []string{s.mqtt}, o: o, points: o.points, version: 3*round + i + 1}
			_, err := measure(ctx, scenario.title, f, s, db, keys)
			stop()
			n := <-ended
			if err != nil {
				return err
			}
			rate := float64(f.stored*int64(f.points)) / o.duration.Seconds()
			if i == 0 {
				alone = rate
			}
			fmt.Printf("  %d partitions of %d readings reindexed, %.2f of ingest alone\n", n,
				denseSensors*86400, rate/alone)
		}
	}
	return size(ctx, db, "at the end")
}

// reindexUntil reindexes the same partitions until ctx ends, and returns their number.
func reindexUntil(ctx context.Context, db *sql.DB, dsn string, pauses int) (keys int) {
	for ctx.Err() == nil {
		n, err := reindex(ctx, dsn, pauses)
		if keys += n; err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "reindex:", err)
			return keys
		}
		// it may have ended
		_, _ = db.ExecContext(ctx, `UPDATE compactions SET key_bytes = NULL WHERE key_bytes < 1e9`)
	}
	return keys
}
