WITH asked AS (
	SELECT id
	FROM unnest($1::int[]) AS i (id)),
hours AS (
	SELECT sensor_id, bucket
	FROM rollup_1h
	WHERE sensor_id = ANY ($1::int[])
		AND bucket >= date_trunc('hour', $2::timestamptz, 'UTC')
		AND bucket < $3),
uncovered AS (
	SELECT
		sensor_id,
		lag(bucket + interval '1 hour', 1, $2::timestamptz)
			OVER (PARTITION BY sensor_id ORDER BY bucket) AS begin,
		bucket AS until
	FROM hours
	UNION ALL
	SELECT i.id, coalesce(h.until, $2::timestamptz), $3::timestamptz
	FROM asked i
	LEFT JOIN (
		SELECT sensor_id, max(bucket) + interval '1 hour' AS until
		FROM hours
		GROUP BY sensor_id) h ON h.sensor_id = i.id)
SELECT coalesce(sum(d.n), 0)::bigint
FROM uncovered u
CROSS JOIN LATERAL (
	SELECT count(*) AS n
	FROM (
		SELECT
		FROM sensor_data
		WHERE sensor_id = u.sensor_id
			AND timestamp >= u.begin
			AND timestamp < u.until
			AND timestamp >= $2
			AND timestamp < $3
		LIMIT $4) r) d
WHERE u.begin < u.until
