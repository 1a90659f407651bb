WITH expiring AS (
	SELECT s.id, coalesce(s.retention_days * 86400000000000, 2592000000000000) AS retention
	FROM sensors s
	CROSS JOIN LATERAL (
		SELECT
		FROM sensor_data_20260301 d
		WHERE d.sensor_id = s.id AND d.timestamp >= $3 AND d.timestamp < $1
		LIMIT 1) d
	WHERE NOT (coalesce(s.retention_days * 86400000000000, 2592000000000000) = 0
		OR $1::timestamptz > $2::timestamptz - make_interval(secs => coalesce(s.retention_days * 86400000000000, 2592000000000000) / 1e9))),
hours AS (
	SELECT r.sensor_id, r.bucket, r.count
	FROM expiring e
	JOIN rollup_1h r ON r.sensor_id = e.id AND r.bucket >= $3 AND r.bucket < $1),
uncovered AS (
	SELECT
		sensor_id,
		lag(bucket + interval '1 hour', 1, $3::timestamptz)
			OVER (PARTITION BY sensor_id ORDER BY bucket) AS begin,
		bucket AS until
	FROM hours
	UNION ALL
	SELECT i.id, coalesce(h.until, $3::timestamptz), $1::timestamptz
	FROM expiring i
	LEFT JOIN (
		SELECT sensor_id, max(bucket) + interval '1 hour' AS until
		FROM hours
		GROUP BY sensor_id) h ON h.sensor_id = i.id),
counted AS (
	SELECT sensor_id, count
	FROM hours
	UNION ALL
	SELECT u.sensor_id, d.count
	FROM uncovered u
	CROSS JOIN LATERAL (
		SELECT count(*) AS count
		FROM sensor_data_20260301
		WHERE sensor_id = u.sensor_id
			AND timestamp >= u.begin
			AND timestamp < u.until) d)
SELECT e.id, e.retention, sum(c.count)::bigint AS readings
FROM expiring e
JOIN counted c ON c.sensor_id = e.id
GROUP BY e.id, e.retention
ORDER BY e.id
