DROP TABLE ingest_absences;
DROP TABLE ingest_beat;
ALTER TABLE latest
    DROP COLUMN previous_received,
    DROP COLUMN heard_at,
    DROP COLUMN spread_ms;
