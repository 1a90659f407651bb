-- No foreign key leads out of sensor_data and latest, and their keys begin with the sensor, so that
-- both can be sharded by sensor. Wide columns come first, which saves padding in every row; a NULL
-- takes no room. The program creates the partitions.
CREATE TABLE sensor_data (
    timestamp   timestamptz NOT NULL,
    value       float8,               -- NULL: the device had no value
    sensor_id   integer     NOT NULL,
    status_code integer,              -- the 32 bits of an OPC UA status code
    quality     smallint    NOT NULL, -- 0 good, 1 uncertain, 2 bad
    PRIMARY KEY (sensor_id, timestamp)
) PARTITION BY RANGE (timestamp);

-- The newest reading of each sensor: the one with the latest effective time, and of several with
-- the same effective time the one with the latest timestamp. A row only ever moves forward.
-- Every reading updates its row: fillfactor leaves room for the new version in the same page.
CREATE TABLE latest (
    timestamp         timestamptz NOT NULL,
    received_at       timestamptz NOT NULL,
    value             float8,
    sensor_id         integer     NOT NULL PRIMARY KEY,
    status_code       integer,
    quality           smallint    NOT NULL,
    previous          timestamptz, -- timestamp of the newest reading before this one
    -- A random number that changes with the states of the alarms on this sensor: a cached state is
    -- valid while timestamp and stamp are those it was cached with.
    stamp             bigint      NOT NULL DEFAULT 0,
    previous_received timestamptz, -- received_at of the newest reading before this one
    heard_at          timestamptz, -- when a late reading was received, if after received_at
    -- How much longer than the newest reading others of this sensor recently took to arrive.
    -- NULL: no alarm has needed it.
    spread_ms         integer
) WITH (fillfactor = 50);

-- Deleted sensors whose readings are still to be removed.
CREATE TABLE purges (
    sensor_id  integer     NOT NULL PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- Rejected samples and messages: one row for each gateway, topic, reason and payload, with a count.
-- Only the newest rejections of each gateway are kept.
CREATE TABLE rejections (
    id           bigint      GENERATED ALWAYS AS IDENTITY,
    gateway      text        NOT NULL, -- as authenticated, else as the topic names it
    topic        text        NOT NULL,
    reason       text        NOT NULL,
    detail       text        NOT NULL,
    payload      bytea       NOT NULL, -- the first 4 KiB
    payload_size integer     NOT NULL, -- of the whole payload
    count        bigint      NOT NULL DEFAULT 1,
    first_at     timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    gateway_id   integer     NOT NULL DEFAULT 0, -- 0: not registered; these share one quota
    -- SHA-256 of gateway, reason, topic and payload; of folded rejections without the payload. One
    -- short key makes inserting cheap.
    hash         bytea       NOT NULL PRIMARY KEY,
    -- Rejections that came too fast to record each one: their count, and the payload of one.
    folded       boolean     NOT NULL DEFAULT false
);
CREATE INDEX rejections_last_at ON rejections (last_at);
CREATE INDEX rejections_gateway_id ON rejections (gateway_id, last_at);

-- How many rows each gateway has in rejections, counted in the transaction that inserts them.
CREATE TABLE rejection_counts (
    gateway_id integer NOT NULL PRIMARY KEY,
    kept       integer NOT NULL
) WITH (fillfactor = 50);

-- Which closed partitions were reindexed, and when they last changed.
CREATE TABLE compactions (
    partition   text        NOT NULL PRIMARY KEY, -- name, quoted as an SQL identifier
    writes      bigint      NOT NULL, -- readings inserted and deleted, by PostgreSQL's statistics
    quiet_since timestamptz NOT NULL, -- when this number of writes was first seen
    -- Bytes of the primary key per reading, right after it was rebuilt. NULL: never rebuilt.
    key_bytes   float8
);

-- Keys of readings that changed while their partitions were being merged. A merge that was
-- interrupted leaves rows, which the next one removes.
CREATE UNLOGGED TABLE merge_changes (
    timestamp timestamptz NOT NULL,
    sensor_id integer     NOT NULL
);

-- A merge puts triggers with this function on the partitions that it copies.
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
