package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/oei-ms/oei-ms/internal/postgres"
	"github.com/oei-ms/oei-ms/store"
)

// minuteSensors is the number of sensors with a reading every minute; sensor 1 has one a day.
const minuteSensors = 20

// years compares queries of a database with readings of one day and with readings of years.
func years(ctx context.Context, o options) (err error) {
	dir, err := os.MkdirTemp("", "oei-ms-bench-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	if err := os.Chmod(dir, 0o711); err != nil { // as root the database runs as another user
		return err
	}
	// each answer is made
	s, err := startService(ctx, dir, "ADMIN_PASSWORD="+benchPassword, "OEI_CACHE_BYTES=0")
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
	o.gateways, o.points = 1, 1+minuteSensors
	if _, err := register(ctx, db, o); err != nil {
		return err
	}
	st, err := store.Open(ctx, dsn, store.DefaultConfig(), slog.Default())
	if err != nil {
		return err
	}
	defer st.Close()
	token, err := s.login()
	if err != nil {
		return err
	}
	b := &yearsBench{
		seriesBench: &seriesBench{
			service: s,
			db:      db,
			o:       o,
			token:   token,
			end:     time.Now().UTC().Truncate(time.Hour),
		},
		st:  st,
		dsn: dsn,
	}
	day := b.end.AddDate(0, 0, -1)
	if err := b.load(ctx, day, b.end); err != nil {
		return err
	}
	first, err := b.askAll(ctx)
	if err != nil {
		return err
	}
	begin := time.Now()
	for from := b.end.AddDate(-o.years, 0, 0); from.Before(day); from = from.AddDate(0, 0, 30) {
		to := from.AddDate(0, 0, 30)
		if to.After(day) {
			to = day
		}
		if err := b.load(ctx, from, to); err != nil {
			return err
		}
	}
	fmt.Printf("%d years loaded, %d of them with readings a minute, in %v\n", o.years, o.dense,
		time.Since(begin).Round(time.Second))
	if err := rolled(ctx, db, dsn, b.end); err != nil {
		return err
	}
	then, err := b.askAll(ctx)
	if err != nil {
		return err
	}
	return b.print(ctx, first, then)
}

// yearsBench queries sensor 1, with a reading a day, and sensors with one every minute.
type yearsBench struct {
	*seriesBench
	st  *store.Store
	dsn string
}

// load inserts readings of [from, to) and rolls them up.
func (b *yearsBench) load(ctx context.Context, from, to time.Time) error {
	var rs []store.Reading
	for at := from; at.Before(to); at = at.AddDate(0, 0, 1) {
		// which makes the partitions, too
		rs = append(rs, store.Reading{SensorID: 1, Timestamp: at, Received: at, Value: 20})
	}
	for i := range minuteSensors {
		at := to.Add(-time.Minute)
		// which is the latest of those
		rs = append(rs,
			store.Reading{SensorID: int64(2 + i), Timestamp: at, Received: at, Value: 20})
	}
	if _, err := b.st.Write(ctx, rs, store.SideWrites{}); err != nil {
		return err
	}
	if from.Before(b.end.AddDate(-b.o.dense, 0, 0)) {
		return nil
	}
	for _, q := range []string{
		`INSERT INTO sensor_data (timestamp, value, sensor_id, quality)
			SELECT t, 20 + 5 * sin(date_part('epoch', t) / 3600 + i), i, 0
			FROM generate_series($1::timestamptz, $2::timestamptz - interval '2 minutes',
			'1 minute') t, generate_series(2, $3::int) i`,
		`INSERT INTO rollup_due (hour, sensor_id)
			SELECT h, i
			FROM generate_series(date_trunc('hour', $1::timestamptz), $2::timestamptz, '1 hour') h,
			generate_series(2, $3::int) i
			ON CONFLICT DO NOTHING`,
	} {
		if _, err := b.db.ExecContext(ctx, q, from, to, 1+minuteSensors); err != nil {
			return err
		}
	}
	return nil
}

// query is a request with the durations of its answers.
type query struct {
	title, path string
	times       []time.Duration // in order
}

func (q *query) quantile(p int) time.Duration { return q.times[len(q.times)*p/100] }

// askAll asks every query again and again.
func (b *yearsBench) askAll(ctx context.Context) ([]query, error) {
	all := "start=" + url.QueryEscape(b.end.AddDate(-b.o.years, 0, 0).Format(time.RFC3339)) +
		"&end=" + url.QueryEscape(b.end.Format(time.RFC3339))
	list := []query{
		{title: "the newest 10 readings, one a day", path: "?sensor_id=1&limit=10"},
		{title: "the newest 1,000", path: "?sensor_id=1&limit=1000"},
		{title: "history of all by month", path: "/history?interval=1mo&sensor_id=1&" + all},
		{title: "statistics of all", path: "/statistics?sensor_id=1&" + all},
		{title: "export of all", path: "/export?sensor_id=1"},
		{title: "the newest 100 readings, one a minute", path: "?sensor_id=2&limit=100"},
		{title: "the readings of a day", path: "?sensor_id=2&limit=1000&" + b.span(1, "")},
		{title: "latest of all sensors", path: "/latest"},
		{
			title: "history of a day by 15 minutes",
			path:  "/history?interval=15m&sensor_id=2&" + b.span(1, ""),
		},
		{
			title: "history of all by month, one a minute",
			path:  "/history?interval=1mo&sensor_id=2&" + all,
		},
		{
			title: "statistics of a day, 20 sensors",
			path:  "/statistics?" + b.span(1, "") + sensorsFrom(2, minuteSensors),
		},
		{
			title: "export of a day, 20 sensors",
			path:  "/export?" + b.span(1, "") + sensorsFrom(2, minuteSensors),
		},
	}
	for i := range list {
		q := &list[i]
		var all time.Duration
		for all < b.o.duration && len(q.times) < maxQueries {
			d, err := b.timed(ctx, b.token, "/api/data"+q.path)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", q.title, err)
			}
			q.times = append(q.times, d)
			all += d
		}
		slices.Sort(q.times)
	}
	return list, nil
}

func sensorsFrom(first, n int) (parameters string) {
	for i := range n {
		parameters += fmt.Sprintf("&sensor_id=%d", first+i)
	}
	return parameters
}

// print prints the durations with a day of readings and with years.
func (b *yearsBench) print(ctx context.Context, first, then []query) error {
	var partitions, bytes, rows int64
	const q = `
		SELECT count(*), sum(pg_total_relation_size(inhrelid)), (SELECT count(*) FROM sensor_data)
		FROM pg_inherits
		WHERE inhparent = 'sensor_data'::regclass`
	if err := b.db.QueryRowContext(ctx, q).Scan(&partitions, &bytes, &rows); err != nil {
		return err
	}
	fmt.Printf("\n%d readings in %d partitions, %d MiB\n", rows, partitions, bytes>>20)
	fmt.Printf("%-40s %10s %10s %14s %10s %8s\n", "query, by HTTP", "day: p50", "p99",
		"years: p50", "p99", "p50 ratio")
	for i := range first {
		fmt.Printf("%-40s %10s %10s %14s %10s %8.1f\n", first[i].title, ms(first[i].quantile(50)),
			ms(first[i].quantile(99)),
			ms(then[i].quantile(50)), ms(then[i].quantile(99)),
			float64(then[i].quantile(50))/float64(first[i].quantile(50)))
	}
	return nil
}
