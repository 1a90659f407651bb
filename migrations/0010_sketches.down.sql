ALTER TABLE rollup_1h DROP COLUMN begin_at, DROP COLUMN end_at, DROP COLUMN pause, DROP COLUMN sketch;
