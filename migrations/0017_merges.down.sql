ALTER TABLE rollup_marks RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE rollup_due RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
ALTER TABLE late_changes RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold);
INSERT INTO rollup_due (hour, sensor_id)
SELECT DISTINCT date_trunc('hour', timestamp, 'UTC'), sensor_id FROM sensor_data
ON CONFLICT DO NOTHING;
DROP FUNCTION note_merge_change() CASCADE;
DROP TABLE IF EXISTS sensor_data_merge;
DROP TABLE merge_changes;
