package main

import (
	"bufio"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/oei-ms/oei-ms/embedded"
	"github.com/oei-ms/oei-ms/store"
)

const (
	denseSensors = 10 // that have a reading a second

	mostAsked = 300 // times
)

// series measures questions about a month of readings while readings come in, beside the same questions in plain SQL.
func series(ctx context.Context, o options) (err error) {
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
	coming := func(version int, while func() error) error {
		f := &fleet{addrs: []string{s.mqtt}, o: o, points: o.points, rate: 20, version: version}
		f.o.duration = time.Hour
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error, 1)
		go func() { done <- f.run(ctx, keys, slices.Repeat([]string{secret}, len(keys))) }()
		begin := time.Now()
		err := while()
		cancel()
		err = errors.Join(err, <-done)
		fmt.Printf("  ingest meanwhile: %.0f readings/s, PUBACK after %v, p99 %v\n", float64(f.acked.Load()*int64(f.points))/time.Since(begin).Seconds(),
			quantile(f.latencies, 0.5).Round(10*time.Microsecond), quantile(f.latencies, 0.99).Round(10*time.Microsecond))
		return err
	}
	hour := time.Now().UTC().Hour()
	fmt.Println("\nnobody asks")
	if err := coming(hour-1, func() error { time.Sleep(o.duration); return nil }); err != nil {
		return err
	}
	fmt.Printf("\n%-46s %9s %9s %9s   %s\n", "question, by HTTP", "first", "p50", "p99", "the same in plain SQL on the readings, once")
	return coming(hour, func() error { // of this hour, as readings are that come in
		if err := s.ask(ctx, db, token, end, o); err != nil {
			return err
		}
		fmt.Println("export")
		return s.export(ctx, token, end, o.days)
	})
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

// ask asks every question again and again.
func (s *service) ask(ctx context.Context, db *sql.DB, token string, end time.Time, o options) error {
	days := o.days
	span := func(days int, more string) string {
		return "start=" + url.QueryEscape(end.Add(-time.Duration(days)*24*time.Hour).Format(time.RFC3339)) + "&end=" + url.QueryEscape(end.Format(time.RFC3339)) + more
	}
	const some = "&agg=avg&agg=min&agg=max"
	aggregates := func(unit, sensors string, days int) string {
		return fmt.Sprintf(`SELECT sensor_id, date_trunc('%s', timestamp) t, avg(value), min(value), max(value) FROM sensor_data
			WHERE sensor_id IN (%s) AND timestamp >= '%s' AND timestamp < '%s' GROUP BY 1, 2`, unit, sensors,
			end.Add(-time.Duration(days)*24*time.Hour).Format(time.RFC3339), end.Format(time.RFC3339))
	}
	ten, tenIDs := "", "1"
	for i := range denseSensors {
		ten += fmt.Sprintf("&sensor_id=%d", i+1)
		tenIDs += fmt.Sprintf(", %d", i+1)
	}
	for _, q := range []struct{ title, path, sql string }{
		{"latest of 1,000 sensors", "latest?limit=1000", `SELECT DISTINCT ON (sensor_id) * FROM sensor_data ORDER BY sensor_id, timestamp DESC`},
		{"a day by the minute", "history?sensor_id=1&interval=1m&" + span(1, some), aggregates("minute", "1", 1)},
		{fmt.Sprintf("%d days by the hour", days), "history?sensor_id=1&interval=1h&" + span(days, some), aggregates("hour", "1", days)},
		{fmt.Sprintf("10 sensors, %d days by the hour", days), "history?interval=1h&" + span(days, some) + ten, aggregates("hour", tenIDs, days)},
		{"the same as columns", "history?format=columns&interval=1h&" + span(days, some) + ten, ""},
		{fmt.Sprintf("%d days by the day in Berlin", days), "history?sensor_id=1&interval=1d&timezone=Europe/Berlin&" + span(days, some), ""},
		{fmt.Sprintf("%d days by the hour, time-weighted", days), "history?sensor_id=1&interval=1h&agg=time_weighted_avg&" + span(days, ""), ""},
		{"1,000 readings", "?sensor_id=1&limit=1000&" + span(1, ""), `SELECT * FROM sensor_data WHERE sensor_id = 1 ORDER BY timestamp DESC LIMIT 1000`},
		{
			fmt.Sprintf("statistics of %d days, with percentiles", days), "statistics?sensor_id=1&" + span(days, ""),
			strings.Replace(aggregates("year", "1", days), "max(value)", "max(value), stddev(value), percentile_cont(ARRAY[0.05, 0.5, 0.95]) WITHIN GROUP (ORDER BY value)", 1),
		},
	} {
		path := "/api/data/" + q.path
		if q.path[0] == '?' {
			path = "/api/data" + q.path
		}
		first, err := s.timed(ctx, token, path)
		if err != nil {
			fmt.Printf("%-46s %v\n", q.title, err)
			continue
		}
		h := &histogram{}
		var times []time.Duration
		for begin := time.Now(); time.Since(begin) < o.duration && len(times) < mostAsked; {
			d, err := s.timed(ctx, token, path)
			if err != nil {
				return fmt.Errorf("%s: %w", q.title, err)
			}
			h.add(d)
			times = append(times, d)
		}
		slices.Sort(times)
		plain := ""
		if q.sql != "" {
			begin := time.Now()
			if _, err := db.ExecContext(ctx, q.sql); err != nil {
				return fmt.Errorf("%s: %w", q.title, err)
			}
			plain = ms(time.Since(begin))
		}
		fmt.Printf("%-46s %9s %9s %9s   %s\n", q.title, ms(first), ms(times[len(times)/2]), ms(times[len(times)*99/100]), plain)
	}
	return nil
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f ms", float64(d.Microseconds())/1000) }

func (s *service) get(ctx context.Context, token, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.api+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header = http.Header{"Authorization": {"Bearer " + token}, "Accept-Encoding": {"identity"}}
	res, err := http.DefaultClient.Do(req)
	if err == nil && res.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		return nil, fmt.Errorf("%d: %s", res.StatusCode, body)
	}
	return res, err
}

func (s *service) timed(ctx context.Context, token, path string) (time.Duration, error) {
	begin := time.Now()
	res, err := s.get(ctx, token, path)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, err = io.Copy(io.Discard, res.Body)
	return time.Since(begin), err
}

// export exports two sensors in each format.
func (s *service) export(ctx context.Context, token string, end time.Time, days int) error {
	rows := float64(2 * days * 86400)
	for _, format := range []string{"csv", "ndjson", "parquet"} {
		s.usage() // the peak begins anew
		begin := time.Now()
		res, err := s.get(ctx, token, "/api/data/export?sensor_id=1&sensor_id=2&format="+format+"&end="+url.QueryEscape(end.Format(time.RFC3339)))
		if err != nil {
			return err
		}
		n, err := io.Copy(io.Discard, bufio.NewReaderSize(res.Body, 1<<20))
		_ = res.Body.Close()
		if err != nil {
			return err
		}
		took := time.Since(begin)
		fmt.Printf("  %-10s %8.0f rows/s, %5.1f bytes a row, service at most %d MiB\n", format, rows/took.Seconds(), float64(n)/rows, s.usage().peak>>20)
	}
	return nil
}
