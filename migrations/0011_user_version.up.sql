ALTER TABLE users ADD COLUMN version bigint NOT NULL DEFAULT 1; -- counts changes, for If-Match
