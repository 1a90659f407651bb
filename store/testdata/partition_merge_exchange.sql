DROP TABLE sensor_data_20260301, sensor_data_20260302;
ALTER TABLE sensor_data_merge RENAME TO sensor_data_20260301_20260401;
ALTER TABLE sensor_data
	ATTACH PARTITION sensor_data_20260301_20260401 FOR VALUES FROM ('2026-03-01T00:00:00Z') TO ('2026-04-01T00:00:00Z');
ALTER TABLE sensor_data_20260301_20260401 DROP CONSTRAINT merge_range;
INSERT INTO compactions (partition, writes, quiet_since, key_bytes)
SELECT
	'sensor_data_20260301_20260401', 0, now(),
	pg_relation_size('sensor_data_20260301_20260401_pkey') / greatest(reltuples, 1)
FROM pg_class
WHERE oid = 'sensor_data_20260301_20260401'::regclass
ON CONFLICT (partition) DO UPDATE
SET writes = 0, quiet_since = now(), key_bytes = excluded.key_bytes
