DROP FUNCTION note_merge_change() CASCADE;
DROP TABLE IF EXISTS sensor_data_merge;
DROP TABLE merge_changes;
