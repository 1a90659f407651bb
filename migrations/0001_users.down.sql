DROP TABLE ws_tickets, refresh_tokens, sessions, users;
