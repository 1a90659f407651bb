-- What percentiles and gaps need of an hour. The hours that were rolled up without it are made anew.
ALTER TABLE rollup_1h
    ADD COLUMN begin_at timestamptz, -- first reading of all, where it is not first_at
    ADD COLUMN end_at   timestamptz, -- last reading of all, where it is not last_at
    ADD COLUMN pause    float8,      -- the longest between two readings of all, in seconds; NULL with one
    ADD COLUMN sketch   bytea;       -- of the usable values; the program knows how to read it

INSERT INTO rollup_due (hour, sensor_id) SELECT bucket, sensor_id FROM rollup_1h ON CONFLICT DO NOTHING;
