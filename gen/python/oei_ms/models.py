# Generated from openapi.yaml by ./task gen; do not edit.
"""The schemas of the contract as types.

Objects are dataclasses. A member that can be absent is None then; one that can be absent or null in
a request is UNSET when it is absent. Times are aware datetimes in UTC. Members and values that a
newer server adds are ignored and passed on.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Dict, List, Literal, Optional, Union

from ._json import (
    UNSET,
    Decoders,
    Model,
    Resource,
    Unset,
    dict_of,
    list_of,
    to_datetime,
    to_instants,
    to_numbers,
)

__all__ = [
    "APIKey",
    "APIKeyWithSecret",
    "Aggregate",
    "Alarm",
    "AlarmBulkAcknowledgeItem",
    "AlarmBulkAcknowledgeResult",
    "AlarmCauses",
    "AlarmCount",
    "AlarmCountBySeverity",
    "AlarmDeadband",
    "AlarmDeadbandUnit",
    "AlarmDeviation",
    "AlarmEvent",
    "AlarmEventKind",
    "AlarmExplanation",
    "AlarmExplanationInput",
    "AlarmExplanationTimer",
    "AlarmExpression",
    "AlarmExpressionInputs",
    "AlarmFlood",
    "AlarmKPI",
    "AlarmKind",
    "AlarmLabels",
    "AlarmLimit",
    "AlarmLimits",
    "AlarmRange",
    "AlarmRate",
    "AlarmRateUnit",
    "AlarmRule",
    "AlarmRuleUpdate",
    "AlarmSchedule",
    "AlarmSimulationEvent",
    "AlarmSimulationResult",
    "AlarmSort",
    "AlarmState",
    "AsyncAPIDocument",
    "ConnectionStatus",
    "Coverage",
    "Credential",
    "CredentialWithSecret",
    "DataSource",
    "DeletionResult",
    "Dependency",
    "Direction",
    "DownsampledReading",
    "DownsampledReadings",
    "DownsampledSeries",
    "DownsamplingMethod",
    "ExpiringPartition",
    "ExpiringSensor",
    "ExportFormat",
    "FieldError",
    "Gateway",
    "GatewayStatus",
    "Health",
    "History",
    "HistoryColumns",
    "HistoryFill",
    "HistoryPoint",
    "HistorySeries",
    "IncludedMember",
    "Interval",
    "IntervalStatistics",
    "LatestReading",
    "Liveness",
    "Metadata",
    "NotificationChannel",
    "NotificationChannelKind",
    "NotificationChannelWithSecret",
    "NotificationDelivery",
    "NotificationDeliveryKind",
    "NotificationDeliveryStatus",
    "NotificationDeliveryWithEvents",
    "NotificationEvent",
    "NotificationEventKinds",
    "NotificationRoute",
    "NotificationSeverities",
    "NotificationSilence",
    "OpenAPIDocument",
    "Percentiles",
    "Problem",
    "ProblemType",
    "Quality",
    "Readiness",
    "Reading",
    "ReadingCreate",
    "ReadingOutcome",
    "ReadingsDeletionResult",
    "ReadingsWriteResult",
    "Recipients",
    "Rejection",
    "RejectionReason",
    "Role",
    "Sensor",
    "SensorStatistics",
    "SensorSummary",
    "SeriesFormat",
    "Severity",
    "SortOrder",
    "StaleAlarm",
    "Statistics",
    "Tags",
    "TimedValue",
    "Tokens",
    "User",
    "UserDeletionResult",
    "Version",
    "WebSocketTicket",
    "Weekday",
    "WsAlarm",
    "WsAlarmSnapshot",
    "WsAuth",
    "WsAuthenticated",
    "WsClientMessage",
    "WsError",
    "WsGatewayStatus",
    "WsLagged",
    "WsPing",
    "WsPosition",
    "WsReading",
    "WsResync",
    "WsSensorData",
    "WsSensorDataBatch",
    "WsSensorReading",
    "WsServerMessage",
    "WsSnapshot",
    "WsSubscribe",
    "WsSubscribed",
    "WsUnsubscribe",
    "WsUnsubscribed",
]


@dataclass
class Tokens(Model):
    """An access token and the refresh token for the next one."""

    access_token: str
    """A JWT, sent as `Authorization: Bearer …`."""
    refresh_token: str
    """An opaque token that `POST /api/auth/refresh` accepts once."""
    expires_in: int
    """Seconds until the access token expires."""
    token_type: Literal["bearer"] = "bearer"
    """Always `bearer`."""


Role = Literal["viewer", "operator", "engineer", "admin"]
"""Role of a user or API key; each role includes the ones before it."""


@dataclass
class User(Resource):
    """A person or program that may log in."""

    id: int
    """Identifier that the server assigned."""
    username: str
    """Login name."""
    email: str
    """E-mail address."""
    role: Role
    """Role of a user or API key; each role includes the ones before it."""
    is_active: bool
    """Whether the user may log in."""
    is_superuser: bool
    """True for the role `admin`."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""

    _decoders: ClassVar[Decoders] = {"created_at": to_datetime, "updated_at": to_datetime}


@dataclass
class UserDeletionResult(Model):
    """What was deleted, or would be with `dry_run`."""

    dry_run: bool
    """True when nothing was changed."""
    sessions: int
    """Number of login sessions that had not ended."""
    api_keys: int
    """Number of API keys that the user created. They stay valid; list them with `created_by`."""


@dataclass
class APIKey(Resource):
    """A key with which a program uses the API, without its secret."""

    id: int
    """Identifier that the server assigned."""
    name: str
    """What the key is for; unique."""
    prefix: str
    """Begin of the key; names it in logs."""
    role: Role
    """Role of a user or API key; each role includes the ones before it."""
    requests_per_minute: int | None
    """How many requests the key may make per minute at one instance, all of them at once or evenly;
    null for the setting `OEI_SERVER_API_KEY_REQUESTS_PER_MINUTE`.
    """
    expires_at: datetime | None
    """From when on the key is refused; null for never."""
    created_by: str | None
    """Name of the user who created it; null for the command line."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""
    last_used_at: datetime | None
    """When it was last used, up to a minute ago; null when it was not."""
    last_used_from: str | None
    """Address from which it was last used; null when it was not."""

    _decoders: ClassVar[Decoders] = {
        "expires_at": to_datetime,
        "created_at": to_datetime,
        "updated_at": to_datetime,
        "last_used_at": to_datetime,
    }


@dataclass
class APIKeyWithSecret(Resource):
    """A new API key. `key` is not shown again."""

    id: int
    """Identifier that the server assigned."""
    name: str
    """What the key is for; unique."""
    prefix: str
    """Begin of the key; names it in logs."""
    key: str
    """The key with its secret. Keep it like a password."""
    role: Role
    """Role of a user or API key; each role includes the ones before it."""
    requests_per_minute: int | None
    """How many requests the key may make per minute at one instance, all of them at once or evenly;
    null for the setting `OEI_SERVER_API_KEY_REQUESTS_PER_MINUTE`.
    """
    expires_at: datetime | None
    """From when on the key is refused; null for never."""
    created_by: str | None
    """Name of the user who created it."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""
    last_used_at: datetime | None
    """Null."""
    last_used_from: str | None
    """Null."""

    _decoders: ClassVar[Decoders] = {
        "expires_at": to_datetime,
        "created_at": to_datetime,
        "updated_at": to_datetime,
        "last_used_at": to_datetime,
    }


GatewayStatus = Literal["online", "offline", "unknown"]
"""Presence of the gateway: `unknown` until it is first seen and after a restart of the server."""


Metadata = Dict[str, Any]
"""Additional data of the gateway, at most 16,384 bytes of JSON."""


@dataclass
class Gateway(Resource):
    """A device or program that publishes readings."""

    id: int
    """Identifier that the server assigned."""
    key: str
    """Name of a gateway or sensor in MQTT topics, such as `press-line-1`, an IMEI
    (`356938035643809`) or a MAC address (`00:1b:44:11:3a:b7`). A key of digits alone needs at least
    11 of them, so that it cannot be mistaken for an id, which has at most 10.
    """
    name: str
    """Display name."""
    location: str
    """Where the gateway or sensor is installed."""
    is_active: bool
    """When false, the connections and messages of the gateway are refused and alarms on its sensors
    are suppressed.
    """
    is_system: bool
    """True for the server's own gateway, `oei-ms`, whose sensors monitor the server and the other
    gateways. No other client publishes for it, and it cannot be deleted.
    """
    status: GatewayStatus
    """Presence of the gateway: `unknown` until it is first seen and after a restart of the server.
    """
    last_seen_at: datetime | None
    """When the gateway last sent anything, exact to 5 seconds; null if never."""
    clock_skew_ms: int | None
    """The gateway's clock minus the server's, in milliseconds, from the timestamp of its last
    `online` status message that was neither a will nor retained; null if unknown.
    """
    metadata: Metadata
    """Additional data of the gateway, at most 16,384 bytes of JSON."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When its description was last changed."""

    _decoders: ClassVar[Decoders] = {
        "last_seen_at": to_datetime,
        "created_at": to_datetime,
        "updated_at": to_datetime,
    }


@dataclass
class DeletionResult(Model):
    """What was deleted, or would be with `dry_run`."""

    dry_run: bool
    """True when nothing was changed."""
    gateways: int
    """Number of gateways."""
    sensors: int
    """Number of sensors."""
    alarms: int
    """Number of alarms."""
    first_reading_at: datetime | None
    """Timestamp of the oldest of these readings; null when there are none."""
    last_reading_at: datetime | None
    """Timestamp of the newest of these readings; null when there are none."""

    _decoders: ClassVar[Decoders] = {
        "first_reading_at": to_datetime,
        "last_reading_at": to_datetime,
    }


@dataclass
class Credential(Model):
    """A secret of a gateway, without the secret itself."""

    id: int
    """Identifier that the server assigned."""
    created_at: datetime
    """When it was created."""
    last_used_at: datetime | None
    """When a connection was last opened with it; null if never."""

    _decoders: ClassVar[Decoders] = {"created_at": to_datetime, "last_used_at": to_datetime}


@dataclass
class CredentialWithSecret(Model):
    """A new credential with its secret."""

    id: int
    """Identifier that the server assigned."""
    client_id: str
    """MQTT client id: the gateway's key, optionally followed by a colon and a suffix that tells its
    connections apart.
    """
    username: str
    """MQTT user name: the gateway's key."""
    secret: str
    """MQTT password of 256 random bits. It is not shown again."""
    created_at: datetime
    """When it was created."""
    revoked_id: int | None
    """Id of the oldest credential, which this one revoked; null if none."""

    _decoders: ClassVar[Decoders] = {"created_at": to_datetime}


Tags = Dict[str, str]
"""Free key-value labels, at most 16,384 bytes of JSON."""


