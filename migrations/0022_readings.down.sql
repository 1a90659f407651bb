DROP FUNCTION note_merge_change() CASCADE; -- with the triggers of a merge
DROP TABLE IF EXISTS sensor_data_merge;    -- the copy of a merge that was interrupted
DROP TABLE merge_changes, compactions, rejection_counts, rejections, purges, latest, sensor_data;
