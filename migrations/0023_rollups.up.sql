-- A rollup holds the aggregates of one sensor's readings in one minute or hour. It depends on no
-- other bucket: it can be rebuilt from its own readings, and neighbours can be merged by adding the
-- time for which the last value of one is held until the first value of the next.
-- A reading is usable if its quality is not bad and its value is neither NULL nor beyond ±1e140.
-- All columns but count, good, begin_at, end_at and pause are about usable readings.
-- Hours with few readings have no rollup: see store/rollup.go.
CREATE TABLE rollup_1h (
    bucket    timestamptz NOT NULL, -- start of the hour
    first_at  timestamptz,
    last_at   timestamptz,
    sum       float8,
    m2        float8,               -- sum of the squared deviations from the mean
    min       float8,
    max       float8,
    first     float8,
    last      float8,
    integral  float8,               -- value × seconds from first_at to last_at; values are held
    sensor_id integer     NOT NULL,
    count     integer     NOT NULL, -- of all readings
    usable    integer     NOT NULL,
    good      integer     NOT NULL,
    minutes   boolean     NOT NULL, -- rollup_1m has the minutes of this hour
    begin_at  timestamptz,          -- the first of all readings, where it is not first_at
    end_at    timestamptz,          -- the last of all readings, where it is not last_at
    pause     float8,               -- longest time between two readings, in seconds; NULL: only one
    sketch    bytea,                -- for percentiles of the values, in the program's own encoding
    PRIMARY KEY (sensor_id, bucket)
);

CREATE TABLE rollup_1m (
    bucket    timestamptz NOT NULL, -- start of the minute
    first_at  timestamptz,
    last_at   timestamptz,
    sum       float8,
    m2        float8,
    min       float8,
    max       float8,
    first     float8,
    last      float8,
    integral  float8,
    sensor_id integer     NOT NULL,
    count     integer     NOT NULL,
    usable    integer     NOT NULL,
    good      integer     NOT NULL,
    PRIMARY KEY (sensor_id, bucket)
);

-- Which hours each transaction of ingest changed: sensors[i] in hours[i].
-- Rows of this and the next two tables come and go all the time, so autovacuum counts dead rows and
-- not their share. The arrays are not compressed, since compressing takes longer than writing.
CREATE TABLE rollup_marks (
    id      bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    oldest  timestamptz   NOT NULL, -- of hours
    sensors integer[]     NOT NULL,
    hours   timestamptz[] NOT NULL,
    -- The transaction that wrote the mark. A cache that has seen all changes before a snapshot's
    -- xmin, and later reads the marks from that xmin on, misses none, in any order of commits.
    xid     xid8          NOT NULL DEFAULT pg_current_xact_id()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
ALTER TABLE rollup_marks
    ALTER COLUMN sensors SET STORAGE EXTERNAL,
    ALTER COLUMN hours SET STORAGE EXTERNAL;

-- Queue of the hours to roll up, made of the marks, each hour once.
CREATE TABLE rollup_due (
    hour      timestamptz NOT NULL,
    ready_at  timestamptz NOT NULL DEFAULT now(), -- not to be rolled up before
    sensor_id integer     NOT NULL,
    PRIMARY KEY (sensor_id, hour)
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);
CREATE INDEX rollup_due_hour ON rollup_due (hour);

-- Changes of hours that were rolled up already, kept for some time so that caches can read them.
-- Sensor 0 stands for all sensors, hour -infinity for all hours.
CREATE TABLE late_changes (
    xid     xid8          NOT NULL DEFAULT pg_current_xact_id(),
    at      timestamptz   NOT NULL DEFAULT now(),
    sensors integer[]     NOT NULL,
    hours   timestamptz[] NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 10000);

-- One row.
CREATE TABLE rollup_state (
    one       boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    marked    boolean     NOT NULL DEFAULT true, -- every change since the last rebuild was marked
    -- Hours before this are rolled up, except those that are marked or due.
    through   timestamptz NOT NULL DEFAULT '-infinity',
    forgotten xid8        NOT NULL DEFAULT '0' -- late_changes up to this transaction were removed
);
INSERT INTO rollup_state DEFAULT VALUES;
