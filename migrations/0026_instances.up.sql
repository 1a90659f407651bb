-- Instances that run an MQTT broker. When one stops writing beat_at, the status of its gateways
-- becomes unknown.
CREATE TABLE instances (
    id      bigint      NOT NULL PRIMARY KEY, -- random, another one at each start
    beat_at timestamptz NOT NULL
);

-- One row: when the system sensors were last measured. Of several instances one does it each time.
CREATE TABLE system_watch (
    one boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);
INSERT INTO system_watch DEFAULT VALUES;

-- The age of the oldest message that each instance has not committed.
CREATE TABLE ingest_lags (
    instance bigint      NOT NULL PRIMARY KEY,
    seen_at  timestamptz NOT NULL,
    lag_ms   bigint      NOT NULL
) WITH (fillfactor = 50);

-- One row: when an instance last took readings.
CREATE TABLE ingest_beat (
    one boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    at  timestamptz NOT NULL
) WITH (fillfactor = 10);

-- Times in which no instance took readings. Alarm delays and silence of sensors do not count them.
CREATE TABLE ingest_absences (
    since timestamptz NOT NULL PRIMARY KEY,
    until timestamptz NOT NULL
);
