-- stamp changes with the states of the alarms that look at the sensor: whoever writes one of them gives it a number that nobody has
-- used. previous is the timestamp of the reading before, as the last one found it.
ALTER TABLE latest
    ADD COLUMN previous timestamptz,
    ADD COLUMN stamp    bigint NOT NULL DEFAULT 0;
