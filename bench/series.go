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

	"github.com/oei-ms/oei-ms/embedded"
	"github.com/oei-ms/oei-ms/store"
)

const denseSensors = 10 // that have a reading a second

// series measures questions about a month of readings while readings come in, beside the same questions in plain SQL.
func series(ctx context.Context, o options) (err error) {
	if o.only == "rollups" {
		return rollupCost(ctx, o)
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
	s, err := startService(ctx, dir, "ADMIN_PASSWORD="+benchPassword)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.stop()) }()
	db, err := sql.Open("postgres", embedded.RunningDSN(s.dir+"/postgres"))
	if err != nil {
		return err
	}
	defer db.Close()
	o.gateways, o.points = 10, 100
	keys, end, err := prepare(ctx, db, embedded.RunningDSN(s.dir+"/postgres"), o)
	if err != nil {
		return err
	}
	if err := size(ctx, db); err != nil {
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
	}{{"questions", b.questions}, {"export", b.export}, {"heavy", b.heavy}} {
		if o.only == "" || o.only == part.name {
			if err := part.run(ctx); err != nil {
				return fmt.Errorf("%s: %w", part.name, err)
			}
		}
	}
	return nil
}

// prepare loads what is asked about, unless a run before has, and returns the keys of the gateways and where the load ends.
func prepare(ctx context.Context, db *sql.DB, dsn string, o options) ([]string, time.Time, error) {
	const done = `
		CREATE TABLE IF NOT EXISTS bench_load (loaded_until timestamptz NOT NULL, days integer NOT NULL);
		SELECT max(loaded_until) FROM bench_load WHERE days = %d`
	var end sql.Null[time.Time]
	if err := db.QueryRowContext(ctx, fmt.Sprintf(done, o.days)).Scan(&end); err != nil {
		return nil, end.V, err
	}
	if end.Valid {
		keys := make([]string, o.gateways)
		for i := range keys {
			keys[i] = fmt.Sprintf("g%d", i+1)
		}
		return keys, end.V.UTC(), nil
	}
	keys, err := register(ctx, db, o)
	if err != nil {
		return nil, end.V, err
	}
	end.V = time.Now().UTC().Truncate(24 * time.Hour)
	if err := load(ctx, db, end.V, o.days); err != nil {
		return nil, end.V, err
	}
	if err := rolled(ctx, db, dsn); err != nil {
		return nil, end.V, err
	}
	_, err = db.ExecContext(ctx, `INSERT INTO bench_load VALUES ($1, $2)`, end.V, o.days)
	return keys, end.V, err
}

// load puts days of readings before end, a second apart, of the first sensors; day by day in order of time, as they would have come.
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
		SELECT timestamp, timestamp, value, sensor_id, quality FROM sensor_data WHERE timestamp = $1`
	if _, err := db.ExecContext(ctx, q, end.Add(-time.Second)); err != nil {
		return err
	}
	n := days * 86400 * denseSensors
	fmt.Printf("%d readings loaded in %v, %.0f/s\n", n, time.Since(begin).Round(time.Second), float64(n)/time.Since(begin).Seconds())
	return nil
}

func loadDay(ctx context.Context, db *sql.DB, day time.Time) error {
	name := "sensor_data_" + day.Format("20060102")
	var there bool
	if err := db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, name).Scan(&there); err != nil {
		return err
	}
	create, attach := `CREATE TABLE `+name+` (LIKE sensor_data INCLUDING DEFAULTS INCLUDING CONSTRAINTS)`,
		fmt.Sprintf(`ALTER TABLE sensor_data ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')`, name, day.Format(time.RFC3339), day.Add(24*time.Hour).Format(time.RFC3339))
	if there {
		create, attach = `SELECT 1`, `SELECT 1`
	}
	fill := fmt.Sprintf(`
		INSERT INTO %s (timestamp, value, sensor_id, quality)
		SELECT t, 20 + 5 * sin(date_part('epoch', t) / 3600 + i) + random(), i, 0
		FROM generate_series('%s'::timestamptz, '%s'::timestamptz, '1s') t, generate_series(1, %d) i`,
		name, day.Format(time.RFC3339), day.Add(24*time.Hour-time.Second).Format(time.RFC3339), denseSensors)
	due := fmt.Sprintf(`
		INSERT INTO rollup_due (hour, sensor_id)
		SELECT '%s'::timestamptz + h * interval '1 hour', i FROM generate_series(0, 23) h, generate_series(1, %d) i`, day.Format(time.RFC3339), denseSensors)
	for _, q := range []string{create, fill, attach, due, `ANALYZE ` + name} {
		if _, err := db.ExecContext(ctx, q); err != nil {
			return err
		}
	}
	return nil
}

// rolled rolls up what was loaded. The service, which does so too, gives way to everything else and would take its time.
func rolled(ctx context.Context, db *sql.DB, dsn string) error {
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
		if err := db.QueryRowContext(ctx, `SELECT count(*) FROM rollup_due`).Scan(&waiting); err != nil {
			return err
		}
	}
	fmt.Printf("rolled up in %v\n", time.Since(begin).Round(time.Second))
	_, err = db.ExecContext(ctx, `VACUUM ANALYZE`)
	return err
}

// size prints what a reading takes on disk.
func size(ctx context.Context, db *sql.DB) error {
	var readings, heap, index, rollups float64
	const q = `
		SELECT (SELECT count(*) FROM sensor_data), sum(pg_table_size(c.oid)), sum(pg_indexes_size(c.oid)),
			pg_total_relation_size('rollup_1h') + pg_total_relation_size('rollup_1m')
		FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = 'sensor_data'::regclass`
	if err := db.QueryRowContext(ctx, q).Scan(&readings, &heap, &index, &rollups); err != nil {
		return err
	}
	fmt.Printf("bytes on disk a reading: %.1f + %.1f index + %.1f rollups = %.1f\n", heap/readings, index/readings, rollups/readings, (heap+index+rollups)/readings)
	return nil
}
