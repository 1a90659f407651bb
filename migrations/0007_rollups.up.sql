-- A rollup is what the readings of one sensor in one minute or hour come to. Nothing of it depends on another bucket, so that it is
-- made anew from its readings alone, and two of them in a row can be merged: what is held from last to the next first is added then.
-- Usable is a reading that is neither bad nor without a value, nor beyond ±1e140; all but count and good speak of usable ones.
CREATE TABLE rollup_1h (
    bucket    timestamptz NOT NULL, -- its start
    first_at  timestamptz,
    last_at   timestamptz,
    sum       float8,
    m2        float8,               -- sum of the squared deviations from the mean
    min       float8,
    max       float8,
    first     float8,
    last      float8,
    integral  float8,               -- seconds times value, each value held until the next, from first to last
    sensor_id integer     NOT NULL,
    count     integer     NOT NULL,
    usable    integer     NOT NULL,
    good      integer     NOT NULL,
    minutes   boolean     NOT NULL, -- its minutes stand in rollup_1m; when there are few readings, those tell as much
    PRIMARY KEY (sensor_id, bucket)
);

CREATE TABLE rollup_1m (
    bucket    timestamptz NOT NULL,
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

-- What each transaction of ingest changed: sensors and, beside each, an hour.
CREATE TABLE rollup_marks (
    id      bigint        GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    oldest  timestamptz   NOT NULL, -- of hours
    sensors integer[]     NOT NULL,
    hours   timestamptz[] NOT NULL
);

ALTER TABLE rollup_marks ALTER COLUMN sensors SET STORAGE EXTERNAL, ALTER COLUMN hours SET STORAGE EXTERNAL; -- to compress takes longer

-- Hours that are to be rolled up, each once.
CREATE TABLE rollup_due (
    hour      timestamptz NOT NULL,
    ready_at  timestamptz NOT NULL DEFAULT now(), -- not before this
    sensor_id integer     NOT NULL,
    PRIMARY KEY (sensor_id, hour)
);
CREATE INDEX rollup_due_hour ON rollup_due (hour);

-- One row. An hour before through is rolled up, unless it is due or marked.
CREATE TABLE rollup_state (
    one     boolean     NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    marked  boolean     NOT NULL DEFAULT true, -- every change since the last rebuilding was marked
    through timestamptz NOT NULL DEFAULT '-infinity'
);
INSERT INTO rollup_state DEFAULT VALUES;
INSERT INTO rollup_due (hour, sensor_id) SELECT DISTINCT date_trunc('hour', timestamp, 'UTC'), sensor_id FROM sensor_data;
