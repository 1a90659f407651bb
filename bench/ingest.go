package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"time"

	_ "github.com/lib/pq" // registers gateways without the API

	"github.com/oei-ms/oei-ms/internal/postgres"
)

// countStored counts the readings of gateways: sensors from 2,000,000,000 on are system sensors.
const countStored = `SELECT count(*) FROM sensor_data WHERE sensor_id < 2000000000`

// secret is the password of all gateways of the benchmark.
const secret = "a secret of the benchmark"

// ingest measures the rate of acknowledged readings.
func ingest(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "oei-ms-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // as root the database runs as another user
		return err
	}
	s, err := startService(ctx, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	db, err := sql.Open("postgres", postgres.RunningDSN(s.dir+"/postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	keys, err := register(ctx, db, o)
	if err != nil {
		return err
	}
	fmt.Printf("%-44s %10s %10s %8s %8s  %-21s %8s\n", "", "messages/s", "readings/s", "p50", "p99",
		"CPU µs/reading", "memory")
	version := 0
	for _, scenario := range []struct {
		name, title          string
		points, rate, poison int
	}{
		{"single", "one reading a message, full speed", 1, 0, 0},
		{"poison", "the same, one message in ten malformed", 1, 0, 10},
		{"batch", fmt.Sprintf("%d readings a message, full speed", o.points), o.points, 0, 0},
		{"paced", fmt.Sprintf("one reading a message, %d messages/s", o.rate), 1, o.rate, 0},
	} {
		version++
		if o.only != "" && o.only != scenario.name {
			continue
		}
		f := &fleet{
			addrs:   []string{s.mqtt},
			o:       o,
			points:  scenario.points,
			rate:    scenario.rate,
			poison:  scenario.poison,
			version: version,
		}
		if err := measure(ctx, scenario.title, f, s, db, keys); err != nil {
			return err
		}
	}
	if o.only == "" || o.only == "copy" {
		if err := copyLimit(ctx, dir, s, db, o); err != nil {
			return err
		}
	}
	if o.only == "" || o.only == "relay" {
		if err := relayPeer(ctx, dir, o, keys); err != nil {
			return err
		}
	}
	if o.only == "" || o.only == "external" {
		return external(ctx, dir, o)
	}
	return nil
}

// register creates the gateways, their sensors s1, s2, … and their credentials.
func register(ctx context.Context, db *sql.DB, o options) ([]string, error) {
	for _, q := range []string{
		`INSERT INTO gateways (key, name) SELECT 'g' || i, 'Gateway ' || i
			FROM generate_series(1, $1) i ON CONFLICT DO NOTHING`,
		`INSERT INTO gateway_credentials (gateway_id, hash)
			SELECT id, sha256($1::text::bytea) FROM gateways g
			WHERE NOT EXISTS (SELECT FROM gateway_credentials c WHERE c.gateway_id = g.id)`,
		`INSERT INTO sensors (gateway_id, key, name, type)
			SELECT g.id, 's' || i, 'Sensor ' || i, 'temperature'
			FROM gateways g, generate_series(1, $1) i
			ON CONFLICT DO NOTHING`,
	} {
		var arg any = o.gateways
		switch q[12:20] {
		case "gateway_":
			arg = secret
		case "sensors ":
			arg = o.points
		}
		if _, err := db.ExecContext(ctx, q, arg); err != nil {
			return nil, fmt.Errorf("register: %w", err)
		}
	}
	keys := make([]string, o.gateways)
	for i := range keys {
		keys[i] = fmt.Sprintf("g%d", i+1)
	}
	return keys, nil
}

// measure runs f against s, checks that acknowledged readings are stored, and prints a line.
func measure(
	ctx context.Context, title string, f *fleet, s *service, db *sql.DB, keys []string,
) error {
	if _, err := db.ExecContext(ctx, `CHECKPOINT`); err != nil {
		return err
	}
	secrets := make([]string, len(keys))
	for i := range secrets {
		secrets[i] = secret
	}
	var before, after int64
	if err := db.QueryRowContext(ctx, countStored).Scan(&before); err != nil {
		return err
	}
	used := s.usage()
	if err := f.run(ctx, keys, secrets); err != nil {
		return err
	}
	seconds := f.o.duration.Seconds()
	end := s.usage()
	f.cpu = end.service - used.service + end.database - used.database
	if err := db.QueryRowContext(ctx, countStored).Scan(&after); err != nil {
		return err
	}
	readings := f.acked.Load() * int64(f.points)
	if after-before != readings || f.poison == 0 && f.refused.Load() > 0 {
		return fmt.Errorf("%s: %d readings were acknowledged, %d stored, %d messages refused %s",
			title, readings, after-before,
			f.refused.Load(), f.reason)
	}
	perReading := func(d time.Duration) float64 {
		return float64(d.Microseconds()) / float64(
			max(readings, 1),
		)
	}
	fmt.Printf("%-44s %10.0f %10.0f %8s %8s  %6.2f + %5.2f database %5d MiB\n", title,
		float64(f.inTime)/seconds, float64(f.stored*int64(f.points))/seconds,
		quantile(f.latencies, 0.5).Round(10*time.Microsecond),
		quantile(f.latencies, 0.99).Round(10*time.Microsecond),
		perReading(end.service-used.service), perReading(end.database-used.database), end.peak>>20)
	return nil
}
