-- An alarm is a rule on a sensor.
CREATE TABLE alarms (
    id         integer      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sensor_id  integer      NOT NULL REFERENCES sensors,
    name       varchar(100) NOT NULL,
    severity   text         NOT NULL CHECK (severity IN ('critical', 'major', 'minor', 'warning')),
    rule       jsonb        NOT NULL, -- as package alarm encodes it
    labels     jsonb        NOT NULL DEFAULT '{}',
    -- Counts changes of the rule and of the properties of its sensor that it depends on.
    version    integer      NOT NULL DEFAULT 1,
    generation bigint       NOT NULL, -- of the last change: see alarm_rules
    created_at timestamptz  NOT NULL DEFAULT now(),
    updated_at timestamptz  NOT NULL DEFAULT now()
);
CREATE INDEX alarms_sensor_id ON alarms (sensor_id);
CREATE INDEX alarms_labels ON alarms USING gin (labels jsonb_path_ops);

-- The sensors whose readings an alarm is evaluated with: its own and those it compares with.
CREATE TABLE alarm_inputs (
    sensor_id integer NOT NULL REFERENCES sensors,
    alarm_id  integer NOT NULL REFERENCES alarms ON DELETE CASCADE,
    PRIMARY KEY (sensor_id, alarm_id)
);
CREATE INDEX alarm_inputs_alarm_id ON alarm_inputs (alarm_id);

-- The current state of each alarm. The columns before memory repeat parts of it, for lists.
CREATE TABLE alarm_states (
    due_at       timestamptz,            -- when the next timer fires; NULL: none is set
    since        timestamptz NOT NULL,   -- effective time of the last change of state
    version      bigint      NOT NULL DEFAULT 1, -- counts changes; a command names the one it saw
    occurrence   bigint      NOT NULL DEFAULT 0, -- number of the last one; 0: none yet
    alarm_id     integer     NOT NULL PRIMARY KEY REFERENCES alarms ON DELETE CASCADE,
    rule_version integer     NOT NULL,   -- of the rule that memory was made by
    rank         smallint    NOT NULL,   -- of severity; the most severe has the highest
    state        text        NOT NULL,
    severity     text        NOT NULL,   -- of the occurrence, which may have escalated
    memory       jsonb       NOT NULL    -- the whole state, as package alarm encodes it
) WITH (fillfactor = 50);
CREATE INDEX alarm_states_due_at ON alarm_states (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX alarm_states_rank ON alarm_states (rank DESC, since DESC, alarm_id DESC);
CREATE INDEX alarm_states_since ON alarm_states (since DESC, alarm_id DESC);

-- The alarm log. Events outlive their alarm, so no foreign key leads to alarms.
CREATE TABLE alarm_events (
    "offset"     bigint      NOT NULL PRIMARY KEY, -- without gaps, in order of commit
    at           timestamptz NOT NULL,             -- effective time
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    occurrence   bigint      NOT NULL,
    version      bigint      NOT NULL,             -- of the alarm's state after the event
    value        float8,
    alarm_id     integer     NOT NULL,
    sensor_id    integer     NOT NULL,
    gateway_id   integer     NOT NULL,
    rule_version integer     NOT NULL,
    quiet        boolean     NOT NULL, -- only for the log: no notification is sent
    kind         text        NOT NULL,
    before       text        NOT NULL, -- state
    after        text        NOT NULL, -- state
    level        text        NOT NULL, -- the limit, such as high_high; empty: the rule has none
    severity     text        NOT NULL,
    message      text        NOT NULL,
    username     text        NOT NULL, -- of the user who gave the command; empty: no command
    comment      text        NOT NULL
);
CREATE INDEX alarm_events_alarm_id ON alarm_events (alarm_id, "offset");
CREATE INDEX alarm_events_at ON alarm_events (at);

-- One row. A transaction that adds events locks it last, so that offsets are in order of commit.
CREATE TABLE alarm_log (
    one   boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    epoch uuid    NOT NULL DEFAULT gen_random_uuid(), -- offsets of another epoch are not comparable
    last  bigint  NOT NULL DEFAULT 0 -- offset of the last event
) WITH (fillfactor = 10);
INSERT INTO alarm_log DEFAULT VALUES;

-- One row, for instances that cache rules: alarms with a higher generation than the cache's have
-- changed, and when removed is higher too, some were deleted.
CREATE TABLE alarm_rules (
    one        boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    generation bigint  NOT NULL DEFAULT 1, -- of the last change
    removed    bigint  NOT NULL DEFAULT 1  -- generation of the last deletion
) WITH (fillfactor = 10);
INSERT INTO alarm_rules DEFAULT VALUES;

CREATE FUNCTION count_alarm_rules() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    g bigint;
BEGIN
    UPDATE alarm_rules
    SET generation = generation + 1, removed = CASE TG_OP WHEN 'DELETE' THEN generation + 1 ELSE removed END
    RETURNING generation INTO g;
    IF TG_OP = 'DELETE' THEN
        RETURN OLD;
    END IF;
    NEW.generation := g;
    RETURN NEW;
END $$;
CREATE TRIGGER alarms_count BEFORE INSERT OR UPDATE OR DELETE ON alarms
    FOR EACH ROW EXECUTE FUNCTION count_alarm_rules();

-- Rules depend on these columns of their sensor: a limit may be a percentage of its span.
CREATE FUNCTION count_sensor_rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE alarms SET version = version + 1 WHERE sensor_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER alarms_sensor AFTER UPDATE OF name, unit, min_value, max_value ON sensors
    FOR EACH ROW
    WHEN ((OLD.name, OLD.unit, OLD.min_value, OLD.max_value)
        IS DISTINCT FROM (NEW.name, NEW.unit, NEW.min_value, NEW.max_value))
    EXECUTE FUNCTION count_sensor_rules();
