-- No foreign key leads out of sensor_data and latest, and their keys begin with the sensor, so that they can be sharded by it.
-- Columns stand widest first; a NULL costs nothing. Partitions, a day each in UTC, are made by the program.
CREATE TABLE sensor_data (
    timestamp   timestamptz NOT NULL,
    value       float8,               -- NULL: the device had none
    sensor_id   integer     NOT NULL,
    status_code integer,              -- OPC UA, its 32 bits as they are
    quality     smallint    NOT NULL, -- 0 good, 1 uncertain, 2 bad
    PRIMARY KEY (sensor_id, timestamp)
) PARTITION BY RANGE (timestamp);

-- The newest reading of each sensor; it only ever moves forward.
CREATE TABLE latest (
    timestamp   timestamptz NOT NULL,
    received_at timestamptz NOT NULL,
    value       float8,
    sensor_id   integer     NOT NULL PRIMARY KEY,
    status_code integer,
    quality     smallint    NOT NULL
) WITH (fillfactor = 50);

-- What was refused, once for each gateway, topic, reason and payload, with the times it came.
CREATE TABLE rejections (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway      text        NOT NULL, -- as authenticated, else as the topic has it
    topic        text        NOT NULL,
    reason       text        NOT NULL,
    detail       text        NOT NULL,
    payload      bytea       NOT NULL, -- the first 4 KiB
    payload_size integer     NOT NULL,
    payload_hash bytea       NOT NULL, -- SHA-256 of the whole
    count        bigint      NOT NULL DEFAULT 1,
    first_at     timestamptz NOT NULL,
    last_at      timestamptz NOT NULL,
    UNIQUE (gateway, reason, payload_hash, topic)
);
CREATE INDEX rejections_last_at ON rejections (last_at);

-- Sensors that are deleted and whose readings are still to be removed.
CREATE TABLE purges (
    sensor_id  integer     NOT NULL PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now()
);
