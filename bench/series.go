package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/internal/postgres"
	"github.com/oei-ms/oei-ms/store"
)

const denseSensors = 10 // that have a reading a second

// series measures queries of a month of readings during ingest, and the same in plain SQL.
func series(ctx context.Context, o options) (err error) {
	switch o.only {
	case "rollups":
		return rollupCost(ctx, o)
	case "maintenance":
		return maintenanceCost(ctx, o)
	}
	dir := o.data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "oei-ms-bench-"); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if err := os.MkdirAll(dir, 0o711); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o711); err != nil { // as root the database runs as another user
		return err
	}
	// each answer is made
	s, err := startService(ctx, dir, "ADMIN_PASSWORD="+benchPassword, "OEI_CACHE_BYTES=0")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	db, err := sql.Open("postgres", postgres.RunningDSN(s.dir+"/postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	o.gateways, o.points = 10, 100
	keys, end, err := prepare(ctx, db, postgres.RunningDSN(s.dir+"/postgres"), o)
	if err != nil {
		return err
	}
	if err := maintenance(ctx, db, postgres.RunningDSN(s.dir+"/postgres")); err != nil {
		return err
	}
	token, err := s.login()
	if err != nil {
		return err
	}
	b := &seriesBench{service: s, db: db, o: o, token: token, end: end, keys: keys}
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"queries", b.queries},
		{"cache", b.cached},
		{"export", b.export},
		{"expensive", b.expensive},
	} {
		if o.only == "" || o.only == part.name {
			if err := part.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return nil
}

// prepare loads the readings to query, continuing an interrupted run, and returns the keys of the
// gateways and the end of the loaded range.
func prepare(ctx context.Context, db *sql.DB, dsn string, o options) ([]string, time.Time, error) {
	for _, q := range []string{
		`CREATE TABLE IF NOT EXISTS bench_load (loaded_until timestamptz NOT NULL,
			days integer NOT NULL)`,
		`ALTER TABLE bench_load ADD COLUMN IF NOT EXISTS done boolean NOT NULL DEFAULT true`,
	} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return nil, time.Time{}, err
		}
	}
	end, days, done := time.Now().UTC().Truncate(24*time.Hour), o.days, false
	err := db.QueryRowContext(ctx, `SELECT loaded_until, days, done FROM bench_load`).Scan(&end,
		&days, &done)
	if errors.Is(err, sql.ErrNoRows) {
		_, err = db.ExecContext(ctx, `INSERT INTO bench_load VALUES ($1, $2, false)`, end, days)
	}
	if err != nil {
		return nil, end, err
	}
	end = end.UTC()
	if days != o.days {
		return nil, end, fmt.Errorf(
			"%s holds %d days of readings; use -days %[2]d, or another directory", o.data, days,
		)
	}
	keys, err := register(ctx, db, o)
	if err != nil || done {
		return keys, end, err
	}
	if err := load(ctx, db, end, days); err != nil {
		return nil, end, err
	}
	if err := rolled(ctx, db, dsn, end); err != nil {
		return nil, end, err
	}
	_, err = db.ExecContext(ctx, `UPDATE bench_load SET done = true`)
	return keys, end, err
}

// load inserts days of readings before end, one per second of each dense sensor, in order of time.
func load(ctx context.Context, db *sql.DB, end time.Time, days int) error {
	begin := time.Now()
	work := make(chan time.Time, days)
	for n := range days {
		work <- end.Add(time.Duration(n-days) * 24 * time.Hour)
	}
	close(work)
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i := range errs {
		wg.Go(func() {
			for day := range work {
				if errs[i] = loadDay(ctx, db, day); errs[i] != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("load: %w", err)
	}
	const q = `
		INSERT INTO latest (timestamp, received_at, value, sensor_id, quality)
		SELECT timestamp, timestamp, value, sensor_id, quality FROM sensor_data WHERE timestamp = $1
		ON CONFLICT DO NOTHING`
	if _, err := db.ExecContext(ctx, q, end.Add(-time.Second)); err != nil {
		return err
	}
	n := days * 86400 * denseSensors
	fmt.Printf("%d readings loaded in %v, %.0f/s\n", n, time.Since(begin).Round(time.Second),
		float64(n)/time.Since(begin).Seconds())
	return nil
}

// loadDay loads a day unless it is loaded, in one transaction.
func loadDay(ctx context.Context, db *sql.DB, day time.Time) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing is left to roll back after the commit
	name := "sensor_data_" + day.Format("20060102")
	var there, loaded bool
	const look = `SELECT to_regclass($1) IS NOT NULL,
		EXISTS (SELECT FROM sensor_data WHERE sensor_id = 1 AND timestamp = $2)`
	if err := tx.QueryRowContext(ctx, look, name, day).Scan(&there, &loaded); err != nil || loaded {
		return err
	}
	create, attach := `CREATE TABLE `+name+`
		(LIKE sensor_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`,
		fmt.Sprintf(`ALTER TABLE sensor_data ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')`,
			name, day.Format(time.RFC3339), day.Add(24*time.Hour).Format(time.RFC3339))
	if there {
		create, attach = `SELECT 1`, `SELECT 1`
	}
	fill := fmt.Sprintf(`
		INSERT INTO %s (timestamp, value, sensor_id, quality)
		SELECT t, 20 + 5 * sin(date_part('epoch', t) / 3600 + i) + random(), i, 0
		FROM generate_series('%s'::timestamptz, '%s'::timestamptz, '1s') t,
		generate_series(1, %d) i`,
		name, day.Format(time.RFC3339), day.Add(24*time.Hour-time.Second).Format(time.RFC3339),
		denseSensors)
	due := fmt.Sprintf(`
		INSERT INTO rollup_due (hour, sensor_id)
		SELECT '%s'::timestamptz + h * interval '1 hour', i
		FROM generate_series(0, 23) h, generate_series(1, %d) i
		ON CONFLICT DO NOTHING`, day.Format(time.RFC3339), denseSensors)
	for _, q := range []string{create, fill, due, attach} {
		if _, err := tx.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	_, err = db.ExecContext(ctx, `ANALYZE `+name)
	return err
}

// rolled rolls up the loaded readings up to end, faster than the service, which yields to other
// work.
func rolled(ctx context.Context, db *sql.DB, dsn string, end time.Time) error {
	st, err := store.Open(ctx, dsn, store.DefaultConfig(), slog.Default())
	if err != nil {
		return err
	}
	defer st.Close()
	begin := time.Now()
	for waiting := 1; waiting > 0; {
		if _, _, err := st.RollUp(ctx, 512); err != nil {
			return err
		}
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM rollup_due WHERE hour < $1`,
			end).Scan(&waiting); err != nil {
			return err
		}
	}
	fmt.Printf("rolled up in %v\n", time.Since(begin).Round(time.Second))
	_, err = db.ExecContext(ctx, `VACUUM ANALYZE`)
	return err
}
