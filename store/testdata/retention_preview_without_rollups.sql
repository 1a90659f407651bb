WITH expiring AS (
	SELECT s.id, coalesce(s.retention_days * 86400000000000, 2592000000000000) AS retention
	FROM sensors s
	CROSS JOIN LATERAL (
		SELECT
		FROM sensor_data_20260301 d
		WHERE d.sensor_id = s.id AND d.timestamp >= $3 AND d.timestamp < $1
		LIMIT 1) d
	WHERE NOT (coalesce(s.retention_days * 86400000000000, 2592000000000000) = 0
		OR $1::timestamptz > $2::timestamptz - make_interval(secs => coalesce(s.retention_days * 86400000000000, 2592000000000000) / 1e9)))
SELECT id, retention
FROM expiring
ORDER BY id
