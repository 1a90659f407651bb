package store

import (
	"context"
	"database/sql"
	"math"
	"slices"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/oei-ms/oei-ms/series"
)

// maxRollupsPerStatement is about how many rollups of hours and minutes one statement writes.
const maxRollupsPerStatement = 8192

// rebuildRollups replaces the rollups of hours. An hour with few readings has none. known are the
// partitions.
func rebuildRollups(
	ctx context.Context, tx *sqlx.Tx, hours []sensorHour, known []partition,
) error {
	const deleteHours = `
		DELETE FROM rollup_1h r
		USING unnest($1::int[], $2::timestamptz[]) AS d (sensor_id, hour)
		WHERE r.sensor_id = d.sensor_id AND r.bucket = d.hour`
	const deleteMinutes = `
		DELETE FROM rollup_1m r
		USING unnest($1::int[], $2::timestamptz[]) AS d (sensor_id, hour)
		WHERE r.sensor_id = d.sensor_id
			AND r.bucket >= d.hour
			AND r.bucket < d.hour + interval '1 hour'`
	sensors, starts := sensorsOf(hours), startsOf(hours)
	for _, q := range []string{deleteHours, deleteMinutes} {
		if _, err := tx.ExecContext(ctx, q, sensors, starts); err != nil {
			return err
		}
	}
	slices.SortFunc(hours, func(a, b sensorHour) int { return a.Hour.Compare(b.Hour) })
	first, last := hours[0].Hour, hours[len(hours)-1].Hour
	for _, w := range cut(known, first, last.Add(time.Hour), whole) {
		n, _ := slices.BinarySearchFunc(hours, w.end,
			func(h sensorHour, end time.Time) int { return h.Hour.Compare(end) })
		for part := range slices.Chunk(hours[:n], maxRollupsPerStatement/60) {
			if err := buildRollups(ctx, tx, part); err != nil {
				return err
			}
		}
		hours = hours[n:]
	}
	return nil
}

// buildRollups writes the rollups of hours, which are in order of time and had none.
func buildRollups(ctx context.Context, tx *sqlx.Tx, due []sensorHour) error {
	const q = ` -- $3 and $4 let the planner leave out partitions
		SELECT d.sensor_id, d.hour, r.readings
		FROM unnest($1::int[], $2::timestamptz[]) AS d (sensor_id, hour)
		CROSS JOIN LATERAL (
			SELECT string_agg(` + packedReading + `, '') AS readings
			FROM sensor_data
			WHERE sensor_id = d.sensor_id
				AND timestamp >= d.hour
				AND timestamp < d.hour + interval '1 hour'
				AND timestamp >= $3
				AND timestamp < $4) r
		WHERE r.readings IS NOT NULL`
	first, last := due[0].Hour, due[len(due)-1].Hour
	rows, err := tx.QueryContext(ctx, q, sensorsOf(due), startsOf(due), first, last.Add(time.Hour))
	if err != nil {
		return err
	}
	defer rows.Close()
	var hours, minutes []series.Rollup
	var readings []series.Reading
	for rows.Next() {
		var sensor int64
		var start time.Time
		var packed sql.RawBytes
		if err := rows.Scan(&sensor, &start, &packed); err != nil {
			return err
		}
		if readings, err = series.UnpackReadings(readings[:0], packed); err != nil {
			return err
		}
		series.SortReadings(readings)
		if hour, ofMinutes, ok := series.RollUpHour(sensor, start, readings); ok {
			hours, minutes = append(hours, hour), append(minutes, ofMinutes...)
		}
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return insertRollups(ctx, tx, hours, minutes)
}

// insertRollups writes rollups of hours and minutes.
func insertRollups(ctx context.Context, tx *sqlx.Tx, hours, minutes []series.Rollup) error {
	const insertHours = `
		INSERT INTO rollup_1h (
			sensor_id, bucket, count, good, usable, sum, m2, min, max,
			first, first_at, last, last_at, integral,
			begin_at, end_at, pause, minutes, sketch)
		SELECT
			sensor_id, bucket, count, good, usable, sum, m2, min, max,
			first, first_at, last, last_at, integral,
			begin_at, end_at, pause, minutes, sketch
		FROM unnest(
				$1::int[], $2::timestamptz[], $3::int[], $4::int[], $5::int[],
				$6::float8[], $7::float8[], $8::float8[], $9::float8[],
				$10::float8[], $11::timestamptz[], $12::float8[], $13::timestamptz[], $14::float8[],
				$15::timestamptz[], $16::timestamptz[], $17::float8[], $18::boolean[], $19::bytea[])
			AS r (
				sensor_id, bucket, count, good, usable, sum, m2, min, max,
				first, first_at, last, last_at, integral,
				begin_at, end_at, pause, minutes, sketch)`
	const insertMinutes = `
		INSERT INTO rollup_1m (
			sensor_id, bucket, count, good, usable, sum, m2, min, max,
			first, first_at, last, last_at, integral)
		SELECT
			sensor_id, bucket, count, good, usable, sum, m2, min, max,
			first, first_at, last, last_at, integral
		FROM unnest(
				$1::int[], $2::timestamptz[], $3::int[], $4::int[], $5::int[],
				$6::float8[], $7::float8[], $8::float8[], $9::float8[],
				$10::float8[], $11::timestamptz[], $12::float8[], $13::timestamptz[], $14::float8[])
			AS r (
				sensor_id, bucket, count, good, usable, sum, m2, min, max,
				first, first_at, last, last_at, integral)`
	args := append(rollupColumns(hours), hourColumns(hours)...)
	if _, err := tx.ExecContext(ctx, insertHours, args...); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, insertMinutes, rollupColumns(minutes)...)
	return err
}

