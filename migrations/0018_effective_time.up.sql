-- The newest reading of a sensor is the one with the latest effective time: the earlier of its timestamp and received_at, and of several
-- of one effective time the one with the latest timestamp. previous_received belongs to previous. spread_ms is how much longer than the
-- newest reading's the way of the sensor's readings has been of late; NULL: no alarm has had to know. heard_at is when something of the
-- sensor was received, if that was later than received_at.
ALTER TABLE latest
    ADD COLUMN previous_received timestamptz,
    ADD COLUMN heard_at          timestamptz,
    ADD COLUMN spread_ms         integer;

-- When ingest was last known to work, and since when it works again after it was away. Silence and delays do not count that time.
CREATE TABLE ingest_beat (
    one boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    at  timestamptz NOT NULL
) WITH (fillfactor = 10);
CREATE TABLE ingest_absences (
    since timestamptz NOT NULL PRIMARY KEY,
    until timestamptz NOT NULL
);
