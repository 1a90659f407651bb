package store

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"
)

const (
	// minRolled is from how many readings on an hour has a rollup: with fewer, these take little
	// more room and time.
	minRolled = 12
	// denseHour is from how many readings on an hour's minutes are kept, for the same reason.
	denseHour = 60 * minRolled
	// writtenAtOnce is how many minutes and hours are gathered to be written with one statement, or
	// a few more.
	writtenAtOnce = 8192
)

// rollup is what the readings of a sensor in a minute or an hour come to, a row of rollup_1m or
// rollup_1h.
type rollup struct {
	sensor int64
	bucket instant // where it starts
	piece
	sketch  []byte // of an hour
	minutes bool   // of an hour: they are kept
}

// rollUp makes the rollups of hours anew. An hour with few readings has none. known are the
// partitions.
func rollUp(ctx context.Context, tx *sqlx.Tx, hours []sensorHour, known []partition) error {
	sensors, starts := hourSensors(hours), hourStarts(hours)
	for _, q := range []string{
		`DELETE FROM rollup_1h r USING unnest($1::int[], $2::timestamptz[]) AS d (sensor_id, hour)
			WHERE r.sensor_id = d.sensor_id AND r.bucket = d.hour`,
		`DELETE FROM rollup_1m r USING unnest($1::int[], $2::timestamptz[]) AS d (sensor_id, hour)
			WHERE r.sensor_id = d.sensor_id AND r.bucket >= d.hour AND r.bucket < d.hour + interval '1 hour'`,
	} {
		if _, err := tx.ExecContext(ctx, q, sensors, starts); err != nil {
			return err
		}
	}
	slices.SortFunc(hours, func(a, b sensorHour) int { return a.Hour.Compare(b.Hour) })
	for _, w := range cut(known, hours[0].Hour, hours[len(hours)-1].Hour.Add(time.Hour), whole) {
		n, _ := slices.BinarySearchFunc(hours, w.end,
			func(h sensorHour, end time.Time) int { return h.Hour.Compare(end) })
		for part := range slices.Chunk(hours[:n], writtenAtOnce/60) {
			if err := rollUpSome(ctx, tx, part); err != nil {
				return err
			}
		}
		hours = hours[n:]
	}
	return nil
}

