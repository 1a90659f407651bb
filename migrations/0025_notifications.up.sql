-- Where notifications go.
CREATE TABLE notification_channels (
    id         integer      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name       varchar(100) NOT NULL UNIQUE,
    kind       text         NOT NULL CHECK (kind IN ('webhook', 'email', 'mqtt')),
    is_active  boolean      NOT NULL DEFAULT true,
    url        text         NOT NULL DEFAULT '', -- of a webhook
    secret     text         NOT NULL DEFAULT '', -- that signs the requests of a webhook, encrypted
    recipients text[]       NOT NULL DEFAULT '{}', -- of e-mail
    version    integer      NOT NULL DEFAULT 1,
    created_at timestamptz  NOT NULL DEFAULT now(),
    updated_at timestamptz  NOT NULL DEFAULT now()
);

-- Which events go to which channel, how they are grouped, and when reminders follow.
CREATE TABLE notification_routes (
    id                    integer      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name                  varchar(100) NOT NULL UNIQUE,
    is_active             boolean      NOT NULL DEFAULT true,
    channel_id            integer      NOT NULL REFERENCES notification_channels,
    escalation_channel_id integer      REFERENCES notification_channels,
    severities            text[]       NOT NULL, -- empty: all
    events                text[]       NOT NULL,
    labels                jsonb        NOT NULL, -- empty: all alarms
    group_seconds         integer      NOT NULL, -- how long a notification waits for more events
    remind_seconds        integer      NOT NULL, -- 0: no reminders
    escalate_seconds      integer      NOT NULL, -- 0: no escalation
    subject               text         NOT NULL,
    line                  text         NOT NULL,
    version               integer      NOT NULL DEFAULT 1,
    created_at            timestamptz  NOT NULL DEFAULT now(),
    updated_at            timestamptz  NOT NULL DEFAULT now(),
    time_zone             text         NOT NULL DEFAULT '' -- of times in texts; empty: the setting
);
CREATE INDEX notification_routes_channel_id ON notification_routes (channel_id);
CREATE INDEX notification_routes_escalation_channel_id
    ON notification_routes (escalation_channel_id);

-- Times in which no notifications of matching events are sent.
CREATE TABLE notification_silences (
    id         integer     GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    starts_at  timestamptz NOT NULL,
    ends_at    timestamptz NOT NULL, -- a silence that is ended early gets the time of that
    alarm_id   integer,
    sensor_id  integer,
    gateway_id integer,
    severities text[]      NOT NULL,
    labels     jsonb       NOT NULL,
    reason     text        NOT NULL,
    created_by text        NOT NULL,
    ended_by   text        NOT NULL DEFAULT '', -- empty: not ended early
    held_back  bigint      NOT NULL DEFAULT 0,  -- number of events that it matched
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX notification_silences_ends_at ON notification_silences (ends_at);

-- The notification outbox, and the record of finished deliveries.
CREATE TABLE notification_deliveries (
    id           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    -- The time of the next attempt; while one is being sent, the time at which its lease ends.
    due_at       timestamptz NOT NULL,
    created_at   timestamptz NOT NULL,
    finished_at  timestamptz,
    first_offset bigint      NOT NULL DEFAULT 0, -- of its alarm events; 0: it has none
    last_offset  bigint      NOT NULL DEFAULT 0,
    key          uuid        NOT NULL DEFAULT gen_random_uuid(), -- idempotency key of all attempts
    channel_id   integer     NOT NULL,
    route_id     integer,    -- NULL: a test of the channel
    event_count  integer     NOT NULL DEFAULT 0,
    attempts     integer     NOT NULL DEFAULT 0,
    kind         text        NOT NULL
                             CHECK (kind IN ('notification', 'reminder', 'escalation', 'test')),
    status       text        NOT NULL
                             CHECK (status IN
                                 ('gathering', 'waiting', 'sending', 'delivered', 'failed')),
    detail       text        NOT NULL DEFAULT '', -- of the last attempt
    events       jsonb       NOT NULL DEFAULT '[]' -- the first of the events
);
CREATE UNIQUE INDEX notification_deliveries_gathering
    ON notification_deliveries (route_id, channel_id, kind) WHERE status = 'gathering';
CREATE INDEX notification_deliveries_due_at ON notification_deliveries (due_at)
    WHERE finished_at IS NULL;
CREATE INDEX notification_deliveries_finished_at ON notification_deliveries (finished_at)
    WHERE finished_at IS NOT NULL;
CREATE INDEX notification_deliveries_created_at ON notification_deliveries (created_at, id);

-- One row: the offset of the last alarm event that was put into the outbox, if a route matched it.
CREATE TABLE notification_cursor (
    one      boolean NOT NULL PRIMARY KEY DEFAULT true CHECK (one),
    "offset" bigint  NOT NULL
) WITH (fillfactor = 10);
INSERT INTO notification_cursor ("offset") VALUES (0);

-- Unacknowledged alarms, for each route that reminds or escalates.
CREATE TABLE notification_watches (
    remind_at   timestamptz,
    escalate_at timestamptz,
    route_id    integer NOT NULL REFERENCES notification_routes ON DELETE CASCADE,
    alarm_id    integer NOT NULL REFERENCES alarms ON DELETE CASCADE,
    event       jsonb   NOT NULL, -- the event that raised the alarm
    PRIMARY KEY (alarm_id, route_id)
);
CREATE INDEX notification_watches_route_id ON notification_watches (route_id);
CREATE INDEX notification_watches_due ON notification_watches (least(remind_at, escalate_at));
