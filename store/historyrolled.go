package store

import (
	"fmt"
	"time"
)

// Source is what a history was made of: readings, or rollups and only at its edges readings.
type Source string

// The sources, as the contract has them.
const (
	Raw      Source = "raw"
	ByMinute Source = "1m"
	ByHour   Source = "1h"
)

// leastRolled is how long a range is from which on rollups are looked into.
const leastRolled = 2 * time.Hour

// source is the coarsest of which every bucket is made up. Percentiles and gaps are of readings only.
func (q HistoryQuery) source() Source {
	from, to := q.rolled()
	if len(q.Percentiles) > 0 || q.Gap > 0 || to.Sub(from) < leastRolled {
		return Raw
	}
	source := ByHour
	for _, b := range q.Bounds[1:max(len(q.Bounds)-1, 1)] { // the outer ones are cut to the range
		switch {
		case !b.Equal(b.Truncate(time.Minute)):
			return Raw
		case !b.Equal(hourOf(b)):
			source = ByMinute
		}
	}
	return source
}

// rolled is the part of the range that is whole hours.
func (q HistoryQuery) rolled() (from, to time.Time) {
	if from = hourOf(q.Start); from.Before(q.Start) {
		from = from.Add(time.Hour)
	}
	return from, hourOf(q.End)
}

// rolledStatement answers like statement, with $5 and $6 as the whole hours of the range. It takes pieces, each a rollup or what
// the readings of a stretch come to in one bucket, and merges those of a bucket: see the rules in rollups.go for which is which.
func (q HistoryQuery) rolledStatement(source Source) string {
	table, sparse := `
			SELECT r.sensor_id, r.bucket, `+rollupColumns+` FROM hours r`, ``
	if source == ByMinute {
		table = `
			SELECT m.sensor_id, m.bucket, m.count, m.usable, m.good, m.first_at, m.last_at, m.sum, m.m2, m.min, m.max, m.first, m.last, m.integral
			FROM hours h
			JOIN rollup_1m m ON m.sensor_id = h.sensor_id AND m.bucket >= h.bucket AND m.bucket < h.bucket + interval '1 hour'
			WHERE h.minutes`
		sparse = `
			UNION ALL
			SELECT sensor_id, bucket, bucket + interval '1 hour' FROM hours WHERE NOT minutes`
	}
	return fmt.Sprintf(`
		WITH state AS MATERIALIZED (SELECT greatest(least(through, $6::timestamptz), $5::timestamptz) AS upper FROM rollup_state),
		dirty AS MATERIALIZED (
			SELECT d.sensor_id, d.hour
			FROM state
			JOIN rollup_due d ON d.sensor_id = ANY ($1::int[]) AND d.hour >= $5 AND d.hour < state.upper
			UNION
			SELECT m.sensor_id, m.hour
			FROM state
			JOIN rollup_marks k ON k.oldest < state.upper
			CROSS JOIN unnest(k.sensors, k.hours) AS m (sensor_id, hour)
			WHERE m.sensor_id = ANY ($1::int[]) AND m.hour >= $5 AND m.hour < state.upper),
		hours AS MATERIALIZED (
			SELECT r.*
			FROM state
			JOIN rollup_1h r ON r.sensor_id = ANY ($1::int[]) AND r.bucket >= $5 AND r.bucket < $6 AND r.bucket < state.upper
			WHERE NOT EXISTS (SELECT FROM dirty d WHERE d.sensor_id = r.sensor_id AND d.hour = r.bucket)),
		stretches (sensor_id, begin, until) AS (
			SELECT i.id, $2::timestamptz, $5::timestamptz FROM unnest($1::int[]) AS i (id)
			UNION ALL
			SELECT i.id, state.upper, $3::timestamptz FROM unnest($1::int[]) AS i (id) CROSS JOIN state
			UNION ALL
			SELECT sensor_id, hour, hour + interval '1 hour' FROM dirty%[3]s),
		readings AS (
			SELECT s.sensor_id, s.begin, r.timestamp, r.quality, CASE WHEN %[1]s THEN r.value END AS value,
				width_bucket(r.timestamp, $4::timestamptz[]) AS n
			FROM stretches s
			CROSS JOIN LATERAL (
				SELECT timestamp, quality, value
				FROM sensor_data
				WHERE sensor_id = s.sensor_id AND timestamp >= s.begin AND timestamp < s.until AND timestamp >= $2 AND timestamp < $3) r
			WHERE s.begin < s.until),
		neighbours AS (
			SELECT sensor_id, begin, n, timestamp, quality, value, lead(timestamp) OVER w AS next,
				lag(timestamp) OVER w IS NULL AS is_first, lead(timestamp) OVER w IS NULL AS is_last
			FROM readings
			WINDOW w AS (PARTITION BY sensor_id, begin, n, value IS NULL ORDER BY timestamp)),
		pieces AS (
			SELECT sensor_id, width_bucket(bucket, $4::timestamptz[]) AS n, %[2]s
			FROM (%[4]s) r
			UNION ALL
			SELECT sensor_id, n, %[5]s
			FROM neighbours
			GROUP BY sensor_id, begin, n),
		ordered AS (
			SELECT *, sum(sum) OVER b / nullif(sum(usable) OVER b, 0) AS mean, lead(first_at) OVER o AS next,
				lag(first_at) OVER o IS NULL AS is_first, lead(first_at) OVER o IS NULL AS is_last
			FROM pieces
			WINDOW b AS (PARTITION BY sensor_id, n, usable = 0), o AS (PARTITION BY sensor_id, n, usable = 0 ORDER BY first_at))
		SELECT sensor_id, n, sum(count), sum(good), sum(usable), sum(sum), min(min), max(max),
			sum(m2 + usable * (sum / nullif(usable, 0) - mean) ^ 2),
			min(first_at), max(first) FILTER (WHERE is_first), max(last_at), max(last) FILTER (WHERE is_last),
			sum(integral + coalesce(last * date_part('epoch', next - last_at), 0)), NULL::float8[], 0, 0
		FROM ordered
		GROUP BY sensor_id, n
		UNION ALL (
		SELECT i.id, 0, 0, 0, 0, NULL, NULL, NULL, NULL, d.timestamp, d.value, d.timestamp, d.value, NULL, NULL, 0, 0
		FROM unnest($1::int[]) AS i (id)
		CROSS JOIN LATERAL (
			SELECT timestamp, value
			FROM sensor_data
			WHERE sensor_id = i.id AND timestamp < $2 AND timestamp >= $2::timestamptz - make_interval(secs => %[6]f) AND %[1]s
			ORDER BY timestamp DESC
			LIMIT 1) d
		WHERE %[7]t)
		ORDER BY 1, 2`, usable, rollupColumns, sparse, table, rollupAggregates, holdBack.Seconds(), q.Ends)
}
