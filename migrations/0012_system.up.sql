-- What the server watches of itself and of its gateways comes as readings of a gateway of its own, which nobody else may write to.
-- Ids of what is its own begin at 2000000000, so that the first gateway of a plant is number 1.
CREATE SEQUENCE system_ids AS integer MINVALUE 2000000000;

ALTER TABLE gateways
    ADD COLUMN is_system boolean NOT NULL DEFAULT false, -- the server's own
    ADD COLUMN refused   bigint  NOT NULL DEFAULT 0;     -- messages and samples, since that was last looked at
CREATE UNIQUE INDEX gateways_is_system ON gateways (is_system) WHERE is_system;

-- A sensor of the server's own may be about another gateway, and then so are its alarms.
ALTER TABLE sensors ADD COLUMN about_gateway_id integer REFERENCES gateways;
CREATE INDEX sensors_about_gateway_id ON sensors (about_gateway_id) WHERE about_gateway_id IS NOT NULL;

-- One row: when it was last looked at all this. One instance of many does it each time.
CREATE TABLE system_watch (
    one boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    at  timestamptz NOT NULL DEFAULT now()
) WITH (fillfactor = 10);
INSERT INTO system_watch DEFAULT VALUES;

-- The age of the oldest message that an instance has not committed.
CREATE TABLE ingest_lags (
    instance bigint      NOT NULL PRIMARY KEY,
    seen_at  timestamptz NOT NULL,
    lag_ms   bigint      NOT NULL
) WITH (fillfactor = 50);