@dataclass
class Sensor(Resource):
    """A measured quantity of a gateway."""

    id: int
    """Identifier that the server assigned."""
    key: str
    """Name of a gateway or sensor in MQTT topics, such as `press-line-1`, an IMEI
    (`356938035643809`) or a MAC address (`00:1b:44:11:3a:b7`). A key of digits alone needs at least
    11 of them, so that it cannot be mistaken for an id, which has at most 10.
    """
    name: str
    """Display name."""
    type: str
    """Measured quantity, such as temperature, humidity or pressure."""
    unit: str
    """Unit of the values, preferably as a UCUM code."""
    gateway_id: int
    """Identifier that the server assigned."""
    about_gateway_id: int | None
    """For a sensor of the server's own gateway: the gateway that it monitors, to which its alarms
    belong as well; null for other sensors.
    """
    location: str
    """Where the gateway or sensor is installed."""
    is_active: bool
    """When false, readings of the sensor are rejected and alarms on it are suppressed."""
    min_value: float | None
    """Lower end of the measuring range, in `unit`; a good value below it is stored as uncertain.
    Null is none.
    """
    max_value: float | None
    """Upper end of the measuring range, in `unit`; a good value above it is stored as uncertain.
    Null is none.
    """
    retention_days: int | None
    """Days for which readings of the sensor are kept; 0 is forever and null is the default of the
    server's settings. Older readings are rejected as `too_old`. Stored readings and their rollups
    are removed once their whole partition is expired: at most a day later, or an eighth of the
    retention if that is longer; see `GET /api/data/retention`.
    """
    tags: Tags
    """Free key-value labels, at most 16,384 bytes of JSON."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""

    _decoders: ClassVar[Decoders] = {
        "min_value": float,
        "max_value": float,
        "created_at": to_datetime,
        "updated_at": to_datetime,
    }


Quality = Literal["good", "uncertain", "bad"]
"""Quality of a value, after OPC UA."""


SortOrder = Literal["asc", "desc"]
"""Order by time: newest first (`desc`) or oldest first (`asc`)."""


@dataclass
class Reading(Model):
    """A stored value of a sensor at an instant."""

    sensor_id: int
    """Identifier that the server assigned."""
    timestamp: datetime
    """When the value was measured, by the gateway's clock."""
    value: float | None
    """Value in the sensor's unit; null when the gateway had none."""
    quality: Quality
    """Quality of a value, after OPC UA."""
    status_code: int | None = None
    """OPC UA status code that the gateway sent or that a check of the server set."""

    _decoders: ClassVar[Decoders] = {"timestamp": to_datetime, "value": float}


@dataclass
class ReadingCreate(Model):
    """A reading of the sensor `sensor_id`, or of the sensor named by `gateway` and `sensor`, as in
    MQTT topics; exactly one of both is required. A member that looks like one of these under
    another name, such as `ts` or `q`, is refused with the name to use.
    """

    value: float | None
    """Value in the sensor's unit; null when there is none, with quality bad."""
    sensor_id: int | None = None
    """Id of the sensor; not together with `gateway` and `sensor`."""
    gateway: str | None = None
    """Key or id of the gateway; together with `sensor`."""
    sensor: str | None = None
    """Key or id of a sensor of the gateway; together with `gateway`."""
    timestamp: Union[datetime, int] | None = None
    """When the value was measured: RFC 3339, truncated to microseconds, or whole milliseconds since
    1970. Absent means now.
    """
    quality: Quality | None = None
    """Quality of a value, after OPC UA."""
    status_code: int | None = None
    """OPC UA status code that the gateway sent or that a check of the server set."""

    _decoders: ClassVar[Decoders] = {"value": float}
    _nullable: ClassVar = frozenset({"value"})


RejectionReason = Literal[
    "unknown_topic",
    "malformed",
    "too_large",
    "unknown_gateway",
    "unknown_sensor",
    "not_owner",
    "inactive",
    "invalid_value",
    "invalid_timestamp",
    "invalid_quality",
    "invalid_sensor",
    "future_timestamp",
    "too_old",
    "expired",
    "conflict",
    "alarm_overload",
    "database_refused",
    "unsupported_qos",
]
"""Why a payload or sample was rejected.

- `unknown_topic`: the topic carries neither readings nor a status
- `malformed`: the payload is not strict JSON of the known shape
- `too_large`: the packet was over the size limit; the beginning of the payload is recorded
- `unsupported_qos`: the message had QoS 2; it ended the connection
- `unknown_gateway`, `unknown_sensor`: no such gateway or sensor is registered
- `not_owner`: the sensor belongs to another gateway, or to the server
- `inactive`: the sensor or its gateway is not in use
- `invalid_sensor`, `invalid_timestamp`: the sample's sensor or timestamp cannot be read
- `invalid_value`: the value is not a finite number
- `invalid_quality`: the quality cannot be read, or contradicts the status code
- `future_timestamp`: the timestamp is over 5 minutes ahead of the server's clock
- `too_old`: it is older than the server accepts or the sensor keeps
- `expired`: the message expired before it could be stored
- `conflict`: another value is stored for the same instant
- `alarm_overload`: the sensor's alarms need too many evaluations
- `database_refused`: PostgreSQL refused the values
"""


@dataclass
class ReadingOutcome(Model):
    """The outcome of one reading."""

    status: Literal["stored", "duplicate", "conflict", "rejected"]
    """The outcome."""
    reason: RejectionReason | None = None
    """Why a payload or sample was rejected.

    - `unknown_topic`: the topic carries neither readings nor a status
    - `malformed`: the payload is not strict JSON of the known shape
    - `too_large`: the packet was over the size limit; the beginning of the payload is recorded
    - `unsupported_qos`: the message had QoS 2; it ended the connection
    - `unknown_gateway`, `unknown_sensor`: no such gateway or sensor is registered
    - `not_owner`: the sensor belongs to another gateway, or to the server
    - `inactive`: the sensor or its gateway is not in use
    - `invalid_sensor`, `invalid_timestamp`: the sample's sensor or timestamp cannot be read
    - `invalid_value`: the value is not a finite number
    - `invalid_quality`: the quality cannot be read, or contradicts the status code
    - `future_timestamp`: the timestamp is over 5 minutes ahead of the server's clock
    - `too_old`: it is older than the server accepts or the sensor keeps
    - `expired`: the message expired before it could be stored
    - `conflict`: another value is stored for the same instant
    - `alarm_overload`: the sensor's alarms need too many evaluations
    - `database_refused`: PostgreSQL refused the values
    """
    detail: str | None = None
    """The reason in words."""


@dataclass
class ReadingsWriteResult(Model):
    """The outcome of each reading, and their counts."""

    stored: int
    """Number of readings stored."""
    duplicates: int
    """Number of readings that were stored before."""
    conflicts: int
    """Number of readings for whose instant another value is stored."""
    rejected: int
    """Number of readings rejected."""
    results: List[ReadingOutcome]
    """One outcome per reading, in their order."""

    _decoders: ClassVar[Decoders] = {"results": list_of(ReadingOutcome.from_json)}


@dataclass
class ReadingsDeletionResult(Model):
    """Which readings were deleted, or would be with `dry_run`."""

    dry_run: bool
    """True when nothing was changed."""
    readings: int
    """Number of readings."""
    first_reading_at: datetime | None
    """Timestamp of the oldest of these readings; null when there are none."""
    last_reading_at: datetime | None
    """Timestamp of the newest of these readings; null when there are none."""

    _decoders: ClassVar[Decoders] = {
        "first_reading_at": to_datetime,
        "last_reading_at": to_datetime,
    }


@dataclass
class ExpiringSensor(Model):
    """A sensor whose readings in a partition will be removed."""

    sensor_id: int
    """Identifier that the server assigned."""
    retention_seconds: int
    """Retention of the sensor in seconds, by its own `retention_days` or the server's default."""
    readings: int | None
    """Number of readings, counted by rollups: late readings of the last minute may be missing. Null
    without rollups.
    """


@dataclass
class ExpiringPartition(Model):
    """A partition, or part of a long one, whose readings retention will remove."""

    partition: str
    """Name of the table."""
    start: datetime
    """Start of the range whose readings are removed."""
    end: datetime
    """End of that range, not included."""
    is_dropped: bool
    """True when the whole partition is dropped. Otherwise the readings of `sensors` are deleted and
    others stay.
    """
    readings: int | None
    """Estimated number of readings that will be removed; null when there are no rollups to count
    by.
    """
    bytes: int | None
    """Size on disk of these readings in bytes, exact for a whole partition and estimated otherwise.
    Deleted readings make room for new ones but do not shrink the files.
    """
    sensors: List[ExpiringSensor]
    """The sensors whose readings will be removed, in order of id."""

    _decoders: ClassVar[Decoders] = {
        "start": to_datetime,
        "end": to_datetime,
        "sensors": list_of(ExpiringSensor.from_json),
    }


IncludedMember = Literal["sensor"]
"""Member to add to each item of an answer."""


@dataclass
class SensorSummary(Model):
    """Key, name and unit of a sensor; present with `include=sensor`."""

    gateway_key: str
    """Key of the sensor's gateway."""
    key: str
    """Key of the sensor, unique in its gateway."""
    name: str
    """Name of the sensor."""
    unit: str
    """Unit of the values; empty when the sensor has none."""


@dataclass
class LatestReading(Model):
    """The newest reading of a sensor, with its age."""

    sensor_id: int
    """Identifier that the server assigned."""
    gateway_id: int
    """Identifier that the server assigned."""
    timestamp: datetime
    """When the value was measured, by the gateway's clock."""
    value: float | None
    """Value in the sensor's unit; null when the gateway had none."""
    quality: Quality
    """Quality of a value, after OPC UA."""
    received_at: datetime
    """When the server received it."""
    age_seconds: float
    """Seconds from the effective time, the earlier of `timestamp` and `received_at`, to now by the
    server's clock.
    """
    is_stale: bool
    """True when it is older than `stale_after_seconds`."""
    status_code: int | None = None
    """OPC UA status code that the gateway sent or that a check of the server set."""
    sensor: SensorSummary | None = None
    """Key, name and unit of a sensor; present with `include=sensor`."""

    _decoders: ClassVar[Decoders] = {
        "timestamp": to_datetime,
        "value": float,
        "received_at": to_datetime,
        "age_seconds": float,
        "sensor": SensorSummary.from_json,
    }


Interval = Literal[
    "1s",
    "2s",
    "5s",
    "10s",
    "15s",
    "30s",
    "1m",
    "2m",
    "5m",
    "10m",
    "15m",
    "30m",
    "1h",
    "2h",
    "3h",
    "4h",
    "6h",
    "8h",
    "12h",
    "1d",
    "1w",
    "1mo",
]
"""Width of a bucket; `1w` is an ISO week and `1mo` a calendar month."""


Aggregate = Literal[
    "avg",
    "min",
    "max",
    "sum",
    "count",
    "first",
    "last",
    "stddev",
    "delta",
    "time_weighted_avg",
    "percent_good",
]
"""Aggregate of the readings of a bucket."""


HistoryFill = Literal["none", "null", "previous", "linear"]
"""What stands in a bucket without readings: `none` omits the bucket, `null` has no values,
`previous` repeats the values of the bucket before, `linear` interpolates between the neighbours.
`count` is then 0 and `percent_good` null.
"""


SeriesFormat = Literal["rows", "columns"]
"""`rows` has one object per bucket in `points`; `columns` has one list per member, which is
smaller.
"""


DataSource = Literal["raw", "1m", "1h"]
"""What the answer was computed from: readings (`raw`), or rollups of minutes or hours, with
readings where no rollup is complete. The figures are the same.
"""


@dataclass
class Coverage(Model):
    """The part of the requested range that the answer covers."""

    start: datetime
    """Start of the range."""
    end: datetime
    """End of the range, not included."""

    _decoders: ClassVar[Decoders] = {"start": to_datetime, "end": to_datetime}


@dataclass
class HistoryPoint(Model):
    """A bucket, with the aggregates that were asked for."""

    start: datetime
    """Start of the bucket."""
    end: datetime
    """End of the bucket, not included."""
    avg: float | None = None
    """Mean of the values."""
    min: float | None = None
    """Smallest value."""
    max: float | None = None
    """Largest value."""
    sum: float | None = None
    """Sum of the values."""
    count: float | None = None
    """Number of readings of any quality."""
    first: float | None = None
    """Oldest value."""
    last: float | None = None
    """Newest value."""
    stddev: float | None = None
    """Sample standard deviation; null with fewer than two values."""
    delta: float | None = None
    """`last` minus `first`."""
    time_weighted_avg: float | None = None
    """Mean weighted by how long each value held."""
    percent_good: float | None = None
    """Percentage of readings of good quality, 0 to 100."""

    _decoders: ClassVar[Decoders] = {
        "start": to_datetime,
        "end": to_datetime,
        "avg": float,
        "min": float,
        "max": float,
        "sum": float,
        "count": float,
        "first": float,
        "last": float,
        "stddev": float,
        "delta": float,
        "time_weighted_avg": float,
        "percent_good": float,
    }


