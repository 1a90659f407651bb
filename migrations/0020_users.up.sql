CREATE TABLE users (
    id            integer      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username      varchar(50)  NOT NULL UNIQUE,
    email         varchar(100) NOT NULL UNIQUE,
    password_hash text         NOT NULL, -- argon2id, as a PHC string
    role          text         NOT NULL CHECK (role IN ('viewer', 'operator', 'engineer', 'admin')),
    is_active     boolean      NOT NULL DEFAULT true,
    created_at    timestamptz  NOT NULL DEFAULT now(),
    updated_at    timestamptz  NOT NULL DEFAULT now(),
    version       bigint       NOT NULL DEFAULT 1 -- counts changes; the ETag
);

-- Login sessions. The refresh tokens of a session are a chain of which at most one is unused. A
-- used token that is presented again ends the session, since it may have been stolen.
CREATE TABLE sessions (
    id         uuid        NOT NULL DEFAULT gen_random_uuid() PRIMARY KEY,
    user_id    integer     NOT NULL REFERENCES users ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    expires_at timestamptz NOT NULL,
    ended_at   timestamptz, -- NULL: not ended before it expires
    end_reason text
);
CREATE INDEX sessions_user_id ON sessions (user_id);
CREATE INDEX sessions_expires_at ON sessions (expires_at);

CREATE TABLE refresh_tokens (
    hash       bytea       NOT NULL PRIMARY KEY, -- SHA-256; the token itself is not stored
    session_id uuid        NOT NULL REFERENCES sessions ON DELETE CASCADE,
    created_at timestamptz NOT NULL DEFAULT now(),
    used_at    timestamptz -- NULL: unused
);
CREATE INDEX refresh_tokens_session_id ON refresh_tokens (session_id);

-- Single-use tickets that open a WebSocket, so that no token stands in a URL.
CREATE TABLE ws_tickets (
    hash       bytea       NOT NULL PRIMARY KEY, -- SHA-256; the ticket itself is not stored
    session_id uuid        NOT NULL REFERENCES sessions ON DELETE CASCADE,
    expires_at timestamptz NOT NULL
);
CREATE INDEX ws_tickets_session_id ON ws_tickets (session_id);
CREATE INDEX ws_tickets_expires_at ON ws_tickets (expires_at);

-- Writes over HTTP that are running or were answered, by the Idempotency-Key of the request.
CREATE TABLE idempotency_keys (
    user_id       integer     NOT NULL REFERENCES users ON DELETE CASCADE,
    key           text        NOT NULL,
    request       bytea       NOT NULL, -- SHA-256 of the request, to refuse a key with another one
    answer        bytea,                -- NULL: running, until claimed_until at the latest
    claimed_until timestamptz NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
