package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/oei-ms/oei-ms/internal/postgres"
)

// rollupCost compares ingest while earlier readings are rolled up with ingest without rollups, in
// turns.
func rollupCost(ctx context.Context, o options) error {
	for range 2 {
		var rates [2]float64
		for i, rollups := range []string{"true", "false"} {
			var err error
			if rates[i], err = ingestRate(ctx, o, rollups); err != nil {
				return err
			}
		}
		fmt.Printf("with rollups to without: %.2f\n", rates[0]/rates[1])
	}
	return nil
}

// ingestRate ingests one hour of the past and, while that is rolled up, another, and returns the
// readings per second of the latter.
func ingestRate(ctx context.Context, o options, rollups string) (rate float64, err error) {
	dir, err := os.MkdirTemp("", "oei-ms-bench-")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // as root the database runs as another user
		return 0, err
	}
	s, err := startService(ctx, dir, "OEI_STORE_ROLLUPS="+rollups)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	db, err := sql.Open("postgres", postgres.RunningDSN(s.dir+"/postgres"))
	if err != nil {
		return 0, err
	}
	defer db.Close()
	keys, err := register(ctx, db, o)
	if err != nil {
		return 0, err
	}
	for version := 1; version <= 2; version++ {
		f := &fleet{addrs: []string{s.mqtt}, o: o, points: o.points, version: version}
		if _, err := measure(ctx, fmt.Sprintf("rollups %s, hour %d", rollups, version), f, s, db,
			keys); err != nil {
			return 0, err
		}
		rate = float64(f.stored*int64(f.points)) / o.duration.Seconds()
		if version == 1 { // changes of an hour are gathered for so long
			time.Sleep(max(20*time.Second-o.duration, 0))
		}
	}
	var rolled int
	if err := db.QueryRowContext(ctx, `SELECT count(*) FROM rollup_1h`).Scan(&rolled); err != nil {
		return 0, err
	}
	fmt.Printf("  %d hours of sensors were rolled up\n", rolled)
	return rate, nil
}
