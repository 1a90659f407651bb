package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/oei-ms/oei-ms/embedded"
	"github.com/oei-ms/oei-ms/store"
)

// compaction prints what a reading takes on disk before its partition is compacted and after.
func compaction(ctx context.Context, db *sql.DB, dsn string) error {
	if err := size(ctx, db, "before compaction"); err != nil {
		return err
	}
	began := time.Now()
	keys, err := compact(ctx, dsn)
	if err != nil {
		return err
	}
	fmt.Printf("%d partitions compacted in %v\n", keys, time.Since(began).Round(100*time.Millisecond))
	return size(ctx, db, "after")
}

// compact compacts what is over without the pauses that the service makes, and returns how many partitions it was.
func compact(ctx context.Context, dsn string) (keys int, err error) {
	st, err := store.Open(ctx, dsn, store.DefaultConfig(), slog.Default())
	if err != nil {
		return 0, err
	}
	defer st.Close()
	for n := range 2 { // the first looks, and when nothing has changed for an hour the second does it
		err := st.Compact(ctx, time.Now().Add(time.Duration(2*n)*time.Hour), func(c store.Compacted) {
			if !c.InUse {
				keys++
			}
		})
		if err != nil {
			return keys, err
		}
	}
	return keys, nil
}

// size prints what a reading takes on disk.
func size(ctx context.Context, db *sql.DB, when string) error {
	var readings, heap, index, rollups, rollupIndex float64
	const q = `
		SELECT (SELECT count(*) FROM sensor_data), sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid)),
			pg_table_size('rollup_1h') + pg_table_size('rollup_1m'), pg_indexes_size('rollup_1h') + pg_indexes_size('rollup_1m')
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'sensor_data'::regclass`
	if err := db.QueryRowContext(ctx, q).Scan(&readings, &heap, &index, &rollups, &rollupIndex); err != nil {
		return err
	}
	fmt.Printf("bytes on disk a reading, %s: %.1f + %.1f key + %.1f rollups + %.1f their keys = %.1f\n", when,
		heap/readings, index/readings, rollups/readings, rollupIndex/readings, (heap+index+rollups+rollupIndex)/readings)
	return nil
}

// compactionCost compares ingest at full speed while partitions are compacted without a pause, again and again, with ingest alone, by turns.
func compactionCost(ctx context.Context, o options) (err error) {
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
	dsn := embedded.RunningDSN(s.dir + "/postgres")
	db, err := sql.Open("postgres", dsn)
	if err != nil {
		return err
	}
	defer db.Close()
	keys, err := register(ctx, db, o)
	if err != nil {
		return err
	}
	yesterday := time.Now().UTC().Truncate(24 * time.Hour).Add(-24 * time.Hour) // into which is ingested
	if err := load(ctx, db, yesterday, o.days); err != nil {
		return err
	}
	const leave = `INSERT INTO compactions (partition, writes, quiet_since, key_bytes) VALUES ($1, 0, now(), 1e9)`
	if _, err := db.ExecContext(ctx, leave, "sensor_data_"+yesterday.Format("20060102")); err != nil {
		return err
	}
	for version := 1; version <= 6; version += 2 {
		var rates [2]float64
		for i, title := range []string{"ingest alone", "ingest beside compaction"} {
			busy, stop := context.WithCancel(ctx)
			ended := make(chan int, 1)
			if i == 0 {
				ended <- 0
			} else {
				go func() { ended <- compactOn(busy, db, dsn) }()
			}
			f := &fleet{addrs: []string{s.mqtt}, o: o, points: o.points, version: version + i}
			err := measure(ctx, title, f, s, db, keys)
			stop()
			n := <-ended
			if err != nil {
				return err
			}
			rates[i] = float64(f.stored*int64(f.points)) / o.duration.Seconds()
			if i == 1 {
				fmt.Printf("  %d partitions of %d readings were compacted\n", n, denseSensors*86400)
			}
		}
		fmt.Printf("beside compaction to alone: %.2f\n", rates[1]/rates[0])
	}
	return size(ctx, db, "in the end")
}

// compactOn compacts the same partitions until ctx ends, and returns how many it was.
func compactOn(ctx context.Context, db *sql.DB, dsn string) (keys int) {
	for ctx.Err() == nil {
		n, err := compact(ctx, dsn)
		if keys += n; err != nil && ctx.Err() == nil {
			fmt.Fprintln(os.Stderr, "compaction:", err)
			return keys
		}
		_, _ = db.ExecContext(ctx, `UPDATE compactions SET key_bytes = NULL WHERE key_bytes < 1e9`) // it may have ended
	}
	return keys
}
