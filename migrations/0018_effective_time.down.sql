ALTER TABLE latest
    DROP COLUMN previous_received;