@dataclass
class HistoryColumns(Model):
    """The members of the buckets as lists of equal length; present with `format=columns`."""

    start: array[int]
    """Start of each bucket. In microseconds since 1970, see `from_microseconds`."""
    end: array[int]
    """End of each bucket, not included. In microseconds since 1970, see `from_microseconds`."""
    avg: array[float] | None = None
    """Mean of the values, per bucket. NaN stands for null."""
    min: array[float] | None = None
    """Smallest value, per bucket. NaN stands for null."""
    max: array[float] | None = None
    """Largest value, per bucket. NaN stands for null."""
    sum: array[float] | None = None
    """Sum of the values, per bucket. NaN stands for null."""
    count: array[float] | None = None
    """Number of readings of any quality, per bucket. NaN stands for null."""
    first: array[float] | None = None
    """Oldest value, per bucket. NaN stands for null."""
    last: array[float] | None = None
    """Newest value, per bucket. NaN stands for null."""
    stddev: array[float] | None = None
    """Sample standard deviation, per bucket; null with fewer than two values. NaN stands for null.
    """
    delta: array[float] | None = None
    """`last` minus `first`, per bucket. NaN stands for null."""
    time_weighted_avg: array[float] | None = None
    """Mean weighted by how long each value held, per bucket. NaN stands for null."""
    percent_good: array[float] | None = None
    """Percentage of readings of good quality, 0 to 100, per bucket. NaN stands for null."""

    _decoders: ClassVar[Decoders] = {
        "start": to_instants,
        "end": to_instants,
        "avg": to_numbers,
        "min": to_numbers,
        "max": to_numbers,
        "sum": to_numbers,
        "count": to_numbers,
        "first": to_numbers,
        "last": to_numbers,
        "stddev": to_numbers,
        "delta": to_numbers,
        "time_weighted_avg": to_numbers,
        "percent_good": to_numbers,
    }


@dataclass
class HistorySeries(Model):
    """The buckets of one sensor, in `points` or `columns`, as `format` asks."""

    sensor_id: int
    """Identifier that the server assigned."""
    sensor: SensorSummary | None = None
    """Key, name and unit of a sensor; present with `include=sensor`."""
    points: List[HistoryPoint] | None = None
    """The buckets in order of time; present with `format=rows`."""
    columns: HistoryColumns | None = None
    """The members of the buckets as lists of equal length; present with `format=columns`."""

    _decoders: ClassVar[Decoders] = {
        "sensor": SensorSummary.from_json,
        "points": list_of(HistoryPoint.from_json),
        "columns": HistoryColumns.from_json,
    }


@dataclass
class History(Resource):
    """Aggregates of sensors in buckets."""

    source: DataSource
    """What the answer was computed from: readings (`raw`), or rollups of minutes or hours, with
    readings where no rollup is complete. The figures are the same.
    """
    interval: Interval
    """Width of a bucket; `1w` is an ISO week and `1mo` a calendar month."""
    timezone: str
    """Time zone of the buckets."""
    coverage: Coverage
    """The part of the requested range that the answer covers."""
    next: datetime | None
    """The `start` with which to continue; null when the range is covered."""
    series: List[HistorySeries]
    """One series per sensor asked for, in order of id."""

    _decoders: ClassVar[Decoders] = {
        "coverage": Coverage.from_json,
        "next": to_datetime,
        "series": list_of(HistorySeries.from_json),
    }


DownsamplingMethod = Literal["minmax", "lttb"]
"""`minmax` chooses the extremes of equal spans; `lttb` chooses those of them that span the largest
triangles.
"""


@dataclass
class DownsampledReading(Model):
    """A chosen reading."""

    timestamp: datetime
    """When the value was measured, by the gateway's clock."""
    value: float
    """Value in the sensor's unit; null when there is none."""
    quality: Quality
    """Quality of a value, after OPC UA."""

    _decoders: ClassVar[Decoders] = {"timestamp": to_datetime, "value": float}


@dataclass
class DownsampledSeries(Model):
    """The chosen readings of one sensor."""

    sensor_id: int
    """Identifier that the server assigned."""
    readings: List[DownsampledReading]
    """The chosen readings, oldest first."""
    sensor: SensorSummary | None = None
    """Key, name and unit of a sensor; present with `include=sensor`."""

    _decoders: ClassVar[Decoders] = {
        "readings": list_of(DownsampledReading.from_json),
        "sensor": SensorSummary.from_json,
    }


@dataclass
class DownsampledReadings(Resource):
    """Readings chosen to draw like all readings of the range."""

    source: DataSource
    """What the answer was computed from: readings (`raw`), or rollups of minutes or hours, with
    readings where no rollup is complete. The figures are the same.
    """
    method: DownsamplingMethod
    """`minmax` chooses the extremes of equal spans; `lttb` chooses those of them that span the
    largest triangles.
    """
    series: List[DownsampledSeries]
    """One series per sensor asked for, in order of id."""

    _decoders: ClassVar[Decoders] = {"series": list_of(DownsampledSeries.from_json)}


Percentiles = Dict[str, float]
"""Values in the sensor's unit by percentile, such as `p50`; empty when there are no values."""


@dataclass
class TimedValue(Model):
    """A value and when it was measured; null when there are no values."""

    timestamp: datetime
    """When the value was measured, by the gateway's clock."""
    value: float
    """Value in the sensor's unit."""

    _decoders: ClassVar[Decoders] = {"timestamp": to_datetime, "value": float}


@dataclass
class IntervalStatistics(Model):
    """Statistics of one interval, or of the whole range."""

    start: datetime
    """Start of the interval."""
    end: datetime
    """End of the interval, not included."""
    count: int
    """Number of readings of any quality."""
    usable: int
    """Number of readings with a value and of good or uncertain quality; the other figures are about
    these.
    """
    min: float | None
    """Smallest value."""
    max: float | None
    """Largest value."""
    sum: float | None
    """Sum of the values."""
    avg: float | None
    """Mean of the values."""
    time_weighted_avg: float | None
    """Mean weighted by how long each value held."""
    stddev: float | None
    """Sample standard deviation; null with fewer than two values."""
    delta: float | None
    """`last` minus `first`."""
    percentiles: Percentiles
    """Values in the sensor's unit by percentile, such as `p50`; empty when there are no values."""
    first: TimedValue | None
    """A value and when it was measured; null when there are no values."""
    last: TimedValue | None
    """A value and when it was measured; null when there are no values."""
    percent_good: float
    """Percentage of readings of good quality, 0 to 100."""
    gaps: int
    """Number of gaps longer than `gap_seconds`."""
    longest_gap_seconds: float
    """Length of the longest gap in seconds; 0 when there is none."""
    rate: float
    """Readings per second, in the part of the range within the interval."""

    _decoders: ClassVar[Decoders] = {
        "start": to_datetime,
        "end": to_datetime,
        "min": float,
        "max": float,
        "sum": float,
        "avg": float,
        "time_weighted_avg": float,
        "stddev": float,
        "delta": float,
        "percentiles": dict_of(float),
        "first": TimedValue.from_json,
        "last": TimedValue.from_json,
        "percent_good": float,
        "longest_gap_seconds": float,
        "rate": float,
    }


@dataclass
class SensorStatistics(Model):
    """Statistics of one sensor."""

    sensor_id: int
    """Identifier that the server assigned."""
    intervals: List[IntervalStatistics]
    """The intervals that have readings, in order of time."""

    _decoders: ClassVar[Decoders] = {"intervals": list_of(IntervalStatistics.from_json)}


@dataclass
class Statistics(Model):
    """Statistics of sensors over a range."""

    source: DataSource
    """What the answer was computed from: readings (`raw`), or rollups of minutes or hours, with
    readings where no rollup is complete. The figures are the same.
    """
    interval: str | None
    """Width of the intervals; null means the whole range."""
    timezone: str
    """Time zone of the intervals."""
    percentile_method: Literal["exact", "sketch"]
    """`exact` is computed from all values, `sketch` from sketches of hours."""
    percentile_error: float
    """Relative error of the two values between which a percentile lies; 0 when exact."""
    series: List[SensorStatistics]
    """One series per sensor asked for, in order of id."""

    _decoders: ClassVar[Decoders] = {
        "percentile_error": float,
        "series": list_of(SensorStatistics.from_json),
    }


ExportFormat = Literal["csv", "ndjson", "parquet"]
"""File format of an export."""


@dataclass
class Rejection(Model):
    """A payload or sample that was rejected."""

    id: int
    """Identifier of the entry."""
    gateway: str
    """Key of the gateway that sent it; of an unregistered gateway the name in the topic, which may
    be empty.
    """
    gateway_id: int | None
    """Id of the gateway; null when it was not registered."""
    topic: str
    """First 512 bytes of the topic."""
    reason: RejectionReason
    """Why a payload or sample was rejected.

    - `unknown_topic`: the topic carries neither readings nor a status
    - `malformed`: the payload is not strict JSON of the known shape
    - `too_large`: the packet was over the size limit; the beginning of the payload is recorded
    - `unsupported_qos`: the message had QoS 2; it ended the connection
    - `unknown_gateway`, `unknown_sensor`: no such gateway or sensor is registered
    - `not_owner`: the sensor belongs to another gateway, or to the server
    - `inactive`: the sensor or its gateway is not in use
    - `invalid_sensor`, `invalid_timestamp`: the sample's sensor or timestamp cannot be read
    - `invalid_value`: the value is not a finite number
    - `invalid_quality`: the quality cannot be read, or contradicts the status code
    - `future_timestamp`: the timestamp is over 5 minutes ahead of the server's clock
    - `too_old`: it is older than the server accepts or the sensor keeps
    - `expired`: the message expired before it could be stored
    - `conflict`: another value is stored for the same instant
    - `alarm_overload`: the sensor's alarms need too many evaluations
    - `database_refused`: PostgreSQL refused the values
    """
    detail: str
    """The reason in words, as of the last time."""
    payload: str
    """First 4 KiB of what was rejected: the sample alone when its neighbours were accepted."""
    payload_encoding: Literal["text", "base64"]
    """`base64` when the payload is not UTF-8 or has control characters."""
    payload_size: int
    """Size of the payload in bytes."""
    folded: bool
    """True when the entry stands for different payloads with one reason, which came too fast to
    keep each; `payload` and `detail` are those of one of them.
    """
    count: int
    """How often it came; for a folded entry, how many rejections it stands for."""
    first_at: datetime
    """When it came first."""
    last_at: datetime
    """When it came last."""

    _decoders: ClassVar[Decoders] = {"first_at": to_datetime, "last_at": to_datetime}


AlarmState = Literal[
    "normal",
    "active_unacknowledged",
    "active_acknowledged",
    "returned_unacknowledged",
    "latched_unacknowledged",
    "latched_acknowledged",
    "shelved",
    "suppressed",
    "out_of_service",
]
"""State of an alarm after ISA-18.2. `suppressed` is an alarm whose cause stands, that is outside of
its schedule, or that is not in use because one of its sensors or a gateway of these has `is_active`
false; the `comment` of the events `suppressed` and `unsuppressed` says which. An alarm that is not
in use is not evaluated and its timers stop; when all are in use again it is evaluated on the
current values, and `no_data` counts from then.
"""


Severity = Literal["critical", "major", "minor", "warning"]
"""Severity of an alarm, highest first."""


AlarmSort = Literal["severity", "newest", "oldest"]
"""Order of alarms: `severity` lists the highest first and, within one severity, the newest state
first.
"""


AlarmKind = Literal[
    "threshold",
    "outside_range",
    "inside_range",
    "rate",
    "deviation",
    "no_data",
    "bad_quality",
    "expression",
]
"""What is evaluated."""


