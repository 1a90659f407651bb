-- A status counts until a later one, whichever instance hears it. That a connection has ended says something only when the gateway
-- has not connected elsewhere since: held_by is the instance where it did last, which is another number each time it starts.
ALTER TABLE gateways ADD COLUMN status_at timestamptz, ADD COLUMN held_by bigint;
ALTER TABLE mqtt_sessions ADD COLUMN held_by bigint;

-- Those that run an MQTT broker. Of the gateways of one that is not heard of any more nobody knows.
CREATE TABLE instances (
    id      bigint      NOT NULL PRIMARY KEY,
    beat_at timestamptz NOT NULL
);
