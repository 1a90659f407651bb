SELECT EXISTS (
	SELECT
	FROM sensors s
	WHERE s.id = $3 AND NOT (coalesce(s.retention_days * 86400000000000, 2592000000000000) = 0
		OR $1::timestamptz > $2::timestamptz - make_interval(secs => coalesce(s.retention_days * 86400000000000, 2592000000000000) / 1e9)))
