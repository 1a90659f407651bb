-- Ids of the server's own gateway and sensors begin at 2000000000, so that the first gateway of a
-- plant has the id 1.
CREATE SEQUENCE system_ids AS integer MINVALUE 2000000000;

-- fillfactor leaves room for updates of presence, which come with every status message.
CREATE TABLE gateways (
    id            integer      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key           varchar(64)  NOT NULL UNIQUE,
    name          varchar(100) NOT NULL,
    location      varchar(200) NOT NULL DEFAULT '',
    is_active     boolean      NOT NULL DEFAULT true,
    status        text         NOT NULL DEFAULT 'unknown'
                               CHECK (status IN ('online', 'offline', 'unknown')),
    last_seen_at  timestamptz,
    clock_skew_ms bigint,      -- the gateway's clock minus the server's
    metadata      jsonb        NOT NULL DEFAULT '{}',
    version       integer      NOT NULL DEFAULT 1, -- counts changes by users, not of presence
    created_at    timestamptz  NOT NULL DEFAULT now(),
    updated_at    timestamptz  NOT NULL DEFAULT now(),
    status_at     timestamptz, -- of status; a status with an earlier time does not replace it
    -- The instance to which the gateway connected last. The end of a connection to another
    -- instance does not make the gateway offline.
    held_by       bigint,
    is_system     boolean      NOT NULL DEFAULT false, -- the server's own gateway
    refused       bigint       NOT NULL DEFAULT 0 -- rejections since the server last measured them
) WITH (fillfactor = 80);
CREATE UNIQUE INDEX gateways_is_system ON gateways (is_system) WHERE is_system;

CREATE TABLE gateway_credentials (
    id           integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway_id   integer     NOT NULL REFERENCES gateways ON DELETE CASCADE,
    hash         bytea       NOT NULL, -- SHA-256: the secret has 256 random bits and needs no salt
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz
);
CREATE INDEX gateway_credentials_gateway_id ON gateway_credentials (gateway_id);

-- MQTT sessions that outlast their connection. A client whose CONNACK says "no session present"
-- discards its unacknowledged messages, so the server has to remember which sessions exist.
CREATE TABLE mqtt_sessions (
    client_id  text        NOT NULL PRIMARY KEY,
    gateway_id integer     NOT NULL REFERENCES gateways ON DELETE CASCADE,
    expires_at timestamptz, -- NULL: connected, or was connected when the instance was killed
    held_by    bigint       -- the instance to which the client connected last
);
CREATE INDEX mqtt_sessions_gateway_id ON mqtt_sessions (gateway_id);

CREATE TABLE sensors (
    id               integer      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway_id       integer      NOT NULL REFERENCES gateways,
    key              varchar(64)  NOT NULL,
    name             varchar(100) NOT NULL,
    type             varchar(50)  NOT NULL,
    unit             varchar(20)  NOT NULL DEFAULT '',
    location         varchar(200) NOT NULL DEFAULT '',
    is_active        boolean      NOT NULL DEFAULT true,
    min_value        float8,
    max_value        float8,
    tags             jsonb        NOT NULL DEFAULT '{}',
    version          integer      NOT NULL DEFAULT 1, -- counts changes; the ETag
    created_at       timestamptz  NOT NULL DEFAULT now(),
    updated_at       timestamptz  NOT NULL DEFAULT now(),
    -- The gateway that a system sensor measures; alarms of the sensor belong to that gateway too.
    about_gateway_id integer      REFERENCES gateways,
    -- NULL: the setting OEI_STORE_RETENTION applies; 0: readings are kept for ever
    retention_days   integer      CHECK (retention_days >= 0),
    UNIQUE (gateway_id, key),
    CHECK (min_value <= max_value)
);
CREATE INDEX sensors_type ON sensors (type);
CREATE INDEX sensors_about_gateway_id ON sensors (about_gateway_id)
    WHERE about_gateway_id IS NOT NULL;

-- Every instance caches gateways and sensors. The payload is the id of the gateway to remove from
-- the caches; 0 stands for all gateways. A numeric key needs 0: topics may name gateways by key or
-- by id, a key wins, and so it shadows the gateway whose id is that number.
CREATE FUNCTION notify_catalog() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    changed jsonb := to_jsonb(coalesce(NEW, OLD));
BEGIN
    PERFORM pg_notify('catalog', CASE
        WHEN TG_TABLE_NAME <> 'gateways' THEN changed ->> 'gateway_id'
        WHEN changed ->> 'key' ~ '^[0-9]+$' THEN '0'
        ELSE changed ->> 'id' END);
    RETURN NULL;
END $$;

CREATE TRIGGER catalog_gateway AFTER INSERT OR UPDATE OF key, is_active OR DELETE ON gateways
    FOR EACH ROW EXECUTE FUNCTION notify_catalog();
CREATE TRIGGER catalog_credential AFTER DELETE ON gateway_credentials
    FOR EACH ROW EXECUTE FUNCTION notify_catalog();
CREATE TRIGGER catalog_sensor AFTER INSERT OR UPDATE OR DELETE ON sensors
    FOR EACH ROW EXECUTE FUNCTION notify_catalog();