// rollupColumns returns the columns that hours and minutes have in common. Values are NULL without
// usable readings.
func rollupColumns(list []series.Rollup) []any {
	int4 := func(of func(r *series.Rollup) int64) []byte {
		return column(list, asInt4, func(r series.Rollup) int64 { return of(&r) })
	}
	float8 := func(of func(r *series.Rollup) float64) []byte {
		return column(list, asFloat8, func(r series.Rollup) float64 {
			if r.Usable == 0 {
				return math.NaN()
			}
			return of(&r)
		})
	}
	at := func(of func(r *series.Rollup) series.Instant) []byte {
		return column(list, asInstant, func(r series.Rollup) series.Instant {
			if r.Usable == 0 {
				return series.Never
			}
			return of(&r)
		})
	}
	return []any{
		int4(func(r *series.Rollup) int64 { return r.Sensor }),
		column(list, asInstant, func(r series.Rollup) series.Instant { return r.Bucket }),
		int4(func(r *series.Rollup) int64 { return r.Count }),
		int4(func(r *series.Rollup) int64 { return r.Good }),
		int4(func(r *series.Rollup) int64 { return r.Usable }),
		float8(func(r *series.Rollup) float64 { return r.Sum }),
		float8(func(r *series.Rollup) float64 { return r.M2 }),
		float8(func(r *series.Rollup) float64 { return r.Min }),
		float8(func(r *series.Rollup) float64 { return r.Max }),
		float8(func(r *series.Rollup) float64 { return r.First }),
		at(func(r *series.Rollup) series.Instant { return r.FirstAt }),
		float8(func(r *series.Rollup) float64 { return r.Last }),
		at(func(r *series.Rollup) series.Instant { return r.LastAt }),
		float8(func(r *series.Rollup) float64 { return r.Integral }),
	}
}

// hourColumns returns the columns that only hours have. begin_at and end_at are NULL where first_at
// and last_at say the same.
func hourColumns(hours []series.Rollup) []any {
	return []any{
		column(hours, asInstant, func(r series.Rollup) series.Instant {
			if r.Usable > 0 && r.Begin == r.FirstAt {
				return series.Never
			}
			return r.Begin
		}),
		column(hours, asInstant, func(r series.Rollup) series.Instant {
			if r.Usable > 0 && r.End == r.LastAt {
				return series.Never
			}
			return r.End
		}),
		column(hours, asFloat8, func(r series.Rollup) float64 {
			if r.Count < 2 {
				return math.NaN()
			}
			return r.MaxSpacing.Since(0)
		}),
		column(hours, asBool, func(r series.Rollup) bool { return r.HasMinutes }),
		column(hours, asBytea, func(r series.Rollup) []byte { return r.Sketch }),
	}
}
