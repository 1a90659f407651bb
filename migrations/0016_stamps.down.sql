ALTER TABLE latest
    DROP COLUMN previous,
    DROP COLUMN stamp;
