-- Which transaction made a mark. Who has looked at a moment when all transactions before one were over, and later looks for marks of that
-- one and of all behind it, misses none, in whatever order they commit.
ALTER TABLE rollup_marks ADD COLUMN xid xid8 NOT NULL DEFAULT pg_current_xact_id();

-- Marks of hours that were over, for a while after rollups have taken them. Sensor 0 stands for all of them, hour -infinity for all hours.
CREATE TABLE late_changes (
    xid     xid8          NOT NULL DEFAULT pg_current_xact_id(),
    at      timestamptz   NOT NULL DEFAULT now(),
    sensors integer[]     NOT NULL,
    hours   timestamptz[] NOT NULL
);

-- All of late_changes is there but what transactions up to this one have made.
ALTER TABLE rollup_state ADD COLUMN forgotten xid8 NOT NULL DEFAULT '0';
