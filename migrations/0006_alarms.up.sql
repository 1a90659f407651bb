-- An alarm is a rule on a sensor. What it needs to be decided is in rule, as the alarm room has it.
CREATE TABLE alarms (
    id         integer      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sensor_id  integer      NOT NULL REFERENCES sensors,
    name       varchar(100) NOT NULL,
    severity   text         NOT NULL CHECK (severity IN ('critical', 'major', 'minor', 'warning')),
    rule       jsonb        NOT NULL,
    labels     jsonb        NOT NULL DEFAULT '{}',
    version    integer      NOT NULL DEFAULT 1, -- of the rule and of what it needs to know of its sensor
    generation bigint       NOT NULL,           -- of the last change, see alarm_rules
    created_at timestamptz  NOT NULL DEFAULT now(),
    updated_at timestamptz  NOT NULL DEFAULT now()
);
CREATE INDEX alarms_sensor_id ON alarms (sensor_id);
CREATE INDEX alarms_labels ON alarms USING gin (labels jsonb_path_ops);

-- The sensors whose readings an alarm is stepped with: its own and those it compares with.
CREATE TABLE alarm_inputs (
    sensor_id integer NOT NULL REFERENCES sensors,
    alarm_id  integer NOT NULL REFERENCES alarms ON DELETE CASCADE,
    PRIMARY KEY (sensor_id, alarm_id)
);
CREATE INDEX alarm_inputs_alarm_id ON alarm_inputs (alarm_id);

-- Where each alarm stands. version counts changes: whoever writes names the one it saw. The columns beside memory are for lists.
CREATE TABLE alarm_states (
    due_at       timestamptz,            -- when it has to be looked at without a reading; NULL: never
    since        timestamptz NOT NULL,   -- event time of the last change of state
    version      bigint      NOT NULL DEFAULT 1,
    occurrence   bigint      NOT NULL DEFAULT 0, -- the last one; 0: there was none
    alarm_id     integer     NOT NULL PRIMARY KEY REFERENCES alarms ON DELETE CASCADE,
    rule_version integer     NOT NULL,   -- that memory was made by
    rank         smallint    NOT NULL,   -- of severity, the worst highest
    state        text        NOT NULL,
    severity     text        NOT NULL,   -- of the occurrence, which may have escalated
    memory       jsonb       NOT NULL    -- as the alarm room has it
) WITH (fillfactor = 50);
CREATE INDEX alarm_states_due_at ON alarm_states (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX alarm_states_rank ON alarm_states (rank DESC, since DESC, alarm_id DESC);
CREATE INDEX alarm_states_since ON alarm_states (since DESC, alarm_id DESC);

-- What happened, for good: it outlives its alarm.
CREATE TABLE alarm_events (
    "offset"     bigint      NOT NULL PRIMARY KEY, -- without gaps, in order of commit
    at           timestamptz NOT NULL,             -- event time
    recorded_at  timestamptz NOT NULL DEFAULT now(),
    occurrence   bigint      NOT NULL,
    version      bigint      NOT NULL,             -- of the alarm's state after it
    value        float8,
    alarm_id     integer     NOT NULL,
    sensor_id    integer     NOT NULL,
    gateway_id   integer     NOT NULL,
    rule_version integer     NOT NULL,
    quiet        boolean     NOT NULL, -- journal only: nobody is told
    kind         text        NOT NULL,
    before       text        NOT NULL, -- state
    after        text        NOT NULL,
    level        text        NOT NULL, -- the limit, such as high_high; empty: none
    severity     text        NOT NULL,
    message      text        NOT NULL,
    username     text        NOT NULL, -- empty: nobody, it happened
    comment      text        NOT NULL
);
CREATE INDEX alarm_events_alarm_id ON alarm_events (alarm_id, "offset");
CREATE INDEX alarm_events_at ON alarm_events (at);

-- One row. Whoever adds events locks it last, so that offsets are in order of commit.
CREATE TABLE alarm_log (
    one   boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    epoch uuid    NOT NULL DEFAULT gen_random_uuid(), -- of this database: offsets of another mean nothing here
    last  bigint  NOT NULL DEFAULT 0
) WITH (fillfactor = 10);
INSERT INTO alarm_log DEFAULT VALUES;

-- One row, for instances that keep rules at hand: those with a higher generation than theirs have changed, and when removed is
-- higher, some have gone.
CREATE TABLE alarm_rules (
    one        boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    generation bigint  NOT NULL DEFAULT 1,
    removed    bigint  NOT NULL DEFAULT 1
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

-- A rule in percent of its sensor's span is another one when the span is.
CREATE FUNCTION count_sensor_rules() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE alarms SET version = version + 1 WHERE sensor_id = NEW.id;
    RETURN NULL;
END $$;
CREATE TRIGGER alarms_sensor AFTER UPDATE OF name, unit, min_value, max_value ON sensors
    FOR EACH ROW
    WHEN ((OLD.name, OLD.unit, OLD.min_value, OLD.max_value) IS DISTINCT FROM (NEW.name, NEW.unit, NEW.min_value, NEW.max_value))
    EXECUTE FUNCTION count_sensor_rules();
