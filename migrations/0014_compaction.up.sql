-- What is known of partitions whose time is over: when the last reading came into or went from them, and what their keys take.
CREATE TABLE compactions (
    partition   text        NOT NULL PRIMARY KEY, -- its name, as SQL has it
    writes      bigint      NOT NULL,             -- readings that were added and deleted, by PostgreSQL's counters
    quiet_since timestamptz NOT NULL,             -- when this number was seen first
    key_bytes   float8                            -- of the primary key for each reading, right after it was built anew; NULL: it never was
);
