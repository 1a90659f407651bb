ALTER TABLE rollup_state DROP COLUMN forgotten;
DROP TABLE late_changes;
ALTER TABLE rollup_marks DROP COLUMN xid;