@dataclass
class AlarmLimit(Model):
    """A limit and the severity of the alarm beyond it."""

    value: float
    """Limit in the unit of the sensor."""
    severity: Severity | None = None
    """Severity of an alarm, highest first."""

    _decoders: ClassVar[Decoders] = {"value": float}


@dataclass
class AlarmLimits(Model):
    """Settings of `threshold`: at least one limit. Each must be above the one before, from
    `low_low` to `high_high`.
    """

    high_high: AlarmLimit | None = None
    """A limit and the severity of the alarm beyond it."""
    high: AlarmLimit | None = None
    """A limit and the severity of the alarm beyond it."""
    low: AlarmLimit | None = None
    """A limit and the severity of the alarm beyond it."""
    low_low: AlarmLimit | None = None
    """A limit and the severity of the alarm beyond it."""

    _decoders: ClassVar[Decoders] = {
        "high_high": AlarmLimit.from_json,
        "high": AlarmLimit.from_json,
        "low": AlarmLimit.from_json,
        "low_low": AlarmLimit.from_json,
    }


@dataclass
class AlarmRange(Model):
    """Settings of `outside_range` and `inside_range`: a range in the sensor's unit."""

    low: float
    """Lower end, in the sensor's unit; must be below `high`."""
    high: float
    """Upper end, in the sensor's unit."""

    _decoders: ClassVar[Decoders] = {"low": float, "high": float}


AlarmRateUnit = Literal["second", "minute", "hour"]
"""Time unit of the rate."""


Direction = Literal["up", "down"]
"""Which direction counts; both when absent."""


@dataclass
class AlarmRate(Model):
    """Settings of `rate`. The newest reading is compared with the newest one that is at least
    `window_ms` older, and the difference is divided by the time between them. The window keeps
    about 32 readings, so it may be up to 1/32 longer. Nothing is evaluated before there is such a
    reading. A gap longer than twice `window_ms` begins the window again, so a sensor with longer
    gaps never meets the condition: choose a window of at least the usual time between two readings.
    """

    limit: float
    """Limit of the change, in the sensor's unit per `per`; above 0."""
    per: AlarmRateUnit
    """Time unit of the rate."""
    window_ms: int
    """Milliseconds between the readings that are compared, 100 to 86,400,000 (a day)."""
    direction: Direction | None = None
    """Which direction counts; both when absent."""

    _decoders: ClassVar[Decoders] = {"limit": float}


@dataclass
class AlarmDeviation(Model):
    """Settings of `deviation`: either `setpoint` or `sensor_id`, which must be another sensor than
    the alarm's own. A deviation from another sensor is evaluated with each reading of either, on
    the newest of both; the alarm keeps its state while one is missing, cannot be compared or is too
    old.
    """

    limit: float
    """Limit of the distance, in the sensor's unit; above 0."""
    setpoint: float | None = None
    """Value to compare with, in the sensor's unit."""
    sensor_id: int | None = None
    """Identifier that the server assigned."""
    direction: Direction | None = None
    """Which direction counts; both when absent."""
    max_age_ms: int | None = None
    """By how many milliseconds each of the two readings may be older than the other, at most 7
    days; 0 is any age.
    """

    _decoders: ClassVar[Decoders] = {"limit": float, "setpoint": float}


AlarmExpressionInputs = Dict[str, int]
"""The sensor id of each name. A name has letters, digits and `_`, at most 50, does not begin with a
digit and is not the name of a function.
"""


@dataclass
class AlarmExpression(Model):
    """Settings of `expression`: the condition holds while `text` is true. It is evaluated with each
    reading of an input or of the alarm's own sensor, on the newest readings of all inputs; the
    alarm keeps its state while one is missing, cannot be compared or is too old. Every input must
    be used.

    The text consists of names of inputs, numbers, `true`, `false`, `+ - * /`, `< <= > >= == !=`,
    `and or not` (`&& || !`), `a ? b : c`, parentheses and the functions `abs min max round floor
    ceil`, at most 200 in all. All numbers are floating point. A division by zero faults the alarm
    until the next reading with which it can be evaluated.
    """

    text: str
    """The expression, at most 1,000 characters."""
    inputs: AlarmExpressionInputs
    """The sensor id of each name. A name has letters, digits and `_`, at most 50, does not begin
    with a digit and is not the name of a function.
    """
    max_age_ms: int | None = None
    """By how many milliseconds an input may be older than the newest reading of all sensors of the
    rule, at most 7 days; 0 is any age.
    """


AlarmDeadbandUnit = Literal["absolute", "percent"]
"""`absolute` is in the unit of what is compared. `percent` is of `max_value` minus `min_value` of
the sensor, which must then have both.
"""


@dataclass
class AlarmDeadband(Model):
    """How far a value must return beyond a limit before the limit counts as left: a high limit of
    80 with a deadband of 2 is left at 78. Not for `no_data`, `bad_quality` and `expression`. It
    must be smaller than the distance from the innermost low to the innermost high limit, than half
    of an `outside_range`, or than the `limit` of a rate or deviation.
    """

    value: float
    """Size of the deadband, in the unit of what is compared, or in percent (at most 100)."""
    unit: AlarmDeadbandUnit | None = None
    """`absolute` is in the unit of what is compared. `percent` is of `max_value` minus `min_value`
    of the sensor, which must then have both.
    """

    _decoders: ClassVar[Decoders] = {"value": float}


Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
"""A day of the week."""


@dataclass
class AlarmSchedule(Model):
    """When the alarm may be raised; outside of it the alarm is evaluated and suppressed."""

    zone: str
    """IANA name of a time zone, such as Europe/Rome."""
    from_: str
    """Time of day at which it begins."""
    to: str
    """Time of day at which it ends: on the next day when it is not after `from`."""
    days: List[Weekday] | None = None
    """Days on which the schedule begins; empty is every day."""

    _renamed: ClassVar[Dict[str, str]] = {"from": "from_"}


AlarmCauses = List[int]
"""Ids of other alarms that are the cause: while one of them stands, this alarm is suppressed."""


AlarmLabels = Dict[str, str]
"""Labels by name, for filters and routes. A name has letters, digits and `_`, at most 50, and does
not begin with a digit.
"""


@dataclass
class AlarmRule(Model):
    """What an alarm evaluates. Each kind but `bad_quality` has settings of its own, which that kind
    requires and every other kind refuses:

    - `threshold`: `limits`; the value is above `high` or `high_high`, or below `low` or `low_low`
    - `outside_range`: `range`; the value is below `low` or above `high`
    - `inside_range`: `range`; the value is from `low` to `high`, both included
    - `rate`: `rate`; the value changes by more than `limit` per `per`
    - `deviation`: `deviation`; the value is more than `limit` from a setpoint or another sensor
    - `no_data`: `no_data_after_ms`; no reading has arrived for that long
    - `bad_quality`: none; the newest reading is of bad quality
    - `expression`: `expression`; its text is true

    A value equal to a limit is not beyond it.

    **Which readings count.** Each stored reading of the rule's sensors is evaluated once, in order
    of effective time: the earlier of timestamp and received time. A reading that is not newer than
    the newest of its sensor is late and changes nothing. A reading of bad quality, or of uncertain
    quality with `ignore_uncertain`, is not compared: it neither raises nor clears, on-delay and
    `min_samples` continue as if it had not arrived, an off-delay begins again, and it is not part
    of a rate. For `no_data` a reading of any quality is a sign of life. For `bad_quality` a reading
    of uncertain quality does not raise; it ends the condition only with `ignore_uncertain`.

    **Raise and clear.** The alarm is raised when the condition has held for `on_delay_ms` and for
    `min_samples` readings in a row, by the first reading that meets both or, with a delay, when the
    delay is over. It is cleared when the condition, with the deadband, has been false for
    `off_delay_ms`. Both delays count from the effective time of the first reading that said so; at
    the very instant at which a delay is over, the reading of that instant decides. With both delays
    0, the reading itself raises and clears.

    **Several limits** are one alarm, whose level is the outermost limit that the value is beyond;
    each limit has its own on-delay. Further out is `escalated` and unacknowledged again; further in
    is `deescalated` after the off-delay. A value that moves from one side to the other ends the
    occurrence and begins another: without delays both at that reading, `cleared` first. With delays
    each side waits for its own; when the new side is due first it is `raised` as the next
    occurrence, and the one before ends without `cleared`.
    """

    name: str
    """Display name."""
    kind: AlarmKind
    """What is evaluated."""
    severity: Severity
    """Severity of an alarm, highest first."""
    limits: AlarmLimits | None = None
    """Settings of `threshold`: at least one limit. Each must be above the one before, from
    `low_low` to `high_high`.
    """
    range: AlarmRange | None = None
    """Settings of `outside_range` and `inside_range`: a range in the sensor's unit."""
    rate: AlarmRate | None = None
    """Settings of `rate`. The newest reading is compared with the newest one that is at least
    `window_ms` older, and the difference is divided by the time between them. The window keeps
    about 32 readings, so it may be up to 1/32 longer. Nothing is evaluated before there is such a
    reading. A gap longer than twice `window_ms` begins the window again, so a sensor with longer
    gaps never meets the condition: choose a window of at least the usual time between two readings.
    """
    deviation: AlarmDeviation | None = None
    """Settings of `deviation`: either `setpoint` or `sensor_id`, which must be another sensor than
    the alarm's own. A deviation from another sensor is evaluated with each reading of either, on
    the newest of both; the alarm keeps its state while one is missing, cannot be compared or is too
    old.
    """
    no_data_after_ms: int | None = None
    """Setting of `no_data`: milliseconds without a reading, at least 1,000 and at most 30 days.
    Counted from when a reading of the sensor was last received, late ones included, or from when
    the alarm was created or its sensor came back into use, whichever is latest. Any stored reading
    ends it. Time in which the server accepted no readings, and up to 30 s after that for gateways
    to reconnect, does not count.
    """
    expression: AlarmExpression | None = None
    """Settings of `expression`: the condition holds while `text` is true. It is evaluated with each
    reading of an input or of the alarm's own sensor, on the newest readings of all inputs; the
    alarm keeps its state while one is missing, cannot be compared or is too old. Every input must
    be used.

    The text consists of names of inputs, numbers, `true`, `false`, `+ - * /`, `< <= > >= == !=`,
    `and or not` (`&& || !`), `a ? b : c`, parentheses and the functions `abs min max round floor
    ceil`, at most 200 in all. All numbers are floating point. A division by zero faults the alarm
    until the next reading with which it can be evaluated.
    """
    deadband: AlarmDeadband | None = None
    """How far a value must return beyond a limit before the limit counts as left: a high limit of
    80 with a deadband of 2 is left at 78. Not for `no_data`, `bad_quality` and `expression`. It
    must be smaller than the distance from the innermost low to the innermost high limit, than half
    of an `outside_range`, or than the `limit` of a rate or deviation.
    """
    on_delay_ms: int | None = None
    """Milliseconds for which the condition must hold before the alarm is raised, at most 7 days, by
    the effective times of readings. A normal reading at the very end prevents it. Must be 0 or
    absent with `no_data`, whose delay is `no_data_after_ms`.
    """
    off_delay_ms: int | None = None
    """Milliseconds for which the condition must be false before the alarm is cleared, at most 7
    days, by the effective times of readings. A reading beyond the limit at the very end prevents
    it.
    """
    min_samples: int | None = None
    """Number of readings in a row that must meet the condition before the alarm is raised; 0 is 1.
    At most 1 with `no_data`.
    """
    ignore_uncertain: bool | None = None
    """When true, readings of uncertain quality are not compared."""
    latching: bool | None = None
    """When true, the alarm stays after its condition is over until it is reset."""
    realarm_after_ms: int | None = None
    """Milliseconds after which an acknowledged alarm that still stands becomes unacknowledged
    again, but not before its rule was changed or its sensors came back into use: 0 for never, or
    1000 to 604800000 (7 days).
    """
    schedule: AlarmSchedule | None = None
    """When the alarm may be raised; outside of it the alarm is evaluated and suppressed."""
    suppressed_by: AlarmCauses | None = None
    """Ids of other alarms that are the cause: while one of them stands, this alarm is suppressed.
    """
    labels: AlarmLabels | None = None
    """Labels by name, for filters and routes. A name has letters, digits and `_`, at most 50, and
    does not begin with a digit.
    """
    message: str | None = None
    """Text of the events that raise, with the placeholders `{name}`, `{sensor}`, `{gateway}` (their
    names), `{value}`, `{unit}`, `{limit}`, `{level}`, `{severity}`, `{time}` (UTC) and
    `{label.NAME}`. Any other text in braces is refused. The filled-in text is truncated to 1,000
    characters.
    """
    documentation_url: str | None = None
    """Address of the documentation of the alarm, http or https; empty for none."""
    recommended_action: str | None = None
    """What the operator should do."""

    _decoders: ClassVar[Decoders] = {
        "limits": AlarmLimits.from_json,
        "range": AlarmRange.from_json,
        "rate": AlarmRate.from_json,
        "deviation": AlarmDeviation.from_json,
        "expression": AlarmExpression.from_json,
        "deadband": AlarmDeadband.from_json,
        "schedule": AlarmSchedule.from_json,
    }


