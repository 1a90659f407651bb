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
