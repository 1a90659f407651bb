-- Readings that came into or went from partitions while these are merged. A pass that was cut off leaves some, and the next one removes them.
CREATE UNLOGGED TABLE merge_changes (
    timestamp timestamptz NOT NULL,
    sensor_id integer     NOT NULL
);

CREATE FUNCTION note_merge_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP <> 'INSERT' THEN
        INSERT INTO merge_changes (timestamp, sensor_id) VALUES (OLD.timestamp, OLD.sensor_id);
    END IF;
    IF TG_OP <> 'DELETE' THEN
        INSERT INTO merge_changes (timestamp, sensor_id) VALUES (NEW.timestamp, NEW.sensor_id);
    END IF;
    RETURN NULL;
END $$;

-- Hours of few readings have no rollups any more, and fewer have minutes: see store/rollup.go.
DELETE FROM rollup_1h WHERE count < 12;
DELETE FROM rollup_1m m USING rollup_1h h
WHERE h.sensor_id = m.sensor_id AND h.bucket = date_trunc('hour', m.bucket, 'UTC') AND h.minutes AND h.count < 720;
UPDATE rollup_1h SET minutes = false WHERE minutes AND count < 720;

-- Rows come and go all the time: vacuum when there is something to give back, not when a fifth of the most rows ever has gone.
ALTER TABLE rollup_marks SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
ALTER TABLE rollup_due SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
ALTER TABLE late_changes SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