@dataclass
class Alarm(Resource):
    """A rule on a sensor, and its state."""

    id: int
    """Identifier that the server assigned."""
    sensor_id: int
    """Identifier that the server assigned."""
    gateway_id: int
    """Identifier that the server assigned."""
    rule: AlarmRule
    """What an alarm evaluates. Each kind but `bad_quality` has settings of its own, which that kind
    requires and every other kind refuses:

    - `threshold`: `limits`; the value is above `high` or `high_high`, or below `low` or `low_low`
    - `outside_range`: `range`; the value is below `low` or above `high`
    - `inside_range`: `range`; the value is from `low` to `high`, both included
    - `rate`: `rate`; the value changes by more than `limit` per `per`
    - `deviation`: `deviation`; the value is more than `limit` from a setpoint or another sensor
    - `no_data`: `no_data_after_ms`; no reading has arrived for that long
    - `bad_quality`: none; the newest reading is of bad quality
    - `expression`: `expression`; its text is true

    A value equal to a limit is not beyond it.

    **Which readings count.** Each stored reading of the rule's sensors is evaluated once, in order
    of effective time: the earlier of timestamp and received time. A reading that is not newer than
    the newest of its sensor is late and changes nothing. A reading of bad quality, or of uncertain
    quality with `ignore_uncertain`, is not compared: it neither raises nor clears, on-delay and
    `min_samples` continue as if it had not arrived, an off-delay begins again, and it is not part
    of a rate. For `no_data` a reading of any quality is a sign of life. For `bad_quality` a reading
    of uncertain quality does not raise; it ends the condition only with `ignore_uncertain`.

    **Raise and clear.** The alarm is raised when the condition has held for `on_delay_ms` and for
    `min_samples` readings in a row, by the first reading that meets both or, with a delay, when the
    delay is over. It is cleared when the condition, with the deadband, has been false for
    `off_delay_ms`. Both delays count from the effective time of the first reading that said so; at
    the very instant at which a delay is over, the reading of that instant decides. With both delays
    0, the reading itself raises and clears.

    **Several limits** are one alarm, whose level is the outermost limit that the value is beyond;
    each limit has its own on-delay. Further out is `escalated` and unacknowledged again; further in
    is `deescalated` after the off-delay. A value that moves from one side to the other ends the
    occurrence and begins another: without delays both at that reading, `cleared` first. With delays
    each side waits for its own; when the new side is due first it is `raised` as the next
    occurrence, and the one before ends without `cleared`.
    """
    rule_version: int
    """Counts changes of the rule; `ETag` and `If-Match` carry it."""
    state: AlarmState
    """State of an alarm after ISA-18.2. `suppressed` is an alarm whose cause stands, that is
    outside of its schedule, or that is not in use because one of its sensors or a gateway of these
    has `is_active` false; the `comment` of the events `suppressed` and `unsuppressed` says which.
    An alarm that is not in use is not evaluated and its timers stop; when all are in use again it
    is evaluated on the current values, and `no_data` counts from then.
    """
    severity: Severity
    """Severity of an alarm, highest first."""
    occurrence: int
    """Number of the newest occurrence; 0 when there was none."""
    state_version: int
    """Counts changes of the state; commands name the one that was seen."""
    since: datetime
    """When the alarm entered its state."""
    raised_at: datetime | None
    """When it was last raised; null if never."""
    cleared_at: datetime | None
    """When it was last cleared; null while it stands or if never."""
    acknowledged_at: datetime | None
    """When the occurrence was acknowledged; null if it was not."""
    shelved_until: datetime | None
    """When shelving ends; null when the alarm is not shelved."""
    fault: str
    """Why the rule cannot be evaluated; empty when it can."""
    due_at: datetime | None
    """When the next timer is due without a reading; null when none is."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""

    _decoders: ClassVar[Decoders] = {
        "rule": AlarmRule.from_json,
        "since": to_datetime,
        "raised_at": to_datetime,
        "cleared_at": to_datetime,
        "acknowledged_at": to_datetime,
        "shelved_until": to_datetime,
        "due_at": to_datetime,
        "created_at": to_datetime,
        "updated_at": to_datetime,
    }


@dataclass
class AlarmBulkAcknowledgeItem(Model):
    """An alarm, with the occurrence and state that were seen."""

    id: int
    """Identifier that the server assigned."""
    occurrence: int
    """The occurrence that was seen; 409 when there is a newer one."""
    state_version: int
    """The `state_version` that was seen; 409 when the state has changed since."""


@dataclass
class AlarmBulkAcknowledgeResult(Model):
    """What happened to one alarm of a bulk acknowledgement."""

    id: int
    """Identifier that the server assigned."""
    status: Literal["acknowledged", "stale", "not_allowed", "not_found"]
    """`stale` when the occurrence or state has changed since it was seen; `not_allowed` when the
    state does not allow it.
    """
    reason: str
    """The reason in words; empty when acknowledged."""


AlarmEventKind = Literal[
    "raised",
    "escalated",
    "deescalated",
    "cleared",
    "latched",
    "reraised",
    "acknowledged",
    "reset",
    "shelved",
    "unshelved",
    "suppressed",
    "unsuppressed",
    "out_of_service",
    "returned_to_service",
    "commented",
    "rule_changed",
    "faulted",
    "recovered",
    "deleted",
]
"""What happened to an alarm. More kinds may be added."""


@dataclass
class AlarmEvent(Model):
    """An event of the alarm log."""

    epoch: str
    """Identifies the alarm log; offsets of another epoch are not comparable."""
    offset: int
    """Position in the alarm log, without gaps."""
    at: datetime
    """When it happened."""
    recorded_at: datetime
    """When the server recorded it."""
    alarm_id: int
    """Identifier that the server assigned."""
    sensor_id: int
    """Identifier that the server assigned."""
    gateway_id: int
    """Identifier that the server assigned."""
    occurrence: int
    """Number of the alarm's occurrence."""
    state_version: int
    """The alarm's `state_version` after the event."""
    rule_version: int
    """The `rule_version` in force."""
    kind: AlarmEventKind
    """What happened to an alarm. More kinds may be added."""
    before: AlarmState
    """State of an alarm after ISA-18.2. `suppressed` is an alarm whose cause stands, that is
    outside of its schedule, or that is not in use because one of its sensors or a gateway of these
    has `is_active` false; the `comment` of the events `suppressed` and `unsuppressed` says which.
    An alarm that is not in use is not evaluated and its timers stop; when all are in use again it
    is evaluated on the current values, and `no_data` counts from then.
    """
    after: AlarmState
    """State of an alarm after ISA-18.2. `suppressed` is an alarm whose cause stands, that is
    outside of its schedule, or that is not in use because one of its sensors or a gateway of these
    has `is_active` false; the `comment` of the events `suppressed` and `unsuppressed` says which.
    An alarm that is not in use is not evaluated and its timers stop; when all are in use again it
    is evaluated on the current values, and `no_data` counts from then.
    """
    level: str
    """The limit, such as `high_high`; empty when there is none."""
    severity: Severity
    """Severity of an alarm, highest first."""
    value: float | None
    """Value in the sensor's unit; null when there is none."""
    message: str
    """Text of the rule's `message`, filled in."""
    user: str
    """User or API key that did it; empty when the system did."""
    comment: str
    """Comment of the user or the server; empty when there is none."""
    quiet: bool
    """True when the alarm is shelved, suppressed or out of service; such events are only logged."""

    _decoders: ClassVar[Decoders] = {"at": to_datetime, "recorded_at": to_datetime, "value": float}


@dataclass
class AlarmSimulationEvent(Model):
    """An event that the rule would have caused."""

    at: datetime
    """When it happened."""
    kind: AlarmEventKind
    """What happened to an alarm. More kinds may be added."""
    occurrence: int
    """Number of the alarm's occurrence."""
    before: AlarmState
    """State of an alarm after ISA-18.2. `suppressed` is an alarm whose cause stands, that is
    outside of its schedule, or that is not in use because one of its sensors or a gateway of these
    has `is_active` false; the `comment` of the events `suppressed` and `unsuppressed` says which.
    An alarm that is not in use is not evaluated and its timers stop; when all are in use again it
    is evaluated on the current values, and `no_data` counts from then.
    """
    after: AlarmState
    """State of an alarm after ISA-18.2. `suppressed` is an alarm whose cause stands, that is
    outside of its schedule, or that is not in use because one of its sensors or a gateway of these
    has `is_active` false; the `comment` of the events `suppressed` and `unsuppressed` says which.
    An alarm that is not in use is not evaluated and its timers stop; when all are in use again it
    is evaluated on the current values, and `no_data` counts from then.
    """
    level: str
    """The limit, such as `high_high`; empty when there is none."""
    severity: Severity
    """Severity of an alarm, highest first."""
    value: float | None
    """Value in the sensor's unit; null when there is none."""
    message: str
    """Text of the rule's `message`, filled in."""
    comment: str
    """Comment of the user or the server; empty when there is none."""
    quiet: bool
    """True when the alarm is shelved, suppressed or out of service; such events are only logged."""
    notifies: bool
    """True when notifications would have been sent."""

    _decoders: ClassVar[Decoders] = {"at": to_datetime, "value": float}


@dataclass
class AlarmSimulationResult(Model):
    """What the rule would have done."""

    readings: int
    """Number of readings evaluated."""
    events: List[AlarmSimulationEvent]
    """The events, oldest first."""
    truncated: bool
    """True when there were more than 10,000 events; the first ones are listed."""
    state: AlarmState
    """State of an alarm after ISA-18.2. `suppressed` is an alarm whose cause stands, that is
    outside of its schedule, or that is not in use because one of its sensors or a gateway of these
    has `is_active` false; the `comment` of the events `suppressed` and `unsuppressed` says which.
    An alarm that is not in use is not evaluated and its timers stop; when all are in use again it
    is evaluated on the current values, and `no_data` counts from then.
    """

    _decoders: ClassVar[Decoders] = {"events": list_of(AlarmSimulationEvent.from_json)}


@dataclass
class AlarmFlood(Model):
    """A period in which alarms came faster than an operator can handle them."""

    start: datetime
    """Start of the flood."""
    end: datetime
    """End of the flood."""
    alarms: int
    """Number of alarms in the flood."""

    _decoders: ClassVar[Decoders] = {"start": to_datetime, "end": to_datetime}


@dataclass
class AlarmCount(Model):
    """How often an alarm was raised."""

    alarm_id: int
    """Identifier that the server assigned."""
    count: int
    """Number of times."""


