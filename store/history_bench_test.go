package store_test

import (
	"database/sql"
	"log/slog"
	"testing"
	"time"

	"github.com/oei-ms/oei-ms/internal/pgtest"
	"github.com/oei-ms/oei-ms/series"
	"github.com/oei-ms/oei-ms/store"
)

// BenchmarkHistory reads thirty days of a sensor with a reading every second, and one day by
// minute, from rollups and from the 2.6 million readings.
func BenchmarkHistory(b *testing.B) {
	dsn := pgtest.DSN(b) + durable
	db, err := sql.Open("postgres", dsn)
	ok(b, err)
	defer db.Close()
	cfg := store.DefaultConfig()
	cfg.StatementTimeout = time.Minute // the readings themselves take their time
	s, err := store.Open(b.Context(), dsn, cfg, slog.New(slog.DiscardHandler))
	ok(b, err)
	defer s.Close()
	store.RollUpAtOnce(s)
	now := time.Now().UTC().Truncate(time.Second)
	start := now.AddDate(0, 0, -30)
	var days []store.Reading // makes the partitions
	for at := start; !at.After(now); at = at.AddDate(0, 0, 1) {
		days = append(days,
			store.Reading{SensorID: 1, Timestamp: at.Add(time.Microsecond), Received: now})
	}
	if _, err := s.Write(b.Context(), days,
		store.SideWrites{}); err != nil {
		b.Fatal(err)
	}
	run(b, db, `
		INSERT INTO sensor_data (timestamp, value, sensor_id, quality)
		SELECT t, 20 + sin(extract(epoch FROM t)::float8 / 3600), 1, 0
		FROM generate_series($1::timestamptz, $2::timestamptz, '1 second') t`, start, now)
	run(b, db, `
		INSERT INTO rollup_due (sensor_id, hour)
		SELECT 1, h
		FROM generate_series(
			date_trunc('hour', $1::timestamptz), $2::timestamptz, '1 hour') h
		ON CONFLICT DO NOTHING`, start, now)
	began := time.Now()
	for more := true; more; {
		var err error
		if _, more, err = s.RollUp(b.Context(), 64); err != nil {
			b.Fatal(err)
		}
	}
	b.Logf("rolled up in %v", time.Since(began))
	run(b, db, `VACUUM ANALYZE`)
	for name, q := range map[string]series.HistoryQuery{
		"30 days by hour": {
			Start:  start,
			End:    now,
			Bounds: boundsOf(b, "1h", start, now, time.UTC),
		},
		"a day by minute": {
			Start:  now.AddDate(0, 0, -3),
			End:    now.AddDate(0, 0, -2),
			Bounds: boundsOf(b, "1m", now.AddDate(0, 0, -3), now.AddDate(0, 0, -2), time.UTC),
		},
		"today by minute": {
			Start:  now.AddDate(0, 0, -1),
			End:    now,
			Bounds: boundsOf(b, "1m", now.AddDate(0, 0, -1), now, time.UTC),
		},
		"30 days by day": {Start: start, End: now, Bounds: boundsOf(b, "1d", start, now, time.UTC)},
	} {
		q.Sensors, q.Ends, q.Now = []int64{1}, true, now
		for _, source := range []series.Source{q.Source(), series.Raw} {
			b.Run(name+" of "+string(source), func(b *testing.B) {
				for b.Loop() {
					if _, err := s.HistoryOf(b.Context(), q, source); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