func rollUpSome(ctx context.Context, tx *sqlx.Tx, due []sensorHour) error {
	first, last := due[0].Hour, due[len(due)-1].Hour // they are in order of time
	const q = ` -- $3 and $4 let the planner leave out partitions
		SELECT d.sensor_id, d.hour, r.readings
		FROM unnest($1::int[], $2::timestamptz[]) AS d (sensor_id, hour)
		CROSS JOIN LATERAL (
			SELECT string_agg(` + packedReading + `, '') AS readings
			FROM sensor_data
			WHERE sensor_id = d.sensor_id AND timestamp >= d.hour AND timestamp < d.hour + interval '1 hour'
				AND timestamp >= $3 AND timestamp < $4) r
		WHERE r.readings IS NOT NULL`
	rows, err := tx.QueryContext(ctx, q, hourSensors(due), hourStarts(due), first,
		last.Add(time.Hour))
	if err != nil {
		return err
	}
	defer rows.Close()
	var hours, minutes []rollup
	var points []point
	for rows.Next() {
		var sensor int64
		var start time.Time
		var readings sql.RawBytes
		if err := rows.Scan(&sensor, &start, &readings); err != nil {
			return err
		}
		if points, err = unpackReadings(points[:0], readings); err != nil {
			return err
		}
		if len(points) < minRolled {
			continue
		}
		inOrder(points)
		hour := rollup{sensor: sensor, bucket: instantOf(start), minutes: len(points) >= denseHour}
		var values []float64
		for _, r := range points {
			hour.add(r)
			if !math.IsNaN(r.value) {
				values = append(values, r.value)
			}
			if !hour.minutes {
				continue
			}
			minute := hour.bucket + (r.at-hour.bucket)/60e6*60e6
			if n := len(minutes); n == 0 || minutes[n-1].bucket != minute ||
				minutes[n-1].sensor != sensor {
				minutes = append(minutes, rollup{sensor: sensor, bucket: minute})
			}
			minutes[len(minutes)-1].add(r)
		}
		hour.sketch = newSketch(values).append(nil)
		hours = append(hours, hour)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return writeRollups(ctx, tx, hours, minutes)
}

// rollupColumns are what rollup_1h and rollup_1m have in common.
const rollupColumns = `sensor_id, bucket, count, good, usable, sum, m2, min, max, first, first_at, last, last_at, integral`

func writeRollups(ctx context.Context, tx *sqlx.Tx, hours, minutes []rollup) error {
	const hourly = `
		INSERT INTO rollup_1h (` + rollupColumns + `, begin_at, end_at, pause, minutes, sketch)
		SELECT *
		FROM unnest($1::int[], $2::timestamptz[], $3::int[], $4::int[], $5::int[], $6::float8[], $7::float8[], $8::float8[], $9::float8[],
			$10::float8[], $11::timestamptz[], $12::float8[], $13::timestamptz[], $14::float8[],
			$15::timestamptz[], $16::timestamptz[], $17::float8[], $18::boolean[], $19::bytea[])`
	args := append(rollupArgs(hours),
		instants(len(hours), func(i int) (instant, bool) {
			return hours[i].begin, hours[i].usable == 0 || hours[i].begin != hours[i].firstAt
		}),
		instants(len(hours), func(i int) (instant, bool) {
			return hours[i].end, hours[i].usable == 0 || hours[i].end != hours[i].lastAt
		}),
		float8s(len(hours), func(i int) float64 {
			if hours[i].count < 2 {
				return math.NaN()
			}
			return hours[i].pause.since(0)
		}),
		bools(len(hours), func(i int) bool { return hours[i].minutes }),
		byteas(len(hours), func(i int) []byte { return hours[i].sketch }),
	)
	if _, err := tx.ExecContext(ctx, hourly, args...); err != nil {
		return err
	}
	const byMinute = `
		INSERT INTO rollup_1m (` + rollupColumns + `)
		SELECT *
		FROM unnest($1::int[], $2::timestamptz[], $3::int[], $4::int[], $5::int[], $6::float8[], $7::float8[], $8::float8[], $9::float8[],
			$10::float8[], $11::timestamptz[], $12::float8[], $13::timestamptz[], $14::float8[])`
	_, err := tx.ExecContext(ctx, byMinute, rollupArgs(minutes)...)
	return err
}

// rollupArgs are rollupColumns as arrays. Values are NULL without usable readings.
func rollupArgs(list []rollup) []any {
	ints := func(of func(*rollup) int64) []byte {
		return int32sOf(len(list), func(i int) int64 { return of(&list[i]) })
	}
	floats := func(of func(*rollup) float64) []byte {
		return float8s(len(list), func(i int) float64 {
			if list[i].usable == 0 {
				return math.NaN()
			}
			return of(&list[i])
		})
	}
	times := func(of func(*rollup) instant) []byte {
		return instants(len(list),
			func(i int) (instant, bool) { return of(&list[i]), list[i].usable > 0 })
	}
	return []any{
		ints(func(r *rollup) int64 { return r.sensor }),
		instants(len(list), func(i int) (instant, bool) { return list[i].bucket, true }),
		ints(func(r *rollup) int64 { return r.count }),
		ints(func(r *rollup) int64 { return r.good }),
		ints(func(r *rollup) int64 { return r.usable }),
		floats(func(r *rollup) float64 { return r.sum }),
		floats(func(r *rollup) float64 { return r.m2 }),
		floats(func(r *rollup) float64 { return r.min }),
		floats(func(r *rollup) float64 { return r.max }),
		floats(func(r *rollup) float64 { return r.first }),
		times(func(r *rollup) instant { return r.firstAt }),
		floats(func(r *rollup) float64 { return r.last }),
		times(func(r *rollup) instant { return r.lastAt }),
		floats(func(r *rollup) float64 { return r.integral }),
	}
}