@dataclass
class StaleAlarm(Model):
    """An alarm that has stood for more than 24 hours."""

    alarm_id: int
    """Identifier that the server assigned."""
    since: datetime
    """When it was raised."""

    _decoders: ClassVar[Decoders] = {"since": to_datetime}


AlarmCountBySeverity = Dict[str, int]
"""Number of alarms of each severity."""


@dataclass
class AlarmKPI(Model):
    """Key performance indicators of the alarm system."""

    start: datetime
    """Start of the range."""
    end: datetime
    """End of the range, not included."""
    alarms: int
    """Number of alarms announced."""
    per_10_min: List[int]
    """Number of alarms in each ten minutes of the range."""
    average_per_10_min: float
    """Mean number of alarms in ten minutes."""
    peak_per_10_min: int
    """Largest number of alarms in ten minutes."""
    floods: List[AlarmFlood]
    """Alarm floods: from more than 10 to fewer than 5 alarms in ten minutes."""
    flood_share: float
    """Share of the time in floods, 0 to 1."""
    chattering: List[AlarmCount]
    """Alarms that were raised at least 3 times within a minute, most frequent first."""
    chattering_alarms: int
    """Number of chattering alarms."""
    stale: List[StaleAlarm]
    """Alarms that have stood for more than 24 hours."""
    stale_alarms: int
    """Number of stale alarms."""
    top_ten: List[AlarmCount]
    """The ten most frequent alarms."""
    top_ten_share: float
    """Share of the ten most frequent alarms in all, 0 to 1."""
    by_severity: AlarmCountBySeverity
    """Number of alarms of each severity."""
    acknowledged: int
    """Number of acknowledgements."""
    mean_time_to_acknowledge_seconds: float
    """Mean seconds from raised to acknowledged; 0 when none was acknowledged."""
    missed: List[str]
    """Limits that were not met, in words."""

    _decoders: ClassVar[Decoders] = {
        "start": to_datetime,
        "end": to_datetime,
        "average_per_10_min": float,
        "floods": list_of(AlarmFlood.from_json),
        "flood_share": float,
        "chattering": list_of(AlarmCount.from_json),
        "stale": list_of(StaleAlarm.from_json),
        "top_ten": list_of(AlarmCount.from_json),
        "top_ten_share": float,
        "mean_time_to_acknowledge_seconds": float,
    }


@dataclass
class AlarmRuleUpdate(Model):
    """Changes of a rule; members that are absent keep their value. `deadband` and `schedule` are
    removed by null. An object or array that is given replaces the one before as a whole. The
    resulting rule is validated as a whole. With another `kind`, the settings of the old kind are
    removed, and those of the new kind must be given.
    """

    name: str | None = None
    """Display name."""
    kind: AlarmKind | None = None
    """What is evaluated."""
    severity: Severity | None = None
    """Severity of an alarm, highest first."""
    limits: AlarmLimits | None = None
    """Settings of `threshold`: at least one limit. Each must be above the one before, from
    `low_low` to `high_high`.
    """
    range: AlarmRange | None = None
    """Settings of `outside_range` and `inside_range`: a range in the sensor's unit."""
    rate: AlarmRate | None = None
    """Settings of `rate`. The newest reading is compared with the newest one that is at least
    `window_ms` older, and the difference is divided by the time between them. The window keeps
    about 32 readings, so it may be up to 1/32 longer. Nothing is evaluated before there is such a
    reading. A gap longer than twice `window_ms` begins the window again, so a sensor with longer
    gaps never meets the condition: choose a window of at least the usual time between two readings.
    """
    deviation: AlarmDeviation | None = None
    """Settings of `deviation`: either `setpoint` or `sensor_id`, which must be another sensor than
    the alarm's own. A deviation from another sensor is evaluated with each reading of either, on
    the newest of both; the alarm keeps its state while one is missing, cannot be compared or is too
    old.
    """
    no_data_after_ms: int | None = None
    """Setting of `no_data`: milliseconds without a reading, at least 1,000 and at most 30 days.
    Counted from when a reading of the sensor was last received, late ones included, or from when
    the alarm was created or its sensor came back into use, whichever is latest. Any stored reading
    ends it. Time in which the server accepted no readings, and up to 30 s after that for gateways
    to reconnect, does not count.
    """
    expression: AlarmExpression | None = None
    """Settings of `expression`: the condition holds while `text` is true. It is evaluated with each
    reading of an input or of the alarm's own sensor, on the newest readings of all inputs; the
    alarm keeps its state while one is missing, cannot be compared or is too old. Every input must
    be used.

    The text consists of names of inputs, numbers, `true`, `false`, `+ - * /`, `< <= > >= == !=`,
    `and or not` (`&& || !`), `a ? b : c`, parentheses and the functions `abs min max round floor
    ceil`, at most 200 in all. All numbers are floating point. A division by zero faults the alarm
    until the next reading with which it can be evaluated.
    """
    deadband: AlarmDeadband | None | Unset = UNSET
    """How far a value must return beyond a limit before the limit counts as left; null removes it.
    """
    on_delay_ms: int | None = None
    """Milliseconds for which the condition must hold before the alarm is raised, at most 7 days, by
    the effective times of readings. A normal reading at the very end prevents it. Must be 0 or
    absent with `no_data`, whose delay is `no_data_after_ms`.
    """
    off_delay_ms: int | None = None
    """Milliseconds for which the condition must be false before the alarm is cleared, at most 7
    days, by the effective times of readings. A reading beyond the limit at the very end prevents
    it.
    """
    min_samples: int | None = None
    """Number of readings in a row that must meet the condition before the alarm is raised; 0 is 1.
    At most 1 with `no_data`.
    """
    ignore_uncertain: bool | None = None
    """When true, readings of uncertain quality are not compared."""
    latching: bool | None = None
    """When true, the alarm stays after its condition is over until it is reset."""
    realarm_after_ms: int | None = None
    """Milliseconds after which an acknowledged alarm that still stands becomes unacknowledged
    again, but not before its rule was changed or its sensors came back into use: 0 for never, or
    1000 to 604800000 (7 days).
    """
    schedule: AlarmSchedule | None | Unset = UNSET
    """When the alarm may be raised; null means always."""
    suppressed_by: AlarmCauses | None = None
    """Ids of other alarms that are the cause: while one of them stands, this alarm is suppressed.
    """
    labels: AlarmLabels | None = None
    """Labels by name, for filters and routes. A name has letters, digits and `_`, at most 50, and
    does not begin with a digit.
    """
    message: str | None = None
    """Text of the events that raise, with the placeholders `{name}`, `{sensor}`, `{gateway}` (their
    names), `{value}`, `{unit}`, `{limit}`, `{level}`, `{severity}`, `{time}` (UTC) and
    `{label.NAME}`. Any other text in braces is refused. The filled-in text is truncated to 1,000
    characters.
    """
    documentation_url: str | None = None
    """Address of the documentation of the alarm, http or https; empty for none."""
    recommended_action: str | None = None
    """What the operator should do."""

    _decoders: ClassVar[Decoders] = {
        "limits": AlarmLimits.from_json,
        "range": AlarmRange.from_json,
        "rate": AlarmRate.from_json,
        "deviation": AlarmDeviation.from_json,
        "expression": AlarmExpression.from_json,
        "deadband": AlarmDeadband.from_json,
        "schedule": AlarmSchedule.from_json,
    }
    _nullable: ClassVar = frozenset({"deadband", "schedule"})


@dataclass
class AlarmExplanationInput(Model):
    """The newest reading of a sensor of the rule."""

    sensor_id: int
    """Identifier that the server assigned."""
    at: datetime | None
    """Effective time of the reading; null when there is none."""
    value: float | None
    """Value in the sensor's unit; null when there is none."""
    quality: Quality
    """Quality of a value, after OPC UA."""
    compared: bool
    """True when its quality, and its age by `max_age_ms`, allow it to be compared."""

    _decoders: ClassVar[Decoders] = {"at": to_datetime, "value": float}


@dataclass
class AlarmExplanationTimer(Model):
    """A running timer of the alarm."""

    name: str
    """`on_delay`, `off_delay`, `no_data`, `shelf`, `realarm` or `schedule`."""
    level: str
    """The limit that it belongs to; empty for the whole alarm."""
    since: datetime | None
    """When it began; null if unknown."""
    due: datetime | None
    """When it is due; null when it waits for readings."""
    samples: int
    """Number of readings counted for `min_samples`."""

    _decoders: ClassVar[Decoders] = {"since": to_datetime, "due": to_datetime}


@dataclass
class AlarmExplanation(Model):
    """Why an alarm is in its state."""

    at: datetime
    """When this was computed."""
    rule_version: int
    """The `rule_version` in force."""
    state: AlarmState
    """State of an alarm after ISA-18.2. `suppressed` is an alarm whose cause stands, that is
    outside of its schedule, or that is not in use because one of its sensors or a gateway of these
    has `is_active` false; the `comment` of the events `suppressed` and `unsuppressed` says which.
    An alarm that is not in use is not evaluated and its timers stop; when all are in use again it
    is evaluated on the current values, and `no_data` counts from then.
    """
    process: AlarmState
    """State of an alarm after ISA-18.2. `suppressed` is an alarm whose cause stands, that is
    outside of its schedule, or that is not in use because one of its sensors or a gateway of these
    has `is_active` false; the `comment` of the events `suppressed` and `unsuppressed` says which.
    An alarm that is not in use is not evaluated and its timers stop; when all are in use again it
    is evaluated on the current values, and `no_data` counts from then.
    """
    occurrence: int
    """Number of the alarm's occurrence."""
    level: str
    """The limit, such as `high_high`; empty when the alarm does not stand."""
    severity: Severity
    """Severity of an alarm, highest first."""
    inputs: List[AlarmExplanationInput]
    """The newest reading of each sensor of the rule."""
    timers: List[AlarmExplanationTimer]
    """The running timers."""
    why: List[str]
    """The reasons in sentences."""

    _decoders: ClassVar[Decoders] = {
        "at": to_datetime,
        "inputs": list_of(AlarmExplanationInput.from_json),
        "timers": list_of(AlarmExplanationTimer.from_json),
    }


NotificationChannelKind = Literal["webhook", "email", "mqtt"]
"""How a channel sends."""


Recipients = List[str]
"""E-mail addresses."""


