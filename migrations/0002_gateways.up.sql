CREATE TABLE gateways (
    id            integer      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    key           varchar(64)  NOT NULL UNIQUE,
    name          varchar(100) NOT NULL,
    location      varchar(200) NOT NULL DEFAULT '',
    is_active     boolean      NOT NULL DEFAULT true,
    status        text         NOT NULL DEFAULT 'unknown' CHECK (status IN ('online', 'offline', 'unknown')),
    last_seen_at  timestamptz,
    clock_skew_ms bigint,
    metadata      jsonb        NOT NULL DEFAULT '{}',
    version       integer      NOT NULL DEFAULT 1, -- counts changes of the description, not of presence
    created_at    timestamptz  NOT NULL DEFAULT now(),
    updated_at    timestamptz  NOT NULL DEFAULT now()
) WITH (fillfactor = 80);

CREATE TABLE gateway_credentials (
    id           integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway_id   integer     NOT NULL REFERENCES gateways ON DELETE CASCADE,
    hash         bytea       NOT NULL, -- SHA-256 of 256 random bits
    created_at   timestamptz NOT NULL DEFAULT now(),
    last_used_at timestamptz
);
CREATE INDEX gateway_credentials_gateway_id ON gateway_credentials (gateway_id);

-- MQTT sessions that outlast their connection: a client that is told there is none gives up what it holds unacknowledged.
CREATE TABLE mqtt_sessions (
    client_id  text        NOT NULL PRIMARY KEY,
    gateway_id integer     NOT NULL REFERENCES gateways ON DELETE CASCADE,
    expires_at timestamptz -- NULL: it is connected, or was when the service was killed
);
CREATE INDEX mqtt_sessions_gateway_id ON mqtt_sessions (gateway_id);

CREATE TABLE sensors (
    id         integer      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    gateway_id integer      NOT NULL REFERENCES gateways,
    key        varchar(64)  NOT NULL,
    name       varchar(100) NOT NULL,
    type       varchar(50)  NOT NULL,
    unit       varchar(20)  NOT NULL DEFAULT '',
    location   varchar(200) NOT NULL DEFAULT '',
    is_active  boolean      NOT NULL DEFAULT true,
    min_value  float8,
    max_value  float8,
    tags       jsonb        NOT NULL DEFAULT '{}',
    version    integer      NOT NULL DEFAULT 1,
    created_at timestamptz  NOT NULL DEFAULT now(),
    updated_at timestamptz  NOT NULL DEFAULT now(),
    UNIQUE (gateway_id, key),
    CHECK (min_value <= max_value)
);
CREATE INDEX sensors_type ON sensors (type);

-- Every instance keeps gateways and sensors at hand and forgets a gateway when it is told its id here, and all of them when it is
-- told 0: a key that is a number takes that name away from the gateway with this id.
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
