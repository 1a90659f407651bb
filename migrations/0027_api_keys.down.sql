DELETE FROM idempotency_keys WHERE user_id IS NULL;
ALTER TABLE idempotency_keys
    DROP COLUMN api_key_id,
    DROP CONSTRAINT idempotency_keys_user_id_key_key,
    ADD PRIMARY KEY (user_id, key);
DELETE FROM ws_tickets WHERE session_id IS NULL;
ALTER TABLE ws_tickets
    DROP COLUMN api_key_id,
    ALTER COLUMN session_id SET NOT NULL;
DROP TABLE api_key_changes, api_keys;
