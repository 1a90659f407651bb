WITH
uncovered (sensor_id, begin, until) AS (
	SELECT
		l.sensor_id,
		$2::timestamptz,
		least(l.timestamp + interval '48h0m0s', $3)
	FROM latest l
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
	WHERE u.begin < u.until)
SELECT
	s.sensor_id,
	0,
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
