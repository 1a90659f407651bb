-- Keys of programs. A key is prefix, '_' and a secret of 130 random bits, shown once.
CREATE TABLE api_keys (
    id                  integer      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                varchar(100) NOT NULL UNIQUE,
    prefix              text         NOT NULL UNIQUE, -- names the key in lists and logs
    hash                bytea        NOT NULL, -- SHA-256 of the whole key, which is not stored
    role                text         NOT NULL CHECK (role IN ('viewer', 'operator', 'engineer', 'admin')),
    requests_per_minute integer      CHECK (requests_per_minute > 0), -- NULL: the setting's
    expires_at          timestamptz, -- NULL: never
    created_by          text,        -- name of the user; NULL: the command line
    last_used_at        timestamptz, -- a minute late at most
    last_used_from      text,        -- address
    created_at          timestamptz  NOT NULL DEFAULT now(),
    updated_at          timestamptz  NOT NULL DEFAULT now(), -- by an admin; a use is no update
    version             bigint       NOT NULL DEFAULT 1 -- counts changes; the ETag
) WITH (fillfactor = 80);

-- One row: counts changes of keys, except their use. An instance reads it once a second at most to
-- know that the keys in its memory are current.
CREATE TABLE api_key_changes (
    one     boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    changes bigint  NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO api_key_changes DEFAULT VALUES;

-- A ticket belongs to a login session or to an API key.
ALTER TABLE ws_tickets
    ALTER COLUMN session_id DROP NOT NULL,
    ADD COLUMN api_key_id integer REFERENCES api_keys ON DELETE CASCADE,
    ADD CONSTRAINT ws_tickets_one_owner CHECK (num_nonnulls(session_id, api_key_id) = 1);
CREATE INDEX ws_tickets_api_key_id ON ws_tickets (api_key_id);

-- So does an idempotency key: to a user or to an API key.
ALTER TABLE idempotency_keys
    DROP CONSTRAINT idempotency_keys_pkey,
    ALTER COLUMN user_id DROP NOT NULL,
    ADD COLUMN api_key_id integer REFERENCES api_keys ON DELETE CASCADE,
    ADD CONSTRAINT idempotency_keys_one_owner CHECK (num_nonnulls(user_id, api_key_id) = 1),
    ADD UNIQUE (user_id, key),
    ADD UNIQUE (api_key_id, key);
