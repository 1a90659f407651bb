-- The newest reading of a sensor is the one with the latest effective time: the earlier of its timestamp and received_at, and of several
-- of one effective time the one with the latest timestamp. previous_received belongs to previous.
ALTER TABLE latest
    ADD COLUMN previous_received timestamptz;