@dataclass
class NotificationChannel(Resource):
    """Where notifications are sent."""

    id: int
    """Identifier that the server assigned."""
    name: str
    """Display name."""
    kind: NotificationChannelKind
    """How a channel sends."""
    is_active: bool
    """When false, nothing is sent."""
    origin: str
    """Scheme and host of a webhook; empty for other kinds."""
    recipients: Recipients
    """E-mail addresses."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""

    _decoders: ClassVar[Decoders] = {"created_at": to_datetime, "updated_at": to_datetime}


@dataclass
class NotificationChannelWithSecret(Resource):
    """A new channel with the secret of its webhook."""

    id: int
    """Identifier that the server assigned."""
    name: str
    """Display name."""
    kind: NotificationChannelKind
    """How a channel sends."""
    is_active: bool
    """When false, nothing is sent."""
    origin: str
    """Scheme and host of a webhook; empty for other kinds."""
    recipients: Recipients
    """E-mail addresses."""
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""
    secret: str | None
    """Key that webhooks are signed with; null for other kinds."""

    _decoders: ClassVar[Decoders] = {"created_at": to_datetime, "updated_at": to_datetime}


NotificationDeliveryKind = Literal["notification", "reminder", "escalation", "test"]
"""Why it is sent: `notification` for events, `reminder` and `escalation` for an alarm that stands,
`test` for a test of the channel.
"""


NotificationDeliveryStatus = Literal["gathering", "waiting", "sending", "delivered", "failed"]
"""`gathering` collects events; `waiting` waits for the first or the next attempt; `sending` is
being sent; `delivered` was delivered, which over MQTT means published; `failed` was given up.
"""


@dataclass
class NotificationDelivery(Model):
    """One notification to one channel, with its attempts."""

    id: int
    """Identifier of the delivery."""
    key: str
    """The same in every attempt: `webhook-id` and `Idempotency-Key` of a webhook, Message-ID of an
    e-mail.
    """
    channel_id: int
    """Identifier that the server assigned."""
    route_id: int | None
    """The route; null for a test."""
    kind: NotificationDeliveryKind
    """Why it is sent: `notification` for events, `reminder` and `escalation` for an alarm that
    stands, `test` for a test of the channel.
    """
    status: NotificationDeliveryStatus
    """`gathering` collects events; `waiting` waits for the first or the next attempt; `sending` is
    being sent; `delivered` was delivered, which over MQTT means published; `failed` was given up.
    """
    event_count: int
    """Number of alarm events in it."""
    attempts: int
    """Number of attempts so far."""
    detail: str
    """Result of the last attempt. It may name internal hosts, so it is empty for viewers and
    operators.
    """
    due_at: datetime | None
    """When the next attempt is due; null when it is final."""
    created_at: datetime
    """When it was created."""
    finished_at: datetime | None
    """When it became final; null before."""

    _decoders: ClassVar[Decoders] = {
        "due_at": to_datetime,
        "created_at": to_datetime,
        "finished_at": to_datetime,
    }


NotificationSeverities = List[Severity]
"""Severities that match; empty matches all."""


NotificationEventKinds = List[AlarmEventKind]
"""Event kinds that match; empty is `raised`, `escalated`, `reraised`, `cleared` and `faulted`."""


@dataclass
class NotificationRoute(Resource):
    """Which events go to which channel."""

    id: int
    """Identifier that the server assigned."""
    name: str
    """Display name."""
    is_active: bool
    """When false, no event matches."""
    channel_id: int
    """Identifier that the server assigned."""
    severities: NotificationSeverities
    """Severities that match; empty matches all."""
    events: NotificationEventKinds
    """Event kinds that match; empty is `raised`, `escalated`, `reraised`, `cleared` and `faulted`.
    """
    labels: Tags
    """Free key-value labels, at most 16,384 bytes of JSON."""
    group_seconds: int
    """How long events are grouped into one notification, in seconds; 0 sends at once. MQTT sends
    each event by itself.
    """
    remind_seconds: int
    """Seconds between reminders while the alarm stands and is not acknowledged; 0 is never,
    otherwise at least 60.
    """
    escalate_seconds: int
    """Seconds after which the escalation channel is notified of an alarm that is not acknowledged;
    0 is never.
    """
    escalation_channel_id: int | None
    """Channel for alarms that are not acknowledged in time; null for none."""
    subject: str
    """Subject of a notification. `{alarm}`, `{at}`, `{comment}`, `{gateway}`, `{gateway_key}`,
    `{kind}`, `{message}`, `{sensor}`, `{sensor_key}`, `{severity}`, `{state}`, `{unit}`, `{user}`
    and `{value}` are replaced by what the first event has, `{count}` by the number of events.
    `{gateway}` and `{sensor}` are names; `{at}` is written in the route's `time_zone`, as
    `2026-01-02 04:04:05 CET (+01:00)`. Empty is `[{severity}] {count} × {alarm}: {kind}`.
    """
    line: str
    """Line for each event in an e-mail, with the placeholders of the subject. Empty is `{at}
    [{severity}] {gateway}/{sensor} {alarm}: {kind} {value} {unit} {message}`.
    """
    time_zone: str
    """IANA name of the time zone of times in texts; empty is `OEI_NOTIFY_TIME_ZONE`. JSON is always
    in UTC.
    """
    created_at: datetime
    """When it was created."""
    updated_at: datetime
    """When it was last changed."""

    _decoders: ClassVar[Decoders] = {"created_at": to_datetime, "updated_at": to_datetime}


@dataclass
class NotificationSilence(Model):
    """A time in which notifications of matching alarms are not sent."""

    id: int
    """Identifier that the server assigned."""
    starts_at: datetime
    """When it begins."""
    ends_at: datetime
    """When it ends."""
    alarm_id: int | None
    """Only this alarm; null for any."""
    sensor_id: int | None
    """Only alarms of this sensor; null for any."""
    gateway_id: int | None
    """Only alarms of this gateway; null for any."""
    severities: NotificationSeverities
    """Severities that match; empty matches all."""
    labels: Tags
    """Free key-value labels, at most 16,384 bytes of JSON."""
    reason: str
    """Why it was created."""
    created_by: str
    """Name of the user or API key that created it."""
    ended_by: str | None
    """Name of the user or API key that ended it early; null if it was not."""
    held_back: int
    """Number of events that were not sent."""
    created_at: datetime
    """When it was created."""

    _decoders: ClassVar[Decoders] = {
        "starts_at": to_datetime,
        "ends_at": to_datetime,
        "created_at": to_datetime,
    }


@dataclass
class NotificationEvent(Model):
    """An alarm event as a notification carries it."""

    epoch: str
    """Identifies the alarm log; offsets of another epoch are not comparable."""
    offset: int
    """Position in the alarm log, without gaps."""
    at: datetime
    """When it happened."""
    alarm_id: int
    """Id of the alarm."""
    sensor_id: int
    """Id of the sensor."""
    gateway_id: int
    """Id of the gateway."""
    occurrence: int
    """Number of the alarm's occurrence."""
    state_version: int
    """The alarm's `state_version` after the event; an acknowledgement names it."""
    alarm: str
    """Name of the alarm."""
    sensor: str
    """Key of the sensor."""
    gateway: str
    """Key of the gateway."""
    sensor_name: str
    """Name of the sensor."""
    gateway_name: str
    """Name of the gateway."""
    kind: AlarmEventKind
    """What happened to an alarm. More kinds may be added."""
    state: AlarmState
    """State of an alarm after ISA-18.2. `suppressed` is an alarm whose cause stands, that is
    outside of its schedule, or that is not in use because one of its sensors or a gateway of these
    has `is_active` false; the `comment` of the events `suppressed` and `unsuppressed` says which.
    An alarm that is not in use is not evaluated and its timers stop; when all are in use again it
    is evaluated on the current values, and `no_data` counts from then.
    """
    severity: Severity
    """Severity of an alarm, highest first."""
    level: str
    """The limit, such as `high_high`; empty when there is none."""
    value: float | None
    """Value in the sensor's unit; null when there is none."""
    unit: str
    """Unit of the value."""
    message: str
    """Text of the rule's `message`, filled in."""
    user: str
    """User or API key that did it; empty when the system did."""
    comment: str
    """Comment of the user or the server; empty when there is none."""
    labels: Tags
    """Free key-value labels, at most 16,384 bytes of JSON."""

    _decoders: ClassVar[Decoders] = {"at": to_datetime, "value": float}


@dataclass
class NotificationDeliveryWithEvents(Model):
    """A delivery and the events in it."""

    id: int
    """Identifier of the delivery."""
    key: str
    """The same in every attempt: `webhook-id` and `Idempotency-Key` of a webhook, Message-ID of an
    e-mail.
    """
    channel_id: int
    """Identifier that the server assigned."""
    route_id: int | None
    """The route; null for a test."""
    kind: NotificationDeliveryKind
    """Why it is sent: `notification` for events, `reminder` and `escalation` for an alarm that
    stands, `test` for a test of the channel.
    """
    status: NotificationDeliveryStatus
    """`gathering` collects events; `waiting` waits for the first or the next attempt; `sending` is
    being sent; `delivered` was delivered, which over MQTT means published; `failed` was given up.
    """
    event_count: int
    """Number of alarm events in it."""
    attempts: int
    """Number of attempts so far."""
    detail: str
    """Result of the last attempt. It may name internal hosts, so it is empty for viewers and
    operators.
    """
    due_at: datetime | None
    """When the next attempt is due; null when it is final."""
    created_at: datetime
    """When it was created."""
    finished_at: datetime | None
    """When it became final; null before."""
    events: List[NotificationEvent]
    """The first 100 events."""

    _decoders: ClassVar[Decoders] = {
        "due_at": to_datetime,
        "created_at": to_datetime,
        "finished_at": to_datetime,
        "events": list_of(NotificationEvent.from_json),
    }


@dataclass
class WebSocketTicket(Model):
    """A ticket for one WebSocket connection."""

    ticket: str
    """The ticket, for `/ws?ticket=…`."""
    expires_in: int
    """Seconds until the ticket expires."""


ConnectionStatus = Literal["connected", "disconnected"]
"""Whether the service is available, in one word for simple checks; `dependencies` has the details.
A service whose work is done in this process, such as Redis without `REDIS_URL`, is `connected` as
long as that works.
"""


@dataclass
class Dependency(Model):
    """A part that the service depends on."""

    name: Literal["database", "ingest", "mqtt", "redis"]
    """Name of the dependency. `ingest` is down while a message has waited for more than 30 s to be
    stored.
    """
    kind: Literal["embedded", "external"]
    """`embedded` is part of this process and its children, `external` a service of its own."""
    state: Literal["up", "down"]
    """Whether it works."""
    required: bool
    """Whether the service needs it."""
    latency_ms: float
    """Duration of the check in milliseconds."""
    detail: str
    """What it is, what is wrong, or whose promise an acknowledgement is."""

    _decoders: ClassVar[Decoders] = {"latency_ms": float}


@dataclass
class Health(Model):
    """State of the service and its dependencies."""

    status: Literal["healthy", "degraded", "down"]
    """`healthy`, `degraded` when something that is not required is down, or `down`."""
    timestamp: datetime
    """When this was computed."""
    version: str
    """Version of the program."""
    database: ConnectionStatus
    """State of PostgreSQL, for old clients."""
    redis: ConnectionStatus
    """State of Redis, for old clients."""
    mqtt: ConnectionStatus
    """State of the MQTT broker, for old clients."""
    uptime_seconds: int
    """Seconds since the start."""
    dependencies: List[Dependency]
    """State of each dependency."""

    _decoders: ClassVar[Decoders] = {
        "timestamp": to_datetime,
        "dependencies": list_of(Dependency.from_json),
    }


@dataclass
class Liveness(Model):
    """Answer of a process that is alive."""

    status: Literal["alive"] = "alive"
    """Always `alive`."""


@dataclass
class Readiness(Model):
    """Whether the service accepts requests."""

    status: Literal["ready", "not_ready"]
    """Whether requests are accepted."""
    detail: str
    """What it waits for; empty when ready."""


@dataclass
class Version(Model):
    """Version and origin of the program."""

    version: str
    """Version of the program."""
    commit: str
    """Commit it was built from; empty when unknown."""
    go: str
    """Version of Go it was built with."""


OpenAPIDocument = Dict[str, Any]
"""This document."""


AsyncAPIDocument = Dict[str, Any]
"""The AsyncAPI document."""


@dataclass
class WsAuth(Model):
    """Logs in, or extends the login of an open socket with a newer token of the same user. Answered
    by `authenticated`.
    """

    token: str
    """The access token or API key."""
    type: Literal["auth"] = "auth"
    """Always `auth`."""
    id: str | None = None
    """Chosen by the client; the answer carries the same id."""


@dataclass
class WsPosition(Model):
    """A position in the alarm log, after the event with that offset."""

    epoch: str
    """Identifies the alarm log."""
    offset: int
    """Offset of the last event seen."""


