-- Of each gateway only the newest refusals are kept. Those whose gateway is not registered share the place of one, gateway 0.
ALTER TABLE rejections ADD COLUMN gateway_id integer NOT NULL DEFAULT 0;
UPDATE rejections r SET gateway_id = g.id FROM gateways g WHERE g.key = r.gateway;
CREATE INDEX rejections_gateway_id ON rejections (gateway_id, last_at);

-- One hash tells them apart, so that adding one costs little. Those there are get one that nothing else has.
ALTER TABLE rejections ADD COLUMN hash bytea; -- SHA-256 of gateway, reason and topic, each with a NUL behind it, and payload
UPDATE rejections SET hash = sha256(int8send(id));
ALTER TABLE rejections DROP COLUMN payload_hash, DROP CONSTRAINT rejections_pkey, ADD PRIMARY KEY (hash);

-- How many of each gateway there are, counted in the transaction that adds them.
CREATE TABLE rejection_counts (
    gateway_id integer NOT NULL PRIMARY KEY,
    kept       integer NOT NULL
) WITH (fillfactor = 50);
INSERT INTO rejection_counts (gateway_id, kept) SELECT gateway_id, count(*) FROM rejections GROUP BY gateway_id;

-- Writes by HTTP that are at work or were answered, by the Idempotency-Key their user gave them.
CREATE TABLE idempotency_keys (
    user_id       integer     NOT NULL REFERENCES users ON DELETE CASCADE,
    key           text        NOT NULL,
    request       bytea       NOT NULL, -- SHA-256 of what was asked
    answer        bytea,                -- NULL: at work, until claimed_until at the latest
    claimed_until timestamptz NOT NULL,
    created_at    timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (user_id, key)
);
CREATE INDEX idempotency_keys_created_at ON idempotency_keys (created_at);
