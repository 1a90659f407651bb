DROP TABLE idempotency_keys, ws_tickets, refresh_tokens, sessions, users;