@dataclass
class WsSubscribe(Model):
    """Adds topics, or changes the policy of topics already subscribed to. Answered by `subscribed`
    with the topics that were accepted.
    """

    topics: List[str]
    """Between 1 and 1,000 topics."""
    type: Literal["subscribe"] = "subscribe"
    """Always `subscribe`."""
    batch: bool | None = None
    """Sends the readings of this connection as `sensor_data_batch`; absent keeps the mode."""
    snapshot: bool | None = None
    """Begin with the newest readings, and with the alarms that are not normal."""
    resume: WsPosition | None = None
    """A position in the alarm log, after the event with that offset."""
    policy: Literal["every", "conflate"] | None = None
    """Which readings of these topics are sent: `every` reading, or at most one per sensor in
    `interval_ms` (`conflate`). When several topics match, the one that sends most applies.
    """
    interval_ms: int | None = None
    """With `conflate`: milliseconds between two readings of a sensor."""
    id: str | None = None
    """Chosen by the client; the answer carries the same id."""

    _decoders: ClassVar[Decoders] = {"resume": WsPosition.from_json}


@dataclass
class WsUnsubscribe(Model):
    """Removes topics. Answered by `unsubscribed`."""

    topics: List[str]
    """Between 1 and 1,000 topics."""
    type: Literal["unsubscribe"] = "unsubscribe"
    """Always `unsubscribe`."""
    id: str | None = None
    """Chosen by the client; the answer carries the same id."""


WsClientMessage = Union[WsAuth, WsSubscribe, WsUnsubscribe]
"""A message to the server."""


@dataclass
class WsAuthenticated(Model):
    """The login was accepted."""

    type: Literal["authenticated"] = "authenticated"
    """Always `authenticated`."""
    user_id: int | None = None
    """Id of the user; absent for an API key."""
    api_key_id: int | None = None
    """Id of the API key; absent for a user."""
    expires_at: datetime | None = None
    """When the socket closes with 4401, unless a newer token is sent before; absent for an API key
    that never expires.
    """
    id: str | None = None
    """Chosen by the client; the answer carries the same id."""

    _decoders: ClassVar[Decoders] = {"expires_at": to_datetime}


@dataclass
class WsSubscribed(Model):
    """The topics that were accepted."""

    topics: List[str]
    """The topics."""
    type: Literal["subscribed"] = "subscribed"
    """Always `subscribed`."""
    epoch: str | None = None
    """The alarm log; present with topics of alarms."""
    offset: int | None = None
    """The events that follow come after this one; present with topics of alarms."""
    id: str | None = None
    """Chosen by the client; the answer carries the same id."""


@dataclass
class WsUnsubscribed(Model):
    """The topics that were removed."""

    topics: List[str]
    """The topics."""
    type: Literal["unsubscribed"] = "unsubscribed"
    """Always `unsubscribed`."""
    id: str | None = None
    """Chosen by the client; the answer carries the same id."""


@dataclass
class WsReading(Model):
    """A reading, without its sensor."""

    value: float | None
    """Value in the sensor's unit; null when there is none."""
    timestamp: datetime
    """When the value was measured, by the gateway's clock."""
    quality: Quality
    """Quality of a value, after OPC UA."""

    _decoders: ClassVar[Decoders] = {"value": float, "timestamp": to_datetime}


@dataclass
class WsSensorData(Model):
    """One stored reading."""

    sensor_id: int
    """Identifier that the server assigned."""
    data: WsReading
    """A reading, without its sensor."""
    gateway_id: int
    """Identifier that the server assigned."""
    type: Literal["sensor_data"] = "sensor_data"
    """Always `sensor_data`."""
    sensor_type: str | None = None
    """Type of the sensor; absent for sensors of the server itself."""

    _decoders: ClassVar[Decoders] = {"data": WsReading.from_json}


@dataclass
class WsSensorReading(Model):
    """A reading and its sensor."""

    sensor_id: int
    """Identifier that the server assigned."""
    data: WsReading
    """A reading, without its sensor."""
    gateway_id: int
    """Identifier that the server assigned."""
    sensor_type: str | None = None
    """Type of the sensor; absent for sensors of the server itself."""

    _decoders: ClassVar[Decoders] = {"data": WsReading.from_json}


@dataclass
class WsSensorDataBatch(Model):
    """Several stored readings in one frame, in the order in which they were stored."""

    items: List[WsSensorReading]
    """The readings."""
    type: Literal["sensor_data_batch"] = "sensor_data_batch"
    """Always `sensor_data_batch`."""

    _decoders: ClassVar[Decoders] = {"items": list_of(WsSensorReading.from_json)}


@dataclass
class WsGatewayStatus(Model):
    """The presence of a gateway changed."""

    gateway_id: int
    """Identifier that the server assigned."""
    status: GatewayStatus
    """Presence of the gateway: `unknown` until it is first seen and after a restart of the server.
    """
    timestamp: datetime
    """When it changed."""
    type: Literal["gateway_status"] = "gateway_status"
    """Always `gateway_status`."""

    _decoders: ClassVar[Decoders] = {"timestamp": to_datetime}


@dataclass
class WsAlarm(Model):
    """One event of the alarm log."""

    epoch: str
    """Identifies the alarm log; offsets of another epoch are not comparable."""
    offset: int
    """Position in the alarm log, without gaps."""
    event: AlarmEvent
    """An event of the alarm log."""
    type: Literal["alarm"] = "alarm"
    """Always `alarm`."""

    _decoders: ClassVar[Decoders] = {"event": AlarmEvent.from_json}


@dataclass
class WsSnapshot(Model):
    """The newest readings of the sensors of topics that were just subscribed to."""

    topics: List[str]
    """The topics."""
    items: List[WsSensorReading]
    """The newest readings."""
    more: bool
    """True when another message of the same snapshot follows."""
    type: Literal["snapshot"] = "snapshot"
    """Always `snapshot`."""

    _decoders: ClassVar[Decoders] = {"items": list_of(WsSensorReading.from_json)}


@dataclass
class WsAlarmSnapshot(Model):
    """The alarms that are not normal, as they are after the event with that offset. Events up to
    that offset are included.
    """

    topics: List[str]
    """The topics."""
    epoch: str
    """Identifies the alarm log; offsets of another epoch are not comparable."""
    offset: int
    """Offset of the last event that is included."""
    alarms: List[AlarmEvent]
    """The last event of each alarm, the most severe first, at most 10,000."""
    more: bool
    """True when another message of the same snapshot follows."""
    type: Literal["alarm_snapshot"] = "alarm_snapshot"
    """Always `alarm_snapshot`."""

    _decoders: ClassVar[Decoders] = {"alarms": list_of(AlarmEvent.from_json)}


@dataclass
class WsResync(Model):
    """The client may have missed something. For alarms an `alarm_snapshot` follows, which replaces
    what the client knows; for readings, read them by `GET /api/data` or subscribe again with
    `snapshot`.
    """

    scope: Literal["alarms", "readings"]
    """What may be missing."""
    reason: str
    """The reason in words."""
    type: Literal["resync"] = "resync"
    """Always `resync`."""


@dataclass
class WsLagged(Model):
    """Readings were left out because the client reads too slowly."""

    dropped: int
    """Number of readings left out."""
    type: Literal["lagged"] = "lagged"
    """Always `lagged`."""


@dataclass
class WsPing(Model):
    """Sent every 30 s; needs no answer."""

    time: datetime
    """Time of the server's clock."""
    type: Literal["ping"] = "ping"
    """Always `ping`."""

    _decoders: ClassVar[Decoders] = {"time": to_datetime}


@dataclass
class WsError(Model):
    """A client message could not be carried out; the connection stays open."""

    code: Literal[
        "bad_message",
        "not_authenticated",
        "unknown_topic",
        "too_many_topics",
        "rate_limited",
        "forbidden",
        "unavailable",
        "snapshot_too_large",
    ]
    """What went wrong."""
    detail: str
    """The error in words."""
    type: Literal["error"] = "error"
    """Always `error`."""
    topics: List[str] | None = None
    """The topics that it is about."""
    id: str | None = None
    """Chosen by the client; the answer carries the same id."""


WsServerMessage = Union[
    WsAuthenticated,
    WsSubscribed,
    WsUnsubscribed,
    WsSensorData,
    WsSensorDataBatch,
    WsGatewayStatus,
    WsAlarm,
    WsSnapshot,
    WsAlarmSnapshot,
    WsResync,
    WsLagged,
    WsPing,
    WsError,
]
"""A message from the server. More types and members may be added."""


class ProblemType:
    """Stable identifier of the kind of error, meant for programs. It is a reference relative to the
    root of the service, not a page. More may be added: treat an unknown one by its status.
    """

    INVALID_REQUEST = "/problems/invalid-request"
    """400. The request is not valid; `errors` names the faulty fields."""
    NOT_AUTHENTICATED = "/problems/not-authenticated"
    """401. No valid token or API key, or wrong credentials. Log in."""
    FORBIDDEN = "/problems/forbidden"
    """403. The user's role does not allow the operation."""
    NOT_FOUND = "/problems/not-found"
    """404. The address or the resource does not exist."""
    METHOD_NOT_ALLOWED = "/problems/method-not-allowed"
    """405. The address has no such method; `Allow` lists those it has."""
    TIMEOUT = "/problems/timeout"
    """408. The body did not arrive in time."""
    CONFLICT = "/problems/conflict"
    """409. In conflict with the current state, such as a key that is taken."""
    CHANGED = "/problems/changed"
    """412. The resource has changed since it was read. Read it again."""
    TOO_LARGE = "/problems/too-large"
    """413. The body is larger than allowed."""
    UNSUPPORTED_MEDIA_TYPE = "/problems/unsupported-media-type"
    """415. The content type, charset or coding is not supported."""
    EXPECTATION_FAILED = "/problems/expectation-failed"
    """417. An `Expect` other than `100-continue`."""
    UNPROCESSABLE = "/problems/unprocessable"
    """422. The `Idempotency-Key` was used with another body."""
    UPGRADE_REQUIRED = "/problems/upgrade-required"
    """426. The address is for WebSockets."""
    TOO_MANY_REQUESTS = "/problems/too-many-requests"
    """429. A limit is reached. Wait for `Retry-After`."""
    HEAD_TOO_LARGE = "/problems/head-too-large"
    """431. The head of the request is larger than 32,768 bytes."""
    INTERNAL = "/problems/internal"
    """500. A fault of the server; its log has the reason under `instance`."""
    NOT_IMPLEMENTED = "/problems/not-implemented"
    """501. The transfer coding is not supported."""
    UNAVAILABLE = "/problems/unavailable"
    """503. Temporarily not available. Wait for `Retry-After`."""
    VERSION_NOT_SUPPORTED = "/problems/version-not-supported"
    """505. The HTTP version is not supported."""


@dataclass
class FieldError(Model):
    """A faulty field of the request."""

    field: str
    """Name of the parameter, or path of the member such as `readings[3].value`."""
    reason: str
    """What is wrong, and what would be right."""


@dataclass
class Problem(Model):
    """An error, after RFC 9457."""

    type: str
    """Stable identifier of the kind of error, meant for programs. It is a reference relative to the
    root of the service, not a page. More may be added: treat an unknown one by its status.
    """
    title: str
    """The type in words."""
    status: int
    """The HTTP status code."""
    detail: str
    """This error in words."""
    instance: str
    """The request's id, as in `X-Request-ID`."""
    errors: List[FieldError] | None = None
    """The faulty fields, at most 20."""

    _decoders: ClassVar[Decoders] = {"errors": list_of(FieldError.from_json)}


SERVER_MESSAGES: Dict[str, Any] = {
    "authenticated": WsAuthenticated,
    "subscribed": WsSubscribed,
    "unsubscribed": WsUnsubscribed,
    "sensor_data": WsSensorData,
    "sensor_data_batch": WsSensorDataBatch,
    "gateway_status": WsGatewayStatus,
    "alarm": WsAlarm,
    "snapshot": WsSnapshot,
    "alarm_snapshot": WsAlarmSnapshot,
    "resync": WsResync,
    "lagged": WsLagged,
    "ping": WsPing,
    "error": WsError,
}
