ALTER TABLE sensor_data_merge
	ADD CONSTRAINT sensor_data_20260301_20260401_pkey
		PRIMARY KEY (sensor_id, timestamp) WITH (fillfactor = 100),
	ADD CONSTRAINT merge_range
		CHECK (timestamp >= '2026-03-01T00:00:00Z' AND timestamp < '2026-04-01T00:00:00Z')
