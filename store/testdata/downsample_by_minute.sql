WITH
state AS MATERIALIZED (
	SELECT greatest(least(through, $5::timestamptz), $4::timestamptz) AS upper
	FROM rollup_state),
stale AS MATERIALIZED (
	SELECT d.sensor_id, d.hour
	FROM state
	JOIN rollup_due d ON d.sensor_id = ANY ($1::int[])
		AND d.hour >= $4
		AND d.hour < state.upper
	UNION
	SELECT m.sensor_id, m.hour
	FROM state
	JOIN rollup_marks k ON k.oldest < state.upper
	CROSS JOIN unnest(k.sensors, k.hours) AS m (sensor_id, hour)
	WHERE m.sensor_id = ANY ($1::int[])
		AND m.hour >= $4
		AND m.hour < state.upper),
hours AS MATERIALIZED (
	SELECT sensor_id, bucket, usable, min, max, minutes
	FROM state
	JOIN rollup_1h r ON r.sensor_id = ANY ($1::int[])
		AND r.bucket >= $4
		AND r.bucket < $5
		AND r.bucket < state.upper
	WHERE NOT EXISTS (
		SELECT
		FROM stale d
		WHERE d.sensor_id = r.sensor_id AND d.hour = r.bucket)
		AND r.usable > 0),
totals AS MATERIALIZED (
	SELECT sensor_id, sum(usable)::bigint AS usable
	FROM hours
	GROUP BY sensor_id),
rollups AS (
	SELECT m.sensor_id, m.bucket, m.min, m.max, true AS minutes
	FROM hours h
	JOIN rollup_1m m ON m.sensor_id = h.sensor_id
		AND m.bucket >= h.bucket
		AND m.bucket < h.bucket + interval '1 hour'
	WHERE h.minutes AND m.usable > 0),
binned AS (
	SELECT
		r.sensor_id, r.bucket, r.min, r.max, r.minutes,
		t.usable <= $8 AS is_small,
		floor(date_part('epoch', bucket - $6::timestamptz) / $7::float8) AS bin
	FROM rollups r
	JOIN totals t ON t.sensor_id = r.sensor_id),
ranked AS (
	SELECT
		sensor_id, bucket, min, max, minutes,
		is_small OR lag(bucket) OVER s IS NULL OR lead(bucket) OVER s IS NULL
			AS all_readings,
		row_number() OVER (b ORDER BY min, bucket) = 1 AS has_min,
		row_number() OVER (b ORDER BY max DESC, bucket) = 1 AS has_max
	FROM binned
	WINDOW
		s AS (PARTITION BY sensor_id ORDER BY bucket),
		b AS (PARTITION BY sensor_id, bin)),
chosen AS MATERIALIZED (
	SELECT sensor_id, bucket, min, max, minutes, all_readings, has_min, has_max
	FROM ranked
	WHERE all_readings OR has_min OR has_max),
uncovered (sensor_id, begin, until) AS (
	SELECT
		sensor_id,
		lag(bucket + interval '1 hour', 1, $2::timestamptz)
			OVER (PARTITION BY sensor_id ORDER BY bucket),
		bucket
	FROM hours
	UNION ALL
	SELECT
		l.sensor_id,
		coalesce(h.until, $2::timestamptz),
		least(l.timestamp + interval '48h0m0s', $3)
	FROM latest l
	LEFT JOIN (
		SELECT sensor_id, max(bucket) + interval '1 hour' AS until
		FROM hours
		GROUP BY sensor_id) h ON h.sensor_id = l.sensor_id
	WHERE l.sensor_id = ANY ($1::int[])),
slices (sensor_id, begin, until) AS (
	SELECT
		u.sensor_id,
		greatest(at, u.begin),
		least(at + interval '1 hour', u.until)
	FROM uncovered u
	CROSS JOIN LATERAL (
		SELECT min(timestamp) AS oldest
		FROM sensor_data
		WHERE sensor_id = u.sensor_id
			AND timestamp >= u.begin
			AND timestamp < u.until
			AND timestamp >= $2
			AND timestamp < $3) r
	CROSS JOIN LATERAL generate_series(
		date_trunc('hour', r.oldest, 'UTC'),
		u.until - interval '1 microsecond',
		interval '1 hour') AS at
	WHERE u.begin < u.until
	UNION
	SELECT sensor_id, bucket, bucket + interval '1 minute'
	FROM chosen
	UNION
	SELECT sensor_id, bucket, bucket + interval '1 hour'
	FROM hours
	WHERE NOT minutes)
SELECT
	s.sensor_id,
	coalesce((SELECT usable FROM totals t WHERE t.sensor_id = s.sensor_id), 0),
	r.readings
FROM (
	SELECT sensor_id, begin, until
	FROM slices
	ORDER BY sensor_id, begin) s
CROSS JOIN LATERAL (
	SELECT string_agg(timestamptz_send(timestamp)
		|| float8send(CASE WHEN quality < 2 AND value BETWEEN -1e140 AND 1e140 THEN value ELSE 'NaN' END)
		|| int2send(quality), '') AS readings
	FROM sensor_data
	WHERE sensor_id = s.sensor_id
		AND timestamp >= s.begin
		AND timestamp < s.until
		AND timestamp >= $2
		AND timestamp < $3
		AND quality < 2 AND value BETWEEN -1e140 AND 1e140) r
WHERE r.readings IS NOT NULL
ORDER BY s.sensor_id, s.begin
