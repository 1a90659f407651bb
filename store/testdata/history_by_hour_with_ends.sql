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
	SELECT sensor_id, bucket, timestamptz_send(bucket)
		|| int4send(count) || int4send(good) || int4send(usable)
		|| float8send(coalesce(sum, 0)) || float8send(coalesce(m2, 0))
		|| float8send(coalesce(min, 0)) || float8send(coalesce(max, 0))
		|| float8send(coalesce(first, 0)) || timestamptz_send(coalesce(first_at, bucket))
		|| float8send(coalesce(last, 0)) || timestamptz_send(coalesce(last_at, bucket))
		|| float8send(coalesce(integral, 0)) AS packed,
		bucket = ANY ($6::timestamptz[]) AS split,
		minutes,
		false AS gap
	FROM state
	JOIN rollup_1h r ON r.sensor_id = ANY ($1::int[])
		AND r.bucket >= $4
		AND r.bucket < $5
		AND r.bucket < state.upper
	WHERE NOT EXISTS (
		SELECT
		FROM stale d
		WHERE d.sensor_id = r.sensor_id AND d.hour = r.bucket)),
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
	UNION ALL
	SELECT sensor_id, bucket, bucket + interval '1 hour'
	FROM hours
	WHERE gap OR split AND NOT minutes)
SELECT
	s.sensor_id,
	date_trunc('day', s.begin, 'UTC') AS day,
	NULL::bytea AS rollups,
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
		AND timestamp < $3) r
WHERE r.readings IS NOT NULL
UNION ALL
SELECT sensor_id, date_trunc('day', bucket, 'UTC'), string_agg(packed, ''), NULL
FROM hours
WHERE NOT gap AND NOT split
GROUP BY 1, 2
UNION ALL
SELECT i.id, date_trunc('day', d.timestamp, 'UTC'), NULL, d.reading
FROM unnest($1::int[]) AS i (id)
CROSS JOIN LATERAL (
	SELECT
		timestamp,
		timestamptz_send(timestamp)
		|| float8send(CASE WHEN quality < 2 AND value BETWEEN -1e140 AND 1e140 THEN value ELSE 'NaN' END)
		|| int2send(quality) AS reading
	FROM sensor_data
	WHERE sensor_id = i.id
		AND timestamp < $2
		AND timestamp >= $7
		AND quality < 2 AND value BETWEEN -1e140 AND 1e140
	ORDER BY timestamp DESC
	LIMIT 1) d
ORDER BY 1, 2
