package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	_ "github.com/lib/pq" // registers gateways without the API

	"github.com/oei-ms/oei-ms/internal/postgres"
)

// countStored counts the readings of gateways: sensors from 2,000,000,000 on are system sensors.
const countStored = `SELECT count(*) FROM sensor_data WHERE sensor_id < 2000000000`

// secret is the password of all gateways of the benchmark.
const secret = "a secret of the benchmark"

// plant is a running service with registered gateways and sensors.
type plant struct {
	*service
	db   *sql.DB
	keys []string // of the gateways
}

// withPlant runs f with a service that program, or the checkout if it is empty, has started.
func withPlant(
	ctx context.Context, o options, program string, f func(dir string, p plant) error,
) (err error) {
	dir, err := os.MkdirTemp("", "oei-ms-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // as root the database runs as another user
		return err
	}
	if program == "" {
		if program, err = build(ctx, dir); err != nil {
			return err
		}
	}
	s, err := startProgram(ctx, dir, program)
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
	return f(dir, plant{s, db, keys})
}

// ingestScenario is a way in which the fleet publishes.
type ingestScenario struct {
	name, title                   string
	points, sensors, rate, poison int
}

func ingestScenarios(o options) []ingestScenario {
	list := []ingestScenario{
		{"batch", fmt.Sprintf("%d readings a message", o.points), o.points, 0, 0, 0},
	}
	for n := 1; n <= o.points; n *= 10 {
		title := fmt.Sprintf("one reading a message, %d sensors", n*o.gateways)
		list = append(list, ingestScenario{"single", title, 1, n, 0, 0})
	}
	list = append(list,
		ingestScenario{"poison", "the same, one message in ten malformed", 1, o.points, 0, 10})
	rates := []int{10, 1000, 5000}
	if o.rate > 0 {
		rates = []int{o.rate}
	}
	for _, rate := range rates {
		title := fmt.Sprintf("one reading a message, %d messages/s", rate)
		list = append(list, ingestScenario{"paced", title, 1, o.points, rate, 0})
	}
	return slices.DeleteFunc(list,
		func(s ingestScenario) bool { return o.only != "" && o.only != s.name })
}

func (s ingestScenario) fleet(p plant, o options, version int) *fleet {
	return &fleet{
		addrs:   []string{p.mqtt},
		o:       o,
		points:  s.points,
		sensors: s.sensors,
		rate:    s.rate,
		poison:  s.poison,
		version: version,
	}
}

// ingest measures the rate of acknowledged readings.
func ingest(ctx context.Context, o options) (err error) {
	return withPlant(ctx, o, "", func(dir string, p plant) error {
		printIngestHead()
		for i, s := range ingestScenarios(o) {
			if _, err := measure(ctx, s.title, s.fleet(p, o, i+1), p.service, p.db,
				p.keys); err != nil {
				return err
			}
		}
		if o.only == "" || o.only == "copy" {
			if err := copyLimit(ctx, dir, p.service, p.db, o); err != nil {
				return err
			}
		}
		if o.only == "" || o.only == "relay" {
			if err := relayPeer(ctx, dir, o, p.keys); err != nil {
				return err
			}
		}
		if o.only == "" || o.only == "external" {
			return external(ctx, dir, o)
		}
		return nil
	})
}

func printIngestHead() {
	fmt.Printf("%-44s %10s %10s %8s %8s  %-21s %8s\n", "", "messages/s", "readings/s", "p50", "p99",
		"CPU µs/reading", "memory")
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

// ingestResult is what a scenario of ingest has shown.
type ingestResult struct {
	rate     float64 // of stored readings, per second
	cpu      float64 // µs of service and database for a reading
	p50, p99 time.Duration
	peak     int64 // bytes of memory of the service
}

// measure runs f against s, checks that acknowledged readings are stored, and prints a line.
func measure(
	ctx context.Context, title string, f *fleet, s *service, db *sql.DB, keys []string,
) (r ingestResult, err error) {
	if _, err := db.ExecContext(ctx, `CHECKPOINT`); err != nil {
		return r, err
	}
	secrets := make([]string, len(keys))
	for i := range secrets {
		secrets[i] = secret
	}
	var before, after int64
	if err := db.QueryRowContext(ctx, countStored).Scan(&before); err != nil {
		return r, err
	}
	used := s.usage()
	if err := f.run(ctx, keys, secrets); err != nil {
		return r, err
	}
	seconds := f.o.duration.Seconds()
	end := s.usage()
	f.cpu = end.service - used.service + end.database - used.database
	if err := db.QueryRowContext(ctx, countStored).Scan(&after); err != nil {
		return r, err
	}
	readings := f.acked.Load() * int64(f.points)
	if after-before != readings || f.poison == 0 && f.refused.Load() > 0 {
		return r, fmt.Errorf("%s: %d readings were acknowledged, %d stored, %d messages refused %s",
			title, readings, after-before,
			f.refused.Load(), f.reason)
	}
	perReading := func(d time.Duration) float64 {
		return float64(d.Microseconds()) / float64(
			max(readings, 1),
		)
	}
	r = ingestResult{
		rate: float64(f.stored*int64(f.points)) / seconds,
		cpu:  perReading(f.cpu),
		p50:  quantile(f.latencies, 0.5).Round(10 * time.Microsecond),
		p99:  quantile(f.latencies, 0.99).Round(10 * time.Microsecond),
		peak: end.peak,
	}
	fmt.Printf("%-44s %10.0f %10.0f %8s %8s  %6.2f + %5.2f database %5d MiB\n", title,
		float64(f.inTime)/seconds, r.rate, r.p50, r.p99,
		perReading(end.service-used.service), perReading(end.database-used.database), r.peak>>20)
	return r, nil
}
