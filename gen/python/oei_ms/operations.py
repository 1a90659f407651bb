# Generated from openapi.yaml by ./task gen; do not edit.
"""The operations of the contract as methods."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Dict, List, Literal, Sequence, Union

from ._json import UNSET, Unset
from ._session import (
    Download,
    Pages,
    Session,
    content,
    document,
    location,
    model,
    models,
    new_key,
    nothing,
    segment,
    text,
)
from ._websocket import WebSocket
from .models import (
    APIKey,
    APIKeyWithSecret,
    Aggregate,
    Alarm,
    AlarmBulkAcknowledgeItem,
    AlarmBulkAcknowledgeResult,
    AlarmEvent,
    AlarmEventKind,
    AlarmExplanation,
    AlarmKPI,
    AlarmRule,
    AlarmRuleUpdate,
    AlarmSimulationResult,
    AlarmSort,
    AlarmState,
    Credential,
    CredentialWithSecret,
    DeletionResult,
    DownsampledReadings,
    DownsamplingMethod,
    ExpiringPartition,
    ExportFormat,
    Gateway,
    GatewayStatus,
    Health,
    History,
    HistoryFill,
    IncludedMember,
    Interval,
    LatestReading,
    Liveness,
    Metadata,
    NotificationChannel,
    NotificationChannelKind,
    NotificationChannelWithSecret,
    NotificationDelivery,
    NotificationDeliveryKind,
    NotificationDeliveryStatus,
    NotificationDeliveryWithEvents,
    NotificationEventKinds,
    NotificationRoute,
    NotificationSeverities,
    NotificationSilence,
    Quality,
    Readiness,
    Reading,
    ReadingCreate,
    ReadingsDeletionResult,
    ReadingsWriteResult,
    Recipients,
    Rejection,
    RejectionReason,
    Role,
    Sensor,
    SeriesFormat,
    Severity,
    SortOrder,
    Statistics,
    Tags,
    Tokens,
    User,
    UserDeletionResult,
    Version,
    WebSocketTicket,
)

VERSION = "0.1.0"
"""Version of the contract."""


class Operations(Session):
    """All operations of the contract; Client adds the session to them."""

    def login(self, username: str, password: str) -> Tokens:
        """Log in.

        Exchanges a username and password, sent as JSON or as an OAuth2 password-grant form, for a
        pair of tokens. An unknown user and a wrong password get the same answer. After 10 failures
        for a username from one address, or 100 from one address, within 15 minutes, further
        attempts are answered with 429 until that time has passed.

        Needs no login.

        Args:
            username: Login name.
            password: Password.

        Returns:
            A pair of tokens.
        """
        return self._call(
            "POST",
            "/api/auth/login",
            model(Tokens),
            body={"username": username, "password": password},
            public=True,
        )

    def refresh_session(self, refresh_token: str) -> Tokens:
        """Refresh a login session.

        Exchanges a refresh token for a new pair of tokens. A refresh token is valid for one use.
        Within 30 seconds of its use, and while its successor is unused, the same request is
        answered again with that successor and a new access token, so that a lost answer or two tabs
        that refresh at once do not end the session. Any other second use ends the whole session,
        since the token may have been stolen.

        Needs no login.

        Args:
            refresh_token: The refresh token.

        Returns:
            A pair of tokens.
        """
        return self._call(
            "POST",
            "/api/auth/refresh",
            model(Tokens),
            body={"refresh_token": refresh_token},
            public=True,
        )

    def logout(self) -> None:
        """Log out.

        Ends the login session of the access token with all of its tokens and open sockets.

        Needs the role `viewer`.
        """
        return self._call("POST", "/api/auth/logout", nothing)

    def get_current_user(self) -> User:
        """Get the current user.

        Returns the user of the access token.

        Needs the role `viewer`.

        Returns:
            The user.
        """
        return self._call("GET", "/api/auth/me", model(User))

    def change_password(self, current_password: str, new_password: str) -> None:
        """Change the current user's password.

        Requires the current password. All other sessions of the user end; this one continues.

        Needs the role `viewer`.

        Args:
            current_password: The current password.
            new_password: A password of 10 to 256 characters.
        """
        return self._call(
            "PUT",
            "/api/auth/me/password",
            nothing,
            body={"current_password": current_password, "new_password": new_password},
        )

    def list_users(
        self,
        *,
        username: str | None = None,
        role: Role | None = None,
        is_active: bool | None = None,
        limit: int = 1000,
        count: bool | None = None,
    ) -> Pages[User]:
        """List users.

        Ordered by id.

        Needs the role `admin`.

        Args:
            username: Only the user with this name.
            role: Only users with exactly this role.
            is_active: Only users who may log in (true) or may not (false).
            limit: Size of a page; all pages are read.
            count: Also send `X-Total-Count`. Default: False.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/users",
            User,
            query={
                "username": username,
                "role": role,
                "is_active": is_active,
                "limit": limit,
                "count": count,
            },
        )

    def create_user(
        self,
        username: str,
        email: str,
        role: Role,
        password: str,
        *,
        is_active: bool | None = None,
    ) -> User:
        """Create a user.

        The user logs in with the given password and can change it with `PUT /api/auth/me/password`.

        Needs the role `admin`.

        Args:
            username: Login name; case-sensitive.
            email: E-mail address of the user.
            role: Role of a user or API key; each role includes the ones before it.
            password: A password of 10 to 256 characters.
            is_active: Whether the user may log in. Default: True.

        Returns:
            The new user.
        """
        return self._call(
            "POST",
            "/api/users",
            model(User),
            body={
                "username": username,
                "email": email,
                "role": role,
                "password": password,
                "is_active": is_active,
            },
        )

    def get_user(self, id: int) -> User:
        """Get a user.

        Neither the password nor its hash is returned.

        Needs the role `admin`.

        Args:
            id: Id of the resource.

        Returns:
            The user.
        """
        return self._call("GET", f"/api/users/{id:d}", model(User))

    def update_user(
        self,
        id: int,
        *,
        if_match: str | None = None,
        username: str | None = None,
        email: str | None = None,
        role: Role | None = None,
        password: str | None = None,
        is_active: bool | None = None,
    ) -> User:
        """Update a user.

        Members that are absent keep their value. A new role applies from the next request, within 1
        s on other instances. A new password, or `is_active` false, ends all sessions of the user;
        open sockets are closed within 5 s. The last active admin can neither be disabled nor given
        another role: 409.

        Needs the role `admin`.

        Args:
            id: Id of the resource.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.
            username: Login name; case-sensitive.
            email: E-mail address of the user.
            role: Role of a user or API key; each role includes the ones before it.
            password: A password of 10 to 256 characters.
            is_active: Whether the user may log in.

        Returns:
            The user.
        """
        return self._call(
            "PUT",
            f"/api/users/{id:d}",
            model(User),
            headers={"If-Match": if_match},
            body={
                "username": username,
                "email": email,
                "role": role,
                "password": password,
                "is_active": is_active,
            },
        )

    def delete_user(
        self,
        id: int,
        *,
        dry_run: bool | None = None,
        if_match: str | None = None,
    ) -> UserDeletionResult:
        """Delete a user.

        Ends the user's sessions; open sockets are closed within 5 s. What the user did to alarms
        stays in the alarm log, under the name. The last active admin cannot be deleted: 409.

        Needs the role `admin`.

        Args:
            id: Id of the resource.
            dry_run: Return what would be deleted, and change nothing. Default: False.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.

        Returns:
            What was deleted, or would be.
        """
        return self._call(
            "DELETE",
            f"/api/users/{id:d}",
            model(UserDeletionResult),
            query={"dry_run": dry_run},
            headers={"If-Match": if_match},
        )

    def list_api_keys(
        self,
        *,
        name: str | None = None,
        prefix: str | None = None,
        role: Role | None = None,
        created_by: str | None = None,
        is_expired: bool | None = None,
        unused_since: datetime | None = None,
        limit: int = 1000,
        count: bool | None = None,
    ) -> Pages[APIKey]:
        """List API keys.

        Ordered by id. Neither keys nor their hashes are returned.

        Needs the role `admin`.

        Args:
            name: Only the key with this name.
            prefix: Only the key with this prefix, which is how logs name a key.
            role: Only keys with exactly this role.
            created_by: Only keys that the user with this name created.
            is_expired: Only keys that have expired (true) or have not (false).
            unused_since: Only keys that were created before this instant and not used from it on.
            limit: Size of a page; all pages are read.
            count: Also send `X-Total-Count`. Default: False.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/api-keys",
            APIKey,
            query={
                "name": name,
                "prefix": prefix,
                "role": role,
                "created_by": created_by,
                "is_expired": is_expired,
                "unused_since": unused_since,
                "limit": limit,
                "count": count,
            },
        )

    def create_api_key(
        self,
        name: str,
        role: Role,
        *,
        requests_per_minute: int | None | Unset = UNSET,
        expires_at: datetime | None | Unset = UNSET,
    ) -> APIKeyWithSecret:
        """Create an API key.

        The answer contains the key, which is not shown again: only its hash is stored. A key
        belongs to the system: it stays valid when the user who created it is disabled, deleted or
        given another role; `created_by` finds such keys.

        Needs the role `admin`.

        Args:
            name: What the key is for; unique.
            role: Role of a user or API key; each role includes the ones before it.
            requests_per_minute: How many requests the key may make per minute at one instance, all
                of them at once or evenly; null for the setting
                `OEI_SERVER_API_KEY_REQUESTS_PER_MINUTE`.
            expires_at: From when on the key is refused; null for never.

        Returns:
            The new API key.
        """
        return self._call(
            "POST",
            "/api/api-keys",
            model(APIKeyWithSecret),
            body={
                "name": name,
                "role": role,
                "requests_per_minute": requests_per_minute,
                "expires_at": expires_at,
            },
            nullable=["requests_per_minute", "expires_at"],
        )

    def get_current_api_key(self) -> APIKey:
        """Get the current API key.

        Returns the API key that the request is made with, so that a program can check its key. With
        an access token it is answered with 404; see `GET /api/auth/me`.

        Needs the role `viewer`.

        Returns:
            The API key.
        """
        return self._call("GET", "/api/api-keys/current", model(APIKey))

    def get_api_key(self, id: int) -> APIKey:
        """Get an API key.

        Neither the key nor its hash is returned.

        Needs the role `admin`.

        Args:
            id: Id of the resource.

        Returns:
            The API key, without its secret.
        """
        return self._call("GET", f"/api/api-keys/{id:d}", model(APIKey))

    def update_api_key(
        self,
        id: int,
        *,
        if_match: str | None = None,
        name: str | None = None,
        role: Role | None = None,
        requests_per_minute: int | None | Unset = UNSET,
        expires_at: datetime | None | Unset = UNSET,
    ) -> APIKey:
        """Update an API key.

        Members that are absent keep their value. A change applies from the next request, within 1 s
        on other instances. The key itself cannot be changed: create another and revoke this one.

        Needs the role `admin`.

        Args:
            id: Id of the resource.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.
            name: What the key is for; unique.
            role: Role of a user or API key; each role includes the ones before it.
            requests_per_minute: How many requests the key may make per minute at one instance, all
                of them at once or evenly; null for the setting
                `OEI_SERVER_API_KEY_REQUESTS_PER_MINUTE`.
            expires_at: From when on the key is refused; null for never.

        Returns:
            The API key, without its secret.
        """
        return self._call(
            "PUT",
            f"/api/api-keys/{id:d}",
            model(APIKey),
            headers={"If-Match": if_match},
            body={
                "name": name,
                "role": role,
                "requests_per_minute": requests_per_minute,
                "expires_at": expires_at,
            },
            nullable=["requests_per_minute", "expires_at"],
        )

    def revoke_api_key(self, id: int, *, if_match: str | None = None) -> None:
        """Revoke an API key.

        Deletes the key. Requests with it are refused from then on, within 1 s on other instances;
        open sockets are closed within 5 s. What was done with it stays in the alarm log, under its
        name.

        Needs the role `admin`.

        Args:
            id: Id of the resource.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.
        """
        return self._call(
            "DELETE",
            f"/api/api-keys/{id:d}",
            nothing,
            headers={"If-Match": if_match},
        )

    def list_gateways(
        self,
        *,
        key: str | None = None,
        status: GatewayStatus | None = None,
        is_active: bool | None = None,
        is_system: bool | None = None,
        limit: int = 1000,
        count: bool | None = None,
    ) -> Pages[Gateway]:
        """List gateways.

        Ordered by id. The server's own gateway is included only with `is_system=true`.

        Needs the role `viewer`.

        Args:
            key: Only the gateway with this key.
            status: Only gateways with this presence.
            is_active: Only gateways that are in use (true) or are not (false).
            is_system: Only the server's own (true), whose ids begin at 2000000000, or only those of
                the plant (false). If absent, those of the plant and those that `sensor_id` or
                `gateway_id` name.
            limit: Size of a page; all pages are read.
            count: Also send `X-Total-Count`. Default: False.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/gateways",
            Gateway,
            query={
                "key": key,
                "status": status,
                "is_active": is_active,
                "is_system": is_system,
                "limit": limit,
                "count": count,
            },
        )

    def create_gateway(
        self,
        name: str,
        *,
        key: str | None = None,
        location: str | None = None,
        is_active: bool | None = None,
        metadata: Metadata | None = None,
    ) -> Gateway:
        """Create a gateway.

        The gateway can connect once it has credentials. Without `key` the key is derived from
        `name`: a name that is a valid key is used unchanged; any other is transliterated to
        lower-case Latin letters, with `-` between words ("温度 1" gives `wen-du-1`, "Насос №3" gives
        `nasos-3`), and truncated to 64 characters. The key is `gateway` when no letter or digit
        remains, and begins with `gateway-` when it would be a number that could be an id. When
        another gateway has the key, the first free suffix of `-2`, `-3` and so on is added. The
        answer contains the key.

        Needs the role `engineer`.

        Args:
            name: Display name.
            key: Name of a gateway or sensor in MQTT topics, such as `press-line-1`, an IMEI
                (`356938035643809`) or a MAC address (`00:1b:44:11:3a:b7`). A key of digits alone
                needs at least 11 of them, so that it cannot be mistaken for an id, which has at
                most 10.
            location: Where the gateway or sensor is installed.
            is_active: Whether it is in use. Default: True.
            metadata: Additional data of the gateway, at most 16,384 bytes of JSON.

        Returns:
            The new gateway.
        """
        return self._call(
            "POST",
            "/api/gateways",
            model(Gateway),
            body={
                "name": name,
                "key": key,
                "location": location,
                "is_active": is_active,
                "metadata": metadata,
            },
        )

    def get_gateway(self, id: int) -> Gateway:
        """Get a gateway.

        Returns its description and its presence.

        Needs the role `viewer`.

        Args:
            id: Id of the resource.

        Returns:
            The gateway.
        """
        return self._call("GET", f"/api/gateways/{id:d}", model(Gateway))

    def update_gateway(
        self,
        id: int,
        *,
        if_match: str | None = None,
        key: str | None = None,
        name: str | None = None,
        location: str | None = None,
        is_active: bool | None = None,
        metadata: Metadata | None = None,
    ) -> Gateway:
        """Update a gateway.

        Members that are absent keep their value. `is_active` false refuses its messages and closes
        its connections within 5 s.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.
            key: Name of a gateway or sensor in MQTT topics, such as `press-line-1`, an IMEI
                (`356938035643809`) or a MAC address (`00:1b:44:11:3a:b7`). A key of digits alone
                needs at least 11 of them, so that it cannot be mistaken for an id, which has at
                most 10.
            name: Display name.
            location: Where the gateway or sensor is installed.
            is_active: Whether it is in use.
            metadata: Additional data of the gateway, at most 16,384 bytes of JSON.

        Returns:
            The gateway.
        """
        return self._call(
            "PUT",
            f"/api/gateways/{id:d}",
            model(Gateway),
            headers={"If-Match": if_match},
            body={
                "key": key,
                "name": name,
                "location": location,
                "is_active": is_active,
                "metadata": metadata,
            },
        )

    def delete_gateway(
        self,
        id: int,
        *,
        cascade: bool | None = None,
        dry_run: bool | None = None,
        if_match: str | None = None,
    ) -> DeletionResult:
        """Delete a gateway.

        A gateway that has sensors is deleted only with `cascade=true`, together with the sensors,
        their readings and their alarms; without it the answer is 409 with their number. The
        server's own sensors about the gateway are deleted in any case. Readings are removed in the
        background; the alarm log stays. While an alarm on another gateway's sensor refers to one of
        its sensors, or is suppressed by one of its alarms, the answer is 409, which names that
        alarm.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            cascade: Also delete its sensors and their readings. Default: False.
            dry_run: Return what would be deleted, and change nothing. Default: False.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.

        Returns:
            What was deleted, or would be.
        """
        return self._call(
            "DELETE",
            f"/api/gateways/{id:d}",
            model(DeletionResult),
            query={"cascade": cascade, "dry_run": dry_run},
            headers={"If-Match": if_match},
        )

    def list_credentials(self, id: int) -> List[Credential]:
        """List a gateway's credentials.

        Returns the valid ones, at most two, oldest first, without their secrets.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.

        Returns:
            The valid credentials.
        """
        return self._call("GET", f"/api/gateways/{id:d}/credentials", models(Credential))

    def create_credential(self, id: int) -> CredentialWithSecret:
        """Create a credential of a gateway.

        The secret is returned only in this answer. Two secrets are valid at a time, so that a
        gateway can change to a new one without interruption; a third revokes the oldest, which the
        answer names.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.

        Returns:
            The credential with its secret.
        """
        return self._call("POST", f"/api/gateways/{id:d}/credentials", model(CredentialWithSecret))

    def revoke_credential(self, id: int, credential_id: int) -> None:
        """Revoke a credential.

        The gateway can no longer connect with it; connections opened with it are closed within 5 s.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            credential_id: Id of the credential.
        """
        return self._call("DELETE", f"/api/gateways/{id:d}/credentials/{credential_id:d}", nothing)

    def list_sensors(
        self,
        *,
        gateway_id: int | None = None,
        key: str | None = None,
        type: str | None = None,
        is_active: bool | None = None,
        is_system: bool | None = None,
        limit: int = 1000,
        count: bool | None = None,
    ) -> Pages[Sensor]:
        """List sensors.

        Ordered by id. An unknown `gateway_id` is answered with 400. Sensors of the server's own
        gateway are included only with `is_system=true` or when `gateway_id` names that gateway.

        Needs the role `viewer`.

        Args:
            gateway_id: Only sensors of this gateway.
            key: Only sensors with this key.
            type: Only sensors of this type.
            is_active: Only sensors that are in use (true) or are not (false).
            is_system: Only the server's own (true), whose ids begin at 2000000000, or only those of
                the plant (false). If absent, those of the plant and those that `sensor_id` or
                `gateway_id` name.
            limit: Size of a page; all pages are read.
            count: Also send `X-Total-Count`. Default: False.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/sensors",
            Sensor,
            query={
                "gateway_id": gateway_id,
                "key": key,
                "type": type,
                "is_active": is_active,
                "is_system": is_system,
                "limit": limit,
                "count": count,
            },
        )

    def create_sensor(
        self,
        name: str,
        type: str,
        gateway_id: int,
        *,
        key: str | None = None,
        unit: str | None = None,
        location: str | None = None,
        is_active: bool | None = None,
        min_value: float | None | Unset = UNSET,
        max_value: float | None | Unset = UNSET,
        retention_days: int | None | Unset = UNSET,
        tags: Tags | None = None,
    ) -> Sensor:
        """Create a sensor.

        Readings of unregistered sensors are rejected, so create the sensor before its gateway
        publishes. Without `key` the key is derived from `name` as for a gateway, with `sensor` in
        place of `gateway`, and is unique among the sensors of its gateway.

        Needs the role `engineer`.

        Args:
            name: Display name.
            type: Measured quantity, such as temperature, humidity or pressure.
            gateway_id: Identifier that the server assigned.
            key: Name of a gateway or sensor in MQTT topics, such as `press-line-1`, an IMEI
                (`356938035643809`) or a MAC address (`00:1b:44:11:3a:b7`). A key of digits alone
                needs at least 11 of them, so that it cannot be mistaken for an id, which has at
                most 10.
            unit: Unit of the values, preferably as a UCUM code.
            location: Where the gateway or sensor is installed.
            is_active: Whether it is in use. Default: True.
            min_value: Lower end of the measuring range, in `unit`; a good value below it is stored
                as uncertain. Null is none.
            max_value: Upper end of the measuring range, in `unit`; a good value above it is stored
                as uncertain. Null is none.
            retention_days: Days for which readings of the sensor are kept; 0 is forever and null is
                the default of the server's settings. Older readings are rejected as `too_old`.
                Stored readings and their rollups are removed once their whole partition is expired:
                at most a day later, or an eighth of the retention if that is longer; see `GET
                /api/data/retention`.
            tags: Free key-value labels, at most 16,384 bytes of JSON.

        Returns:
            The new sensor.
        """
        return self._call(
            "POST",
            "/api/sensors",
            model(Sensor),
            body={
                "name": name,
                "type": type,
                "gateway_id": gateway_id,
                "key": key,
                "unit": unit,
                "location": location,
                "is_active": is_active,
                "min_value": min_value,
                "max_value": max_value,
                "retention_days": retention_days,
                "tags": tags,
            },
            nullable=["min_value", "max_value", "retention_days"],
        )

    def get_sensor(self, id: int) -> Sensor:
        """Get a sensor.

        Returns its description; its readings are under `data`.

        Needs the role `viewer`.

        Args:
            id: Id of the resource.

        Returns:
            The sensor.
        """
        return self._call("GET", f"/api/sensors/{id:d}", model(Sensor))

    def update_sensor(
        self,
        id: int,
        *,
        if_match: str | None = None,
        key: str | None = None,
        name: str | None = None,
        type: str | None = None,
        unit: str | None = None,
        location: str | None = None,
        is_active: bool | None = None,
        min_value: float | None | Unset = UNSET,
        max_value: float | None | Unset = UNSET,
        retention_days: int | None | Unset = UNSET,
        tags: Tags | None = None,
    ) -> Sensor:
        """Update a sensor.

        Members that are absent keep their value; `min_value`, `max_value` and `retention_days` are
        removed by null. A sensor stays with its gateway.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.
            key: Name of a gateway or sensor in MQTT topics, such as `press-line-1`, an IMEI
                (`356938035643809`) or a MAC address (`00:1b:44:11:3a:b7`). A key of digits alone
                needs at least 11 of them, so that it cannot be mistaken for an id, which has at
                most 10.
            name: Display name.
            type: Measured quantity, such as temperature, humidity or pressure.
            unit: Unit of the values, preferably as a UCUM code.
            location: Where the gateway or sensor is installed.
            is_active: Whether it is in use.
            min_value: Lower end of the measuring range, in `unit`; a good value below it is stored
                as uncertain. Null is none.
            max_value: Upper end of the measuring range, in `unit`; a good value above it is stored
                as uncertain. Null is none.
            retention_days: Days for which readings of the sensor are kept; 0 is forever and null is
                the default of the server's settings. Older readings are rejected as `too_old`.
                Stored readings and their rollups are removed once their whole partition is expired:
                at most a day later, or an eighth of the retention if that is longer; see `GET
                /api/data/retention`.
            tags: Free key-value labels, at most 16,384 bytes of JSON.

        Returns:
            The sensor.
        """
        return self._call(
            "PUT",
            f"/api/sensors/{id:d}",
            model(Sensor),
            headers={"If-Match": if_match},
            body={
                "key": key,
                "name": name,
                "type": type,
                "unit": unit,
                "location": location,
                "is_active": is_active,
                "min_value": min_value,
                "max_value": max_value,
                "retention_days": retention_days,
                "tags": tags,
            },
            nullable=["min_value", "max_value", "retention_days"],
        )

    def delete_sensor(
        self,
        id: int,
        *,
        dry_run: bool | None = None,
        if_match: str | None = None,
    ) -> DeletionResult:
        """Delete a sensor.

        Its alarms and readings are deleted with it; readings are removed in the background, and the
        alarm log stays. While an alarm on another sensor refers to it, or is suppressed by one of
        its alarms, the answer is 409, which names that alarm. Sensors of the server's own gateway
        cannot be deleted: 409. To stop a sensor and keep its history, set `is_active` to false.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            dry_run: Return what would be deleted, and change nothing. Default: False.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.

        Returns:
            What was deleted, or would be.
        """
        return self._call(
            "DELETE",
            f"/api/sensors/{id:d}",
            model(DeletionResult),
            query={"dry_run": dry_run},
            headers={"If-Match": if_match},
        )

    def list_readings(
        self,
        sensor_id: int | Sequence[int],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        quality: Quality | None = None,
        order: SortOrder | None = None,
        limit: int = 1000,
    ) -> Pages[Reading]:
        """List readings.

        Returns stored readings of one or more sensors, newest first unless `order=asc`. Readings of
        equal time are ordered by sensor id. An unknown sensor is answered with 400. `X-Truncated`
        says whether there are more; the next page is at `Link`, or the same request with
        `X-Next-Cursor` as `cursor`. For more than some thousand readings use `GET
        /api/data/export`. A page of many sensors is subject to the limit on expensive queries, as a
        long history is.

        Needs the role `viewer`.

        Args:
            sensor_id: One or more sensors (`sensor_id=1&sensor_id=2`).
            start: Only readings at this instant or later.
            end: Only readings before this instant.
            quality: Only readings of this quality.
            order: Order by time. Default: "desc".
            limit: Size of a page; all pages are read.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/data",
            Reading,
            query={
                "sensor_id": sensor_id,
                "start": start,
                "end": end,
                "quality": quality,
                "order": order,
                "limit": limit,
            },
        )

    def write_readings(
        self,
        readings: List[ReadingCreate],
        *,
        idempotency_key: str | None = None,
    ) -> ReadingsWriteResult:
        """Write readings.

        Writes up to 5,000 readings through the same pipeline as MQTT, and answers after the commit
        with one outcome per reading, in their order: `stored`; `duplicate` (the sensor has this
        value at this instant; nothing changes); `conflict` (it has another value at this instant;
        the first one stays); `rejected` with a reason. A body that does not match this description
        is refused as a whole, and nothing of it is stored.

        Sending the same body again is harmless: stored readings are then `duplicate`. To get the
        first answer again, send an `Idempotency-Key`: for 24 hours the same key with the same
        readings of the same user or API key is answered as the first time, with
        `Idempotency-Replayed: true`, by every instance. The key with other readings is answered
        with 422. While the first request is in progress the answer is 409 with `Retry-After`. Only
        answers with status 200 are kept: after a 503, or when the server stopped between the commit
        and keeping the answer, the next request with the key is carried out, and stored readings
        are `duplicate`.

        Needs the role `engineer`.

        Args:
            readings: Between 1 and 5,000 readings.
            idempotency_key: Identifies this write among those of the user or API key: visible
                ASCII, preferably random such as a UUID. A random one if absent, so that the call
                can be repeated safely.

        Returns:
            The outcome of each reading.
        """
        return self._call(
            "POST",
            "/api/data",
            model(ReadingsWriteResult),
            headers={"Idempotency-Key": idempotency_key or new_key()},
            body={"readings": readings},
        )

    def delete_readings(
        self,
        sensor_id: int,
        start: datetime,
        end: datetime,
        *,
        dry_run: bool | None = None,
    ) -> ReadingsDeletionResult:
        """Delete readings.

        Deletes the readings of one sensor in a time range permanently. The latest reading becomes
        the newest one that is left, with its timestamp as `received_at`. Alarms on the sensor,
        except `no_data`, are then evaluated on what is left, however old; when nothing is left they
        keep their state. A large range is deleted one day at a time: after an interruption, repeat
        the request to continue.

        Needs the role `admin`.

        Args:
            sensor_id: The sensor.
            start: Delete readings at this instant or later.
            end: Delete readings before this instant.
            dry_run: Return what would be deleted, and change nothing. Default: False.

        Returns:
            What was deleted, or would be.
        """
        return self._call(
            "DELETE",
            "/api/data",
            model(ReadingsDeletionResult),
            query={"sensor_id": sensor_id, "start": start, "end": end, "dry_run": dry_run},
        )

    def preview_retention(self, *, limit: int = 100) -> Pages[ExpiringPartition]:
        """Preview retention.

        Lists what the next pass of retention, within some minutes, will remove; changes nothing.
        Set `retention_days` with care: removed readings cannot be restored.

        Retention removes one partition at a time, once its end is expired for a sensor. A partition
        that no sensor needs is dropped; from other partitions the readings of expired sensors are
        deleted. A partition longer than an eighth of a sensor's retention is not waited for: that
        sensor's readings are deleted from it one day at a time. Rollups are removed with the
        readings, and a sensor without readings has no latest reading. New readings that are older
        than their sensor's retention are rejected as `too_old`.

        Partitions are listed oldest first. Many may be examined to find few, so a page may hold
        fewer than `limit` items, or none, and still have a `Link`.

        Needs the role `engineer`.

        Args:
            limit: Size of a page; all pages are read.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages("/api/data/retention", ExpiringPartition, query={"limit": limit})

    def list_latest_readings(
        self,
        *,
        sensor_id: int | Sequence[int] | None = None,
        gateway_id: int | None = None,
        type: str | None = None,
        is_system: bool | None = None,
        stale_after_seconds: int | None = None,
        include: IncludedMember | None = None,
        limit: int = 1000,
    ) -> Pages[LatestReading]:
        """List latest readings.

        Returns the newest reading of each sensor, ordered by sensor id; sensors without readings
        are omitted. The newest reading is the one with the latest effective time: the earlier of
        its `timestamp` and `received_at`. Without a filter all sensors are listed except those of
        the server's own gateway, which are included with `is_system=true` or when `sensor_id` or
        `gateway_id` names them. Filters are combined. An unknown `sensor_id` or `gateway_id` is
        answered with 400. Each reading says how old it is by the server's clock, and whether that
        is more than `stale_after_seconds`.

        Needs the role `viewer`.

        Args:
            sensor_id: Only these sensors (`sensor_id=1&sensor_id=2`).
            gateway_id: Only sensors of this gateway.
            type: Only sensors of this type.
            is_system: Only the server's own (true), whose ids begin at 2000000000, or only those of
                the plant (false). If absent, those of the plant and those that `sensor_id` or
                `gateway_id` name.
            stale_after_seconds: Seconds after which a reading counts as stale. Default: 300.
            include: What to add to each item. `sensor` adds key, name and unit of the sensor at the
                time of the request: the member `sensor` in JSON, the columns `sensor_key`,
                `sensor_name` and `unit` in an export.
            limit: Size of a page; all pages are read.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/data/latest",
            LatestReading,
            query={
                "sensor_id": sensor_id,
                "gateway_id": gateway_id,
                "type": type,
                "is_system": is_system,
                "stale_after_seconds": stale_after_seconds,
                "include": include,
                "limit": limit,
            },
        )

    def get_history(
        self,
        sensor_id: int | Sequence[int],
        start: datetime,
        end: datetime,
        *,
        interval: Interval | None = None,
        points: int | None = None,
        agg: Aggregate | Sequence[Aggregate] | None = None,
        timezone: str | None = None,
        fill: HistoryFill | None = None,
        format: SeriesFormat | None = None,
        include: IncludedMember | None = None,
        limit: int | None = None,
        if_none_match: str | None = None,
    ) -> History:
        """Get aggregated history.

        Returns aggregates of one or more sensors in buckets of an `interval`, or of the finest
        interval that gives at most `points` buckets. Buckets follow the clock of `timezone`: up to
        an hour they begin where the hour does, up to a day at midnight, weeks on Monday, months on
        their first day; a day on which the clock changes has 23 or 25 hours. A bucket of more than
        an hour ends when the clock first shows, or skips, the start of the next one: an hour that
        occurs twice makes its bucket longer by that hour, a skipped hour makes it shorter or omits
        it. A bucket of an hour or less also ends when the clock changes. So buckets follow each
        other without gap or overlap. Each has its start and its end. Only readings in `[start,
        end)` count, also in the first and the last bucket.

        - `avg`: mean of the values; Average
        - `min`, `max`: smallest and largest value; Minimum, Maximum
        - `sum`: sum of the values; (Total is by time: `time_weighted_avg` times the seconds)
        - `count`: number of readings of any quality; Count is of good ones only
        - `first`, `last`: oldest and newest value; Start, End
        - `delta`: `last` minus `first`; Delta
        - `stddev`: sample standard deviation; null with fewer than two values;
          StandardDeviationSample
        - `time_weighted_avg`: mean when each value holds until the next one; TimeAverage, stepped
        - `percent_good`: percentage of readings of good quality; PercentGood weighs by time

        `time_weighted_avg` includes the value before the range when it is at most a day old. Values
        of bad quality, and readings without a value, count in `count` and `percent_good` only;
        uncertain values count like good ones (TreatUncertainAsBad is false).

        An answer has at most 50,000 points, sensors times buckets. More is answered with 400, which
        names the finest interval that is possible, unless `limit` is given: then `next` is the
        `start` of the rest and `coverage` ends there. A range that has ended is answered with an
        `ETag`. Answers about hours that are over are cached and never older than a second: earlier
        writes and deletions are always seen.

        At most a few expensive queries, such as those of 100,000 readings or more that rollups
        cannot answer, run at once, so that ingest is not delayed. One that waits for longer than
        some seconds is answered with 503 and `Retry-After`. Queries that rollups answer never wait.

        Needs the role `viewer`.

        Args:
            sensor_id: One or more sensors (`sensor_id=1&sensor_id=2`), at most 100.
            start: Start of the range.
            end: End of the range, not included.
            interval: Width of a bucket; not together with `points`.
            points: How many buckets at most, such as the width of a chart in pixels; 500 when
                `interval` is absent too. Not together with `interval`.
            agg: Aggregates to compute (`agg=min&agg=max`); `avg` if absent.
            timezone: Time zone whose clock the buckets follow, by its IANA name. Default: "UTC".
            fill: What stands in buckets without readings. Default: "none".
            format: Shape of the answer. Default: "rows".
            include: What to add to each item. `sensor` adds key, name and unit of the sensor at the
                time of the request: the member `sensor` in JSON, the columns `sensor_key`,
                `sensor_name` and `unit` in an export.
            limit: How many buckets of a sensor at most.
            if_none_match: The `ETag` of an answer that the client has; 304 when it is still
                current.

        Returns:
            The aggregates.
        """
        return self._call(
            "GET",
            "/api/data/history",
            model(History),
            query={
                "sensor_id": sensor_id,
                "start": start,
                "end": end,
                "interval": interval,
                "points": points,
                "agg": agg,
                "timezone": timezone,
                "fill": fill,
                "format": format,
                "include": include,
                "limit": limit,
            },
            headers={"If-None-Match": if_none_match},
        )

    def get_downsampled_readings(
        self,
        sensor_id: int | Sequence[int],
        start: datetime,
        end: datetime,
        *,
        method: DownsamplingMethod | None = None,
        points: int | None = None,
        include: IncludedMember | None = None,
        if_none_match: str | None = None,
    ) -> DownsampledReadings:
        """Get downsampled readings.

        Chooses readings of each sensor that draw like all of them, at most `points` of each. The
        first and the last reading are always chosen, and all readings when there are no more than
        `points`.

        `minmax` chooses the smallest and the largest value of spans of equal length, so no peak is
        lost. `lttb` chooses the readings that span the largest triangles (Largest Triangle Three
        Buckets, Steinarsson 2013) among those that `minmax` chooses in four times as many spans.

        Only readings with a value and of good or uncertain quality in `[start, end)` are chosen. A
        span of 5 minutes or more consists of whole minutes and one of 3 hours or more of whole
        hours, so that rollups tell where the extremes are; the readings are those that would be
        chosen without rollups. `source` says what was used.

        An answer has at most 50,000 points, sensors times `points`; more is answered with 400. A
        range that has ended is answered with an `ETag`. Caching and the limit on expensive queries
        are those of `GET /api/data/history`.

        Needs the role `viewer`.

        Args:
            sensor_id: One or more sensors (`sensor_id=1&sensor_id=2`), at most 100.
            start: Start of the range.
            end: End of the range, not included.
            method: How readings are chosen. Default: "minmax".
            points: How many readings of a sensor at most. Default: 500.
            include: What to add to each item. `sensor` adds key, name and unit of the sensor at the
                time of the request: the member `sensor` in JSON, the columns `sensor_key`,
                `sensor_name` and `unit` in an export.
            if_none_match: The `ETag` of an answer that the client has; 304 when it is still
                current.

        Returns:
            The chosen readings.
        """
        return self._call(
            "GET",
            "/api/data/downsampled",
            model(DownsampledReadings),
            query={
                "sensor_id": sensor_id,
                "start": start,
                "end": end,
                "method": method,
                "points": points,
                "include": include,
            },
            headers={"If-None-Match": if_none_match},
        )

    def get_statistics(
        self,
        sensor_id: int | Sequence[int],
        start: datetime,
        end: datetime,
        *,
        interval: Interval | None = None,
        percentiles: str | Sequence[str] | None = None,
        timezone: str | None = None,
        gap_seconds: int | None = None,
    ) -> Statistics:
        """Get statistics of readings.

        Returns all figures of one or more sensors at once, for the whole range or for each
        `interval` in it, as `GET /api/data/history` defines them. In addition: percentiles,
        interpolated between the two nearest values; gaps, the times between two readings of any
        quality that are longer than `gap_seconds`, where the gap before an interval's first reading
        belongs to that interval; and the rate. Intervals without readings are omitted. An answer
        has at most 5,000 intervals, those of all sensors together.

        Percentiles are exact (`percentile_method`) when the whole answer is about at most 20,000
        usable readings, or when its intervals are about an hour or shorter. Otherwise they come
        from sketches of hours, also where these are not rolled up yet, so that the same query about
        the same readings always has the same answer. A server without rollups is always exact.
        `percentile_error` is the relative error of each of the two values between which a
        percentile lies, usually 0.001, and more where the values of an hour differ by many orders
        of magnitude. All other figures, gaps included, are exact.

        Caching and the limit on expensive queries are those of `GET /api/data/history`.

        Needs the role `viewer`.

        Args:
            sensor_id: One or more sensors (`sensor_id=1&sensor_id=2`), at most 100.
            start: Start of the range.
            end: End of the range, not included.
            interval: Width of the intervals; the whole range if absent.
            percentiles: Percentiles to compute (`percentiles=p50&percentiles=p99`), `p01` to `p99`;
                `p05`, `p50` and `p95` if absent.
            timezone: Time zone whose clock the buckets follow, by its IANA name. Default: "UTC".
            gap_seconds: Seconds after which the time between two readings counts as a gap. Default:
                300.

        Returns:
            The statistics.
        """
        return self._call(
            "GET",
            "/api/data/statistics",
            model(Statistics),
            query={
                "sensor_id": sensor_id,
                "start": start,
                "end": end,
                "interval": interval,
                "percentiles": percentiles,
                "timezone": timezone,
                "gap_seconds": gap_seconds,
            },
        )

    def export_readings(
        self,
        sensor_id: int | Sequence[int],
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        quality: Quality | None = None,
        format: ExportFormat | None = None,
        include: IncludedMember | None = None,
        after: str | None = None,
    ) -> Download:
        """Export readings as a file.

        Streams the stored readings of one or more sensors, of any number, ordered by sensor id,
        then by time. CSV and NDJSON are compressed when the client accepts gzip; Parquet is
        compressed in itself.

        - `csv`: `sensor_id,timestamp,value,quality,status_code` with a header line; null is empty
        - `ndjson`: one `Reading` per line, with more members with `include=sensor`
        - `parquet`: `sensor_id` int32, `timestamp` in µs of UTC, `value` double, `quality` string,
          `status_code` int64; null where absent

        `include=sensor` adds the columns `sensor_key`, `sensor_name` and `unit` after these, as
        they are when the export begins. In CSV, texts are quoted where RFC 4180 requires it, and a
        text that begins with `=`, `+`, `-` or `@` is prefixed with `'`, so that a spreadsheet does
        not evaluate it as a formula.

        A complete export ends with the regular end of the HTTP response. An export that fails is
        cut off, so that a client never takes a part for the whole. To continue a CSV or NDJSON
        export, send the sensor and time of the last complete line as `after`: the answer continues
        after it, without the header line, and can be appended. A Parquet file that was cut off
        cannot be read: export a shorter range.

        Readings are read in chunks: readings that arrive meanwhile for a time already passed are
        not included. Each chunk of a long export is subject to the limit on expensive queries; when
        the first one has to wait for too long the answer is 503.

        Needs the role `viewer`.

        Args:
            sensor_id: One or more sensors (`sensor_id=1&sensor_id=2`).
            start: Only readings at this instant or later.
            end: Only readings before this instant.
            quality: Only readings of this quality.
            format: Format of the file. Default: "csv".
            include: What to add to each item. `sensor` adds key, name and unit of the sensor at the
                time of the request: the member `sensor` in JSON, the columns `sensor_key`,
                `sensor_name` and `unit` in an export.
            after: Continue after this reading, `{sensor_id}@{timestamp}`, the last one of an export
                that was cut off.

        Returns:
            The file.
        """
        return self._download(
            "/api/data/export",
            query={
                "sensor_id": sensor_id,
                "start": start,
                "end": end,
                "quality": quality,
                "format": format,
                "include": include,
                "after": after,
            },
        )

    def list_rejections(
        self,
        *,
        gateway: str | None = None,
        gateway_id: int | None = None,
        reason: RejectionReason | None = None,
        topic: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1000,
        count: bool | None = None,
    ) -> Pages[Rejection]:
        """List rejections.

        Returns payloads and single samples that arrived over MQTT and were rejected, newest first
        by `last_at`. The same rejection of a gateway, on a topic, for a reason, of the same bytes
        is one entry with a count; a repetition moves it to the front. When more than 32 rejections
        come in one transaction, the first of each gateway, topic and reason is kept, and the others
        are counted together in one `folded` entry, so that each rejection is counted. The newest
        10,000 entries of each gateway are kept for 30 days, unless the server's settings say
        otherwise; all unregistered gateways share one such limit. Rejections of `POST /api/data`
        are in its answer only.

        The role `engineer` is needed, although viewers read data: a rejected payload may contain
        anything.

        Needs the role `engineer`.

        Args:
            gateway: Only rejections of the gateway with this key, or named so by the topic.
            gateway_id: Only rejections of this gateway.
            reason: Only rejections for this reason.
            topic: Only rejections on exactly this topic.
            start: Only those with `last_at` at this instant or later.
            end: Only those with `last_at` before this instant.
            limit: Size of a page; all pages are read.
            count: Also send `X-Total-Count`. Default: False.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/data/rejections",
            Rejection,
            query={
                "gateway": gateway,
                "gateway_id": gateway_id,
                "reason": reason,
                "topic": topic,
                "start": start,
                "end": end,
                "limit": limit,
                "count": count,
            },
        )

    def list_alarms(
        self,
        *,
        state: AlarmState | Sequence[AlarmState] | None = None,
        severity: Severity | Sequence[Severity] | None = None,
        sensor_id: int | None = None,
        gateway_id: int | None = None,
        label: str | Sequence[str] | None = None,
        text: str | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        sort: AlarmSort | None = None,
        limit: int = 1000,
        count: bool | None = None,
    ) -> Pages[Alarm]:
        """List alarms.

        Returns rules and states, most severe first unless another order is given. An unknown
        `sensor_id` or `gateway_id` is answered with 400.

        Needs the role `viewer`.

        Args:
            state: Only alarms in one of these states.
            severity: Only alarms of one of these severities.
            sensor_id: Only alarms of this sensor.
            gateway_id: Only alarms of this gateway's sensors.
            label: Only alarms that have all of these labels, each as `name=value`.
            text: Only alarms with this text in their name or message, ignoring case.
            start: Only alarms that entered their state at this instant or later.
            end: Only alarms that entered their state before this instant.
            sort: Order of the list. Default: "severity".
            limit: Size of a page; all pages are read.
            count: Also send `X-Total-Count`. Default: False.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/alarms",
            Alarm,
            query={
                "state": state,
                "severity": severity,
                "sensor_id": sensor_id,
                "gateway_id": gateway_id,
                "label": label,
                "text": text,
                "start": start,
                "end": end,
                "sort": sort,
                "limit": limit,
                "count": count,
            },
        )

    def create_alarm(self, sensor_id: int, rule: AlarmRule) -> Alarm:
        """Create an alarm.

        Creates a rule on a sensor. It is evaluated in the same transaction on the current values of
        its sensors: a value beyond the limit raises the alarm now, or begins its on-delay now. The
        event has the current time as `at`, the value, and a comment that says so. A value is
        current when it is at most 5 minutes old, or at most twice the time between the sensor's two
        newest readings (never more than 2 days); an older value, or one of bad quality, is skipped,
        and the next reading decides. `no_data` counts `no_data_after_ms` from now. All readings
        published after the answer are evaluated by the rule, on every instance. At most 100 alarms
        may refer to one sensor, as their own sensor or as an input of a deviation or an expression
        (`OEI_STORE_ALARMS_PER_SENSOR`, up to 1000); one more is answered with 409, which names the
        sensor and the limit.

        A transaction performs at most 500,000 evaluations: each reading by each alarm that refers
        to its sensor, and 20 for each event. A message or bulk write that needs more is stored in
        several transactions, its readings in order of time, and acknowledged after the last;
        messages of other gateways are stored meanwhile. One that needs more than 20,000,000 in all
        is stored up to there, and the rest of its readings are rejected as `alarm_overload`.

        Needs the role `engineer`.

        Args:
            sensor_id: Identifier that the server assigned.
            rule: What an alarm evaluates. Each kind but `bad_quality` has settings of its own,
                which that kind requires and every other kind refuses: | kind | settings | condition
                is true while | |---|---|---| | `threshold` | `limits` | the value is above `high`
                or `high_high`, or below `low` or `low_low` | | `outside_range` | `range` | the
                value is below `low` or above `high` | | `inside_range` | `range` | the value is
                from `low` to `high`, both included | | `rate` | `rate` | the value changes by more
                than `limit` per `per` | | `deviation` | `deviation` | the value is more than
                `limit` from a setpoint or another sensor | | `no_data` | `no_data_after_ms` | no
                reading has arrived for that long | | `bad_quality` | none | the newest reading is
                of bad quality | | `expression` | `expression` | its text is true | A value equal to
                a limit is not beyond it. **Which readings count.** Each stored reading of the
                rule's sensors is evaluated once, in order of effective time: the earlier of
                timestamp and received time. A reading that is not newer than the newest of its
                sensor is late and changes nothing. A reading of bad quality, or of uncertain
                quality with `ignore_uncertain`, is not compared: it neither raises nor clears,
                on-delay and `min_samples` continue as if it had not arrived, an off-delay begins
                again, and it is not part of a rate. For `no_data` a reading of any quality is a
                sign of life. For `bad_quality` a reading of uncertain quality does not raise; it
                ends the condition only with `ignore_uncertain`. **Raise and clear.** The alarm is
                raised when the condition has held for `on_delay_ms` and for `min_samples` readings
                in a row, by the first reading that meets both or, with a delay, when the delay is
                over. It is cleared when the condition, with the deadband, has been false for
                `off_delay_ms`. Both delays count from the effective time of the first reading that
                said so; at the very instant at which a delay is over, the reading of that instant
                decides. With both delays 0, the reading itself raises and clears. **Several
                limits** are one alarm, whose level is the outermost limit that the value is beyond;
                each limit has its own on-delay. Further out is `escalated` and unacknowledged
                again; further in is `deescalated` after the off-delay. A value that moves from one
                side to the other ends the occurrence and begins another: without delays both at
                that reading, `cleared` first. With delays each side waits for its own; when the new
                side is due first it is `raised` as the next occurrence, and the one before ends
                without `cleared`.

        Returns:
            The new alarm.
        """
        return self._call(
            "POST",
            "/api/alarms",
            model(Alarm),
            body={"sensor_id": sensor_id, "rule": rule},
        )

    def acknowledge_alarms(
        self,
        alarms: List[AlarmBulkAcknowledgeItem],
        *,
        comment: str | None = None,
    ) -> List[AlarmBulkAcknowledgeResult]:
        """Acknowledge several alarms.

        Each alarm is acknowledged by itself; one that is refused does not affect the others.

        Needs the role `operator`.

        Args:
            alarms: Between 1 and 1,000 alarms.
            comment: Recorded in the alarm log; one line of at most 1,000 characters.

        Returns:
            One result per alarm, in their order.
        """
        return self._call(
            "POST",
            "/api/alarms/ack",
            models(AlarmBulkAcknowledgeResult),
            body={"alarms": alarms, "comment": comment},
        )

    def list_alarm_events(
        self,
        *,
        sensor_id: int | None = None,
        gateway_id: int | None = None,
        kind: AlarmEventKind | None = None,
        severity: Severity | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        after: int | None = None,
        limit: int = 1000,
    ) -> Pages[AlarmEvent]:
        """List events of all alarms.

        Returns the alarm log of the plant, ordered by offset, which has no gaps. It keeps the
        events of deleted alarms. An unknown `sensor_id` or `gateway_id` is answered with 400,
        unless it has events.

        Needs the role `viewer`.

        Args:
            sensor_id: Only alarms of this sensor.
            gateway_id: Only alarms of this gateway.
            kind: Only events of this kind.
            severity: Only events of this severity.
            start: Only events at this instant or later.
            end: Only events before this instant.
            after: Only events with a higher offset.
            limit: Size of a page; all pages are read.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/alarms/events",
            AlarmEvent,
            query={
                "sensor_id": sensor_id,
                "gateway_id": gateway_id,
                "kind": kind,
                "severity": severity,
                "start": start,
                "end": end,
                "after": after,
                "limit": limit,
            },
        )

    def simulate_alarm(
        self,
        sensor_id: int,
        rule: AlarmRule,
        start: datetime,
        end: datetime,
    ) -> AlarmSimulationResult:
        """Simulate an alarm rule.

        Evaluates a rule on stored readings with the code that runs live, and returns what it would
        have done. Alarms that it names in `suppressed_by`, and those that suppress them, are
        evaluated on their own readings by their present rules. Commands of users, such as taking a
        cause out of service, are not taken into account. Readings are evaluated in order of their
        timestamps, which `no_data` takes as received times. Nothing is changed. A simulation over
        very many readings is subject to the limit on expensive queries.

        Needs the role `engineer`.

        Args:
            sensor_id: Identifier that the server assigned.
            rule: What an alarm evaluates. Each kind but `bad_quality` has settings of its own,
                which that kind requires and every other kind refuses: | kind | settings | condition
                is true while | |---|---|---| | `threshold` | `limits` | the value is above `high`
                or `high_high`, or below `low` or `low_low` | | `outside_range` | `range` | the
                value is below `low` or above `high` | | `inside_range` | `range` | the value is
                from `low` to `high`, both included | | `rate` | `rate` | the value changes by more
                than `limit` per `per` | | `deviation` | `deviation` | the value is more than
                `limit` from a setpoint or another sensor | | `no_data` | `no_data_after_ms` | no
                reading has arrived for that long | | `bad_quality` | none | the newest reading is
                of bad quality | | `expression` | `expression` | its text is true | A value equal to
                a limit is not beyond it. **Which readings count.** Each stored reading of the
                rule's sensors is evaluated once, in order of effective time: the earlier of
                timestamp and received time. A reading that is not newer than the newest of its
                sensor is late and changes nothing. A reading of bad quality, or of uncertain
                quality with `ignore_uncertain`, is not compared: it neither raises nor clears,
                on-delay and `min_samples` continue as if it had not arrived, an off-delay begins
                again, and it is not part of a rate. For `no_data` a reading of any quality is a
                sign of life. For `bad_quality` a reading of uncertain quality does not raise; it
                ends the condition only with `ignore_uncertain`. **Raise and clear.** The alarm is
                raised when the condition has held for `on_delay_ms` and for `min_samples` readings
                in a row, by the first reading that meets both or, with a delay, when the delay is
                over. It is cleared when the condition, with the deadband, has been false for
                `off_delay_ms`. Both delays count from the effective time of the first reading that
                said so; at the very instant at which a delay is over, the reading of that instant
                decides. With both delays 0, the reading itself raises and clears. **Several
                limits** are one alarm, whose level is the outermost limit that the value is beyond;
                each limit has its own on-delay. Further out is `escalated` and unacknowledged
                again; further in is `deescalated` after the off-delay. A value that moves from one
                side to the other ends the occurrence and begins another: without delays both at
                that reading, `cleared` first. With delays each side waits for its own; when the new
                side is due first it is `raised` as the next occurrence, and the one before ends
                without `cleared`.
            start: Readings from this instant on are evaluated; the newest one before it is only
                known.
            end: End of the range, after `start` and at most 31 days later.

        Returns:
            What the rule would have done.
        """
        return self._call(
            "POST",
            "/api/alarms/simulate",
            model(AlarmSimulationResult),
            body={"sensor_id": sensor_id, "rule": rule, "start": start, "end": end},
        )

    def get_alarm_kpi(
        self,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> AlarmKPI:
        """Get alarm KPIs.

        Covers at most 31 days, and the last 24 hours by default. The figures are compared with the
        limits of EEMUA 191 for one operator: on average 1 and at most 10 alarms in ten minutes; and
        with those of ISA-18.2 and IEC 62682: floods, from more than 10 to fewer than 5 alarms in
        ten minutes, take at most 1 % of the time; at most 5 alarms stand for more than 24 hours; no
        alarm is raised 3 times in a minute; the ten most frequent alarms are at most 5 % of all.

        Needs the role `viewer`.

        Args:
            start: Start of the range; 24 hours before `end` if absent.
            end: End of the range, not included; now if absent.

        Returns:
            The KPIs.
        """
        return self._call(
            "GET",
            "/api/alarms/kpi",
            model(AlarmKPI),
            query={"start": start, "end": end},
        )

    def get_alarm(self, id: int) -> Alarm:
        """Get an alarm.

        Returns its rule and state. The `ETag` is the `rule_version`.

        Needs the role `viewer`.

        Args:
            id: Id of the resource.

        Returns:
            The alarm.
        """
        return self._call("GET", f"/api/alarms/{id:d}", model(Alarm))

    def update_alarm(self, id: int, rule: AlarmRuleUpdate, *, if_match: str | None = None) -> Alarm:
        """Update an alarm.

        Changes the members of the rule that are given; members that are absent keep their value. An
        alarm stays with its sensor. `deadband` and `schedule` are removed by null. Another `kind`
        needs the settings of that kind, and removes those of the kind before. The rule that results
        is validated as a whole. `If-Match` carries the `rule_version`.

        In the same transaction the new rule is evaluated on the current values of its sensors, as
        when an alarm is created: see `POST /api/alarms`. On-delay, off-delay, `min_samples` and the
        window of a rate begin again; `no_data` goes on counting from the newest reading. An alarm
        that cannot be evaluated then keeps its state until the next reading. The limit of alarms
        per sensor applies to sensors that the rule did not refer to before (409, see `POST
        /api/alarms`).

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            rule: Changes of a rule; members that are absent keep their value. `deadband` and
                `schedule` are removed by null. An object or array that is given replaces the one
                before as a whole. The resulting rule is validated as a whole. With another `kind`,
                the settings of the old kind are removed, and those of the new kind must be given.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.

        Returns:
            The alarm.
        """
        return self._call(
            "PUT",
            f"/api/alarms/{id:d}",
            model(Alarm),
            headers={"If-Match": if_match},
            body={"rule": rule},
        )

    def delete_alarm(
        self,
        id: int,
        *,
        dry_run: bool | None = None,
        if_match: str | None = None,
    ) -> DeletionResult:
        """Delete an alarm.

        Its events stay in the alarm log. An alarm that suppresses others is not deleted before
        their rules are changed: 409. To silence an alarm, take it out of service.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            dry_run: Return what would be deleted, and change nothing. Default: False.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.

        Returns:
            What was deleted, or would be.
        """
        return self._call(
            "DELETE",
            f"/api/alarms/{id:d}",
            model(DeletionResult),
            query={"dry_run": dry_run},
            headers={"If-Match": if_match},
        )

    def acknowledge_alarm(
        self,
        id: int,
        occurrence: int,
        state_version: int,
        *,
        comment: str | None = None,
    ) -> Alarm:
        """Acknowledge an alarm.

        Names the occurrence and the `state_version` that were seen; when the alarm has changed
        since, the answer is 409 and nothing is acknowledged.

        Needs the role `operator`.

        Args:
            id: Id of the resource.
            occurrence: The occurrence that was seen; 409 when there is a newer one.
            state_version: The `state_version` that was seen; 409 when the state has changed since.
            comment: Recorded in the alarm log; one line of at most 1,000 characters.

        Returns:
            The alarm.
        """
        return self._call(
            "POST",
            f"/api/alarms/{id:d}/ack",
            model(Alarm),
            body={"occurrence": occurrence, "state_version": state_version, "comment": comment},
        )

    def shelve_alarm(
        self,
        id: int,
        comment: str,
        *,
        duration_seconds: int | None = None,
        one_shot: bool | None = None,
        state_version: int | None = None,
    ) -> Alarm:
        """Shelve an alarm.

        Hides the alarm for at most 8 hours. It is still evaluated and logged, sends no
        notifications, and comes back by itself.

        Needs the role `operator`.

        Args:
            id: Id of the resource.
            comment: Recorded in the alarm log; one line of 1 to 1,000 characters that is not blank.
            duration_seconds: How long in seconds, at most 28,800 (8 hours). Required unless
                `one_shot` is true, which alone means 8 hours.
            one_shot: When true, shelving also ends when the alarm clears. Default: False.
            state_version: The `state_version` that was seen; 409 when the state has changed since.

        Returns:
            The alarm.
        """
        return self._call(
            "POST",
            f"/api/alarms/{id:d}/shelve",
            model(Alarm),
            body={
                "comment": comment,
                "duration_seconds": duration_seconds,
                "one_shot": one_shot,
                "state_version": state_version,
            },
        )

    def unshelve_alarm(
        self,
        id: int,
        *,
        state_version: int | None = None,
        comment: str | None = None,
    ) -> Alarm:
        """Unshelve an alarm.

        Ends shelving early.

        Needs the role `operator`.

        Args:
            id: Id of the resource.
            state_version: The `state_version` that was seen; 409 when the state has changed since.
            comment: Recorded in the alarm log; one line of at most 1,000 characters.

        Returns:
            The alarm.
        """
        return self._call(
            "POST",
            f"/api/alarms/{id:d}/unshelve",
            model(Alarm),
            body={"state_version": state_version, "comment": comment},
        )

    def reset_alarm(
        self,
        id: int,
        *,
        state_version: int | None = None,
        comment: str | None = None,
    ) -> Alarm:
        """Reset a latched alarm.

        Allowed once its condition is over.

        Needs the role `operator`.

        Args:
            id: Id of the resource.
            state_version: The `state_version` that was seen; 409 when the state has changed since.
            comment: Recorded in the alarm log; one line of at most 1,000 characters.

        Returns:
            The alarm.
        """
        return self._call(
            "POST",
            f"/api/alarms/{id:d}/reset",
            model(Alarm),
            body={"state_version": state_version, "comment": comment},
        )

    def take_alarm_out_of_service(
        self,
        id: int,
        comment: str,
        *,
        state_version: int | None = None,
    ) -> Alarm:
        """Take an alarm out of service.

        Lasts until the alarm is returned to service; requires a reason.

        Needs the role `admin`.

        Args:
            id: Id of the resource.
            comment: Recorded in the alarm log; one line of 1 to 1,000 characters that is not blank.
            state_version: The `state_version` that was seen; 409 when the state has changed since.

        Returns:
            The alarm.
        """
        return self._call(
            "POST",
            f"/api/alarms/{id:d}/out-of-service",
            model(Alarm),
            body={"comment": comment, "state_version": state_version},
        )

    def return_alarm_to_service(
        self,
        id: int,
        *,
        state_version: int | None = None,
        comment: str | None = None,
    ) -> Alarm:
        """Return an alarm to service.

        The state is then what the readings say.

        Needs the role `admin`.

        Args:
            id: Id of the resource.
            state_version: The `state_version` that was seen; 409 when the state has changed since.
            comment: Recorded in the alarm log; one line of at most 1,000 characters.

        Returns:
            The alarm.
        """
        return self._call(
            "POST",
            f"/api/alarms/{id:d}/return-to-service",
            model(Alarm),
            body={"state_version": state_version, "comment": comment},
        )

    def comment_on_alarm(self, id: int, comment: str) -> Alarm:
        """Comment on an alarm.

        Adds a comment to the alarm log.

        Needs the role `operator`.

        Args:
            id: Id of the resource.
            comment: Recorded in the alarm log; one line of 1 to 1,000 characters that is not blank.

        Returns:
            The alarm.
        """
        return self._call(
            "POST",
            f"/api/alarms/{id:d}/comments",
            model(Alarm),
            body={"comment": comment},
        )

    def list_events_for_alarm(
        self,
        id: int,
        *,
        kind: AlarmEventKind | None = None,
        severity: Severity | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        after: int | None = None,
        limit: int = 1000,
    ) -> Pages[AlarmEvent]:
        """List events of one alarm.

        Returns its part of the alarm log, oldest first; also of a deleted alarm.

        Needs the role `viewer`.

        Args:
            id: Id of the resource.
            kind: Only events of this kind.
            severity: Only events of this severity.
            start: Only events at this instant or later.
            end: Only events before this instant.
            after: Only events with a higher offset.
            limit: Size of a page; all pages are read.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            f"/api/alarms/{id:d}/events",
            AlarmEvent,
            query={
                "kind": kind,
                "severity": severity,
                "start": start,
                "end": end,
                "after": after,
                "limit": limit,
            },
        )

    def explain_alarm(self, id: int) -> AlarmExplanation:
        """Explain an alarm's state.

        Returns what the alarm evaluates, what it waits for, and the reasons in sentences: also that
        it is not in use, that an input is stale, or that the reading that raised it was deleted.

        Needs the role `viewer`.

        Args:
            id: Id of the resource.

        Returns:
            The reasons.
        """
        return self._call("GET", f"/api/alarms/{id:d}/explain", model(AlarmExplanation))

    def list_notification_channels(self, *, limit: int = 1000) -> Pages[NotificationChannel]:
        """List notification channels.

        Ordered by id, without secrets; of a webhook's address, which may contain one, only scheme
        and host are returned.

        Needs the role `viewer`.

        Args:
            limit: Size of a page; all pages are read.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/notifications/channels",
            NotificationChannel,
            query={"limit": limit},
        )

    def create_notification_channel(
        self,
        name: str,
        kind: NotificationChannelKind,
        *,
        is_active: bool | None = None,
        url: str | None = None,
        secret: str | None = None,
        recipients: Recipients | None = None,
    ) -> NotificationChannelWithSecret:
        """Create a notification channel.

        A webhook needs `url`, e-mail needs `recipients`; MQTT needs neither and publishes each
        event on `alarms/{gateway}/{sensor}`.

        **Webhooks** are signed after [Standard Webhooks](https://www.standardwebhooks.com):
        `webhook-signature` is `v1,` and the base64 of the HMAC-SHA256 of
        `{webhook-id}.{webhook-timestamp}.{body}`, with the bytes that `secret` has in base64 after
        `whsec_` as the key. The secret is generated unless one is given, and is returned only in
        this answer. Refuse a timestamp that is more than 5 minutes off, and ignore a `webhook-id`
        (also sent as `Idempotency-Key`) that was received before: a notification is delivered at
        least once. Any 2xx is success; everything else is retried for about an hour. Redirects are
        not followed. Addresses that are private, of this machine or reserved are refused, at every
        connection, unless `OEI_NOTIFY_ALLOWED_TARGETS` names them.

        Needs the role `engineer`.

        Args:
            name: Display name.
            kind: How a channel sends.
            is_active: When false, nothing is sent. Default: True.
            url: Address that a webhook is posted to. It is never shown again, since it may contain
                a secret.
            secret: `whsec_` and 24 to 64 bytes in base64. It is never shown again.
            recipients: E-mail addresses.

        Returns:
            The new channel with its secret.
        """
        return self._call(
            "POST",
            "/api/notifications/channels",
            model(NotificationChannelWithSecret),
            body={
                "name": name,
                "kind": kind,
                "is_active": is_active,
                "url": url,
                "secret": secret,
                "recipients": recipients,
            },
        )

    def get_notification_channel(self, id: int) -> NotificationChannel:
        """Get a notification channel.

        Returns it without its secret.

        Needs the role `viewer`.

        Args:
            id: Id of the resource.

        Returns:
            The channel.
        """
        return self._call("GET", f"/api/notifications/channels/{id:d}", model(NotificationChannel))

    def update_notification_channel(
        self,
        id: int,
        *,
        if_match: str | None = None,
        name: str | None = None,
        is_active: bool | None = None,
        url: str | None = None,
        secret: str | None = None,
        recipients: Recipients | None = None,
    ) -> NotificationChannel:
        """Update a notification channel.

        Members that are absent keep their value; the kind cannot be changed. Deliveries that wait
        use the new values.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.
            name: Display name.
            is_active: When false, nothing is sent.
            url: Address that a webhook is posted to. It is never shown again, since it may contain
                a secret.
            secret: `whsec_` and 24 to 64 bytes in base64. It is never shown again.
            recipients: E-mail addresses.

        Returns:
            The channel.
        """
        return self._call(
            "PUT",
            f"/api/notifications/channels/{id:d}",
            model(NotificationChannel),
            headers={"If-Match": if_match},
            body={
                "name": name,
                "is_active": is_active,
                "url": url,
                "secret": secret,
                "recipients": recipients,
            },
        )

    def delete_notification_channel(self, id: int, *, if_match: str | None = None) -> None:
        """Delete a notification channel.

        A channel that a route uses cannot be deleted: 409. Deliveries that wait fail.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.
        """
        return self._call(
            "DELETE",
            f"/api/notifications/channels/{id:d}",
            nothing,
            headers={"If-Match": if_match},
        )

    def test_notification_channel(self, id: int) -> NotificationDelivery:
        """Send a test notification.

        Sends a test once, also by a channel that is not in use, waits up to 5 s and returns the
        result. It is listed as a delivery of kind `test`.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.

        Returns:
            The delivery.
        """
        return self._call(
            "POST",
            f"/api/notifications/channels/{id:d}/test",
            model(NotificationDelivery),
        )

    def list_notification_routes(self, *, limit: int = 1000) -> Pages[NotificationRoute]:
        """List notification routes.

        Ordered by id.

        Needs the role `viewer`.

        Args:
            limit: Size of a page; all pages are read.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages("/api/notifications/routes", NotificationRoute, query={"limit": limit})

    def create_notification_route(
        self,
        name: str,
        channel_id: int,
        *,
        is_active: bool | None = None,
        severities: NotificationSeverities | None = None,
        events: NotificationEventKinds | None = None,
        labels: Tags | None = None,
        group_seconds: int | None = None,
        remind_seconds: int | None = None,
        escalate_seconds: int | None = None,
        escalation_channel_id: int | None | Unset = UNSET,
        subject: str | None = None,
        line: str | None = None,
        time_zone: str | None = None,
    ) -> NotificationRoute:
        """Create a notification route.

        An event is sent by every route that it matches: by severity, by labels, all of which the
        alarm must have, and by kind. Events of a route are grouped for `group_seconds` into one
        notification, so that a flood of alarms is a few notifications. A shelved or suppressed
        alarm sends nothing. At most 1,000 routes can exist.

        While an alarm stands and is not acknowledged, a reminder is sent to the channel every
        `remind_seconds`, and the escalation channel is notified once, after `escalate_seconds`.

        Needs the role `engineer`.

        Args:
            name: Display name.
            channel_id: Identifier that the server assigned.
            is_active: When false, no event matches. Default: True.
            severities: Severities that match; empty matches all.
            events: Event kinds that match; empty is `raised`, `escalated`, `reraised`, `cleared`
                and `faulted`.
            labels: Free key-value labels, at most 16,384 bytes of JSON.
            group_seconds: How long events are grouped into one notification, in seconds; 0 sends at
                once. MQTT sends each event by itself. Default: 2.
            remind_seconds: Seconds between reminders while the alarm stands and is not
                acknowledged; 0 is never, otherwise at least 60. Default: 0.
            escalate_seconds: Seconds after which the escalation channel is notified of an alarm
                that is not acknowledged; 0 is never. Default: 0.
            escalation_channel_id: Channel for alarms that are not acknowledged in time; null for
                none.
            subject: Subject of a notification. `{alarm}`, `{at}`, `{comment}`, `{gateway}`,
                `{gateway_key}`, `{kind}`, `{message}`, `{sensor}`, `{sensor_key}`, `{severity}`,
                `{state}`, `{unit}`, `{user}` and `{value}` are replaced by what the first event
                has, `{count}` by the number of events. `{gateway}` and `{sensor}` are names; `{at}`
                is written in the route's `time_zone`, as `2026-01-02 04:04:05 CET (+01:00)`. Empty
                is `[{severity}] {count} × {alarm}: {kind}`.
            line: Line for each event in an e-mail, with the placeholders of the subject. Empty is
                `{at} [{severity}] {gateway}/{sensor} {alarm}: {kind} {value} {unit} {message}`.
            time_zone: IANA name of the time zone of times in texts; empty is
                `OEI_NOTIFY_TIME_ZONE`. JSON is always in UTC.

        Returns:
            The new route.
        """
        return self._call(
            "POST",
            "/api/notifications/routes",
            model(NotificationRoute),
            body={
                "name": name,
                "channel_id": channel_id,
                "is_active": is_active,
                "severities": severities,
                "events": events,
                "labels": labels,
                "group_seconds": group_seconds,
                "remind_seconds": remind_seconds,
                "escalate_seconds": escalate_seconds,
                "escalation_channel_id": escalation_channel_id,
                "subject": subject,
                "line": line,
                "time_zone": time_zone,
            },
            nullable=["escalation_channel_id"],
        )

    def get_notification_route(self, id: int) -> NotificationRoute:
        """Get a notification route.

        Returns what it matches and where it sends.

        Needs the role `viewer`.

        Args:
            id: Id of the resource.

        Returns:
            The route.
        """
        return self._call("GET", f"/api/notifications/routes/{id:d}", model(NotificationRoute))

    def update_notification_route(
        self,
        id: int,
        *,
        if_match: str | None = None,
        name: str | None = None,
        is_active: bool | None = None,
        channel_id: int | None = None,
        severities: NotificationSeverities | None = None,
        events: NotificationEventKinds | None = None,
        labels: Tags | None = None,
        group_seconds: int | None = None,
        remind_seconds: int | None = None,
        escalate_seconds: int | None = None,
        escalation_channel_id: int | None | Unset = UNSET,
        subject: str | None = None,
        line: str | None = None,
        time_zone: str | None = None,
    ) -> NotificationRoute:
        """Update a notification route.

        Members that are absent keep their value. The change applies to events from now on.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.
            name: Display name.
            is_active: When false, no event matches.
            channel_id: Identifier that the server assigned.
            severities: Severities that match; empty matches all.
            events: Event kinds that match; empty is `raised`, `escalated`, `reraised`, `cleared`
                and `faulted`.
            labels: Free key-value labels, at most 16,384 bytes of JSON.
            group_seconds: How long events are grouped into one notification, in seconds; 0 sends at
                once. MQTT sends each event by itself.
            remind_seconds: Seconds between reminders while the alarm stands and is not
                acknowledged; 0 is never, otherwise at least 60.
            escalate_seconds: Seconds after which the escalation channel is notified of an alarm
                that is not acknowledged; 0 is never.
            escalation_channel_id: Channel for alarms that are not acknowledged in time; null for
                none.
            subject: Subject of a notification. `{alarm}`, `{at}`, `{comment}`, `{gateway}`,
                `{gateway_key}`, `{kind}`, `{message}`, `{sensor}`, `{sensor_key}`, `{severity}`,
                `{state}`, `{unit}`, `{user}` and `{value}` are replaced by what the first event
                has, `{count}` by the number of events. `{gateway}` and `{sensor}` are names; `{at}`
                is written in the route's `time_zone`, as `2026-01-02 04:04:05 CET (+01:00)`. Empty
                is `[{severity}] {count} × {alarm}: {kind}`.
            line: Line for each event in an e-mail, with the placeholders of the subject. Empty is
                `{at} [{severity}] {gateway}/{sensor} {alarm}: {kind} {value} {unit} {message}`.
            time_zone: IANA name of the time zone of times in texts; empty is
                `OEI_NOTIFY_TIME_ZONE`. JSON is always in UTC.

        Returns:
            The route.
        """
        return self._call(
            "PUT",
            f"/api/notifications/routes/{id:d}",
            model(NotificationRoute),
            headers={"If-Match": if_match},
            body={
                "name": name,
                "is_active": is_active,
                "channel_id": channel_id,
                "severities": severities,
                "events": events,
                "labels": labels,
                "group_seconds": group_seconds,
                "remind_seconds": remind_seconds,
                "escalate_seconds": escalate_seconds,
                "escalation_channel_id": escalation_channel_id,
                "subject": subject,
                "line": line,
                "time_zone": time_zone,
            },
            nullable=["escalation_channel_id"],
        )

    def delete_notification_route(self, id: int, *, if_match: str | None = None) -> None:
        """Delete a notification route.

        Events that it has grouped are still sent; reminders end.

        Needs the role `engineer`.

        Args:
            id: Id of the resource.
            if_match: The `ETag` that the change is based on; 412 when it is no longer current.
        """
        return self._call(
            "DELETE",
            f"/api/notifications/routes/{id:d}",
            nothing,
            headers={"If-Match": if_match},
        )

    def list_notification_silences(
        self,
        *,
        current: bool | None = None,
        limit: int = 1000,
    ) -> Pages[NotificationSilence]:
        """List silences.

        Newest first. Silences that have ended are listed for as long as deliveries are.

        Needs the role `viewer`.

        Args:
            current: Only silences that have not ended. Default: False.
            limit: Size of a page; all pages are read.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/notifications/silences",
            NotificationSilence,
            query={"current": current, "limit": limit},
        )

    def create_notification_silence(
        self,
        ends_at: datetime,
        reason: str,
        *,
        starts_at: datetime | None = None,
        alarm_id: int | None = None,
        sensor_id: int | None = None,
        gateway_id: int | None = None,
        severities: NotificationSeverities | None = None,
        labels: Tags | None = None,
    ) -> NotificationSilence:
        """Create a silence.

        No notifications are sent for the alarms that it names, from `starts_at` (now, if absent)
        until `ends_at`, at most 90 days later. What is absent matches any alarm, but at least one
        condition is required. Alarms themselves are not affected, and reminders and escalations
        that are due meanwhile follow at the end if the alarm still stands.

        Needs the role `operator`.

        Args:
            ends_at: When it ends, at most 90 days after `starts_at`.
            reason: Why, at most 500 characters.
            starts_at: When it begins; now if absent.
            alarm_id: Identifier that the server assigned.
            sensor_id: Identifier that the server assigned.
            gateway_id: Identifier that the server assigned.
            severities: Severities that match; empty matches all.
            labels: Free key-value labels, at most 16,384 bytes of JSON.

        Returns:
            The new silence.
        """
        return self._call(
            "POST",
            "/api/notifications/silences",
            model(NotificationSilence),
            body={
                "ends_at": ends_at,
                "reason": reason,
                "starts_at": starts_at,
                "alarm_id": alarm_id,
                "sensor_id": sensor_id,
                "gateway_id": gateway_id,
                "severities": severities,
                "labels": labels,
            },
        )

    def get_notification_silence(self, id: int) -> NotificationSilence:
        """Get a silence.

        Returns it with its creator and the number of events that it held back.

        Needs the role `viewer`.

        Args:
            id: Id of the resource.

        Returns:
            The silence.
        """
        return self._call("GET", f"/api/notifications/silences/{id:d}", model(NotificationSilence))

    def end_notification_silence(self, id: int) -> NotificationSilence:
        """End a silence early.

        The silence stays listed, with the user who ended it. One that has ended is answered with
        409.

        Needs the role `operator`.

        Args:
            id: Id of the resource.

        Returns:
            The silence.
        """
        return self._call(
            "POST",
            f"/api/notifications/silences/{id:d}/end",
            model(NotificationSilence),
        )

    def list_notification_deliveries(
        self,
        *,
        channel_id: int | None = None,
        route_id: int | None = None,
        alarm_id: int | None = None,
        kind: NotificationDeliveryKind | None = None,
        status: NotificationDeliveryStatus | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
        limit: int = 1000,
        count: bool | None = None,
    ) -> Pages[NotificationDelivery]:
        """List deliveries.

        Returns the outbox and its log, newest first: what waits, what was delivered and what
        failed. Finished deliveries are kept for 30 days, unless the server's settings say
        otherwise.

        Needs the role `viewer`.

        Args:
            channel_id: Only deliveries to this channel.
            route_id: Only deliveries of this route.
            alarm_id: Only deliveries with an event of this alarm among their first 100.
            kind: Only deliveries of this kind.
            status: Only deliveries with this status.
            start: Only deliveries created at this instant or later.
            end: Only deliveries created before this instant.
            limit: Size of a page; all pages are read.
            count: Also send `X-Total-Count`. Default: False.

        Returns:
            The items of all pages, read as they are needed.
        """
        return self._pages(
            "/api/notifications/deliveries",
            NotificationDelivery,
            query={
                "channel_id": channel_id,
                "route_id": route_id,
                "alarm_id": alarm_id,
                "kind": kind,
                "status": status,
                "start": start,
                "end": end,
                "limit": limit,
                "count": count,
            },
        )

    def get_notification_delivery(self, id: int) -> NotificationDeliveryWithEvents:
        """Get a delivery.

        Returns it with its first 100 events.

        Needs the role `viewer`.

        Args:
            id: Id of the delivery.

        Returns:
            The delivery.
        """
        return self._call(
            "GET",
            f"/api/notifications/deliveries/{id:d}",
            model(NotificationDeliveryWithEvents),
        )

    def open_web_socket(
        self,
        *,
        topic: str | Sequence[str] | None = None,
        ticket: str | None = None,
    ) -> WebSocket:
        """Open a WebSocket.

        Each text frame is one JSON message with a `type`: `WsClientMessage` to the server,
        `WsServerMessage` from it. Ignore types and members that are unknown: more may be added.

        **Log in** with an `Authorization` or `X-API-Key` header, with a `ticket` (for browsers,
        which cannot set headers), or by sending an `auth` message with the access token or API key
        within 5 s; never put a token or key into the address. The answer is `authenticated`. Send
        `auth` again with a newer token of the same user before `expires_at`, or the socket closes
        with 4401.

        **Subscribe** with `subscribe`; the answer, `subscribed`, names the topics that were
        accepted, an `error` those that were not. Topics in the address (`/ws?topic=alarms`) are
        subscribed to after the login, all of them or none.

        - `sensors/{id}`: the sensor's readings
        - `gateways/{id}`: the readings of all its sensors, and its presence
        - `sensors?type=temperature`: the readings of all sensors of a type, except the server's
          own; the type is not escaped
        - `gateways/status`: the presence of every gateway except the server's own
        - `alarms`: the alarm log
        - `alarms/{severity}`: the events of `critical`, `major`, `minor` or `warning` alarms

        **Readings** are sent after their commit, once, however many topics they match, and in the
        order in which they are stored: a late reading, or one of a slower instance, follows a newer
        one of its sensor. The newest reading of a sensor is the one with the latest effective time,
        the earlier of its `timestamp` and its received time. `policy` says how many are sent:
        `every` one, the default, or `conflate`, at most one per sensor in `interval_ms`, the
        newest. A client that reads too slowly gets the newest of each sensor in any case and is
        told how many were left out (`lagged`); read those by `GET /api/data`. With `batch` several
        readings are sent in one frame. With `snapshot` the newest reading of each sensor is sent
        first, in `snapshot` messages, the last of which has `more` false; then those stored since,
        none missing and none twice.

        **Alarm events** are complete and in order. Each has the `offset` after the one before it in
        the log `epoch`, without gaps when the topic is `alarms`. To miss nothing, keep both of the
        last message that had them (`alarm`, `subscribed`, `alarm_snapshot`) and send them as
        `resume` in the first `subscribe` to alarms of the next connection, on any instance: the
        events since then follow. When the log does not continue from there the server sends
        `resync` (scope `alarms`) and an `alarm_snapshot`: replace what the client knows about
        alarms by it. With `snapshot` and no `resume` the alarms that are not normal are sent first,
        as they are after the event `offset`. A client that reads events too slowly is closed with
        4413.

        `resync` with scope `readings` says that readings stored by another instance may have been
        missed: read them by `GET /api/data`, or subscribe again with `snapshot`. `ping` is sent
        every 30 s with the server's time, for clients that cannot see WebSocket pings. Those are
        sent every 6 s and must be answered: a client that is silent for 12 s is closed.

        - 1001: the server is stopping; yes, after a random delay of some seconds
        - 1006, 1011, 1012: the connection broke; yes, after a random delay that doubles with each
          failure, up to 30 s
        - 1009: a frame over 64 KiB, or over 4 KiB before the login; no
        - 1013: the client is too slow or silent, or the server is overloaded; yes, after at least 5
          s
        - 4400: protocol violation; no
        - 4401: token or session has ended; with a new token
        - 4403: not allowed; no
        - 4408: no login within 5 s; yes, and log in at once
        - 4413: alarm events came faster than they were read; yes, at once, with `resume`
        - 4429: over a limit of connections or messages; yes, after at least 5 s

        **Limits**, unless the server's settings say otherwise: a client sends text frames of at
        most 64 KiB (4 KiB before the login), 20 per second after the first 100 (further ones are
        not read and answered by an `error`; 20 of those in a row end the connection), and at most
        20 messages that cannot be understood; it has 1,000 topics; a user or API key has 100
        connections, an address 2,000. Too many handshakes per second are answered with 429; try
        again after a random delay.

        Needs the role `viewer`.

        Args:
            topic: One or more topics to subscribe to from the start, at most 20. One that does not
                exist is answered with 400; when the login comes in an `auth` message, the
                connection is closed with 4403 after it.
            ticket: Log in with this ticket, not with the session.

        Returns:
            The connection becomes a WebSocket.
        """
        return self._open("/ws", query={"topic": topic, "ticket": ticket})

    def open_sensor_web_socket(self, id: int, *, ticket: str | None = None) -> WebSocket:
        """Open a WebSocket for one sensor.

        Use `/ws?topic=sensors/{id}`, which does the same. An unknown sensor is answered with 404;
        when the login comes in an `auth` message, the connection is closed with 4403 after it.

        Deprecated: a later version of the server will not have it.

        Needs the role `viewer`.

        Args:
            id: Id of the resource.
            ticket: Log in with this ticket, not with the session.

        Returns:
            The connection becomes a WebSocket.
        """
        return self._open(f"/ws/sensors/{id:d}", query={"ticket": ticket})

    def open_alarm_web_socket(self, *, ticket: str | None = None) -> WebSocket:
        """Open a WebSocket for alarm events.

        Use `/ws?topic=alarms`, which does the same, or, to miss nothing, `/ws` and `subscribe` with
        `resume`.

        Deprecated: a later version of the server will not have it.

        Needs the role `viewer`.

        Args:
            ticket: Log in with this ticket, not with the session.

        Returns:
            The connection becomes a WebSocket.
        """
        return self._open("/ws/alarms", query={"ticket": ticket})

    def create_web_socket_ticket(self) -> WebSocketTicket:
        """Create a WebSocket ticket.

        Valid for one connection within 30 s, in the login session of the access token.

        Needs the role `viewer`.

        Returns:
            The ticket, for `/ws?ticket=…`.
        """
        return self._call("POST", "/api/ws/ticket", model(WebSocketTicket))

    def get_health(self) -> Health:
        """Get the health of the service.

        Answered with 503 when a dependency that the service needs is down.

        Needs no login.

        Returns:
            The service works (`healthy`), or a dependency that it does not need is down
                (`degraded`).
        """
        return self._call("GET", "/health", model(Health), public=True, expected=[503])

    def get_liveness(self) -> Liveness:
        """Check liveness.

        Answered with 200 as long as the process answers. Restart the process when this fails.

        Needs no login.

        Returns:
            The process is alive.
        """
        return self._call("GET", "/health/live", model(Liveness), public=True)

    def get_readiness(self) -> Readiness:
        """Check readiness.

        Answered with 503 while the service starts or stops and while the database does not answer.
        Send it no requests then.

        Needs no login.

        Returns:
            The service accepts requests.
        """
        return self._call("GET", "/health/ready", model(Readiness), public=True, expected=[503])

    def get_metrics(self) -> str:
        """Get metrics for Prometheus.

        Returns counts and durations only. Rejections are counted by reason and gateway: a gateway
        is identified by its id, and only the first 100 with rejections since the start have a label
        of their own; others are `other`, unregistered ones `none`. There are no names of users,
        gateways or sensors. No login is required, so do not expose this address to the public.

        Among the metrics are `http_requests_total` and `http_request_duration_seconds` (labels
        `operation`, `method`, `endpoint` as the path in this contract, and for the former `status`;
        all but `status` are `none` for requests outside of the contract) and
        `websocket_connections_active`.

        Needs no login.

        Returns:
            The metrics.
        """
        return self._call("GET", "/metrics", text, public=True)

    def get_version(self) -> Version:
        """Get the version.

        Returns version and origin of the program.

        Needs no login.

        Returns:
            The version.
        """
        return self._call("GET", "/version", model(Version), public=True)

    def get_open_api(self) -> Dict[str, Any]:
        """Get this document as JSON.

        For generators and documentation pages.

        Needs no login.

        Returns:
            The contract.
        """
        return self._call("GET", "/openapi.json", document, public=True)

    def get_async_api_text(self) -> str:
        """Get the contract of MQTT and WebSocket.

        AsyncAPI 3.0: topics, messages, reason codes, close codes and limits, with the schemas and
        this server's addresses.

        Needs no login.

        Returns:
            The document.
        """
        return self._call("GET", "/asyncapi.yaml", text, public=True)

    def get_async_api(self) -> Dict[str, Any]:
        """Get the contract of MQTT and WebSocket as JSON.

        The document of `/asyncapi.yaml` as JSON.

        Needs no login.

        Returns:
            The document.
        """
        return self._call("GET", "/asyncapi.json", document, public=True)

    def get_root(self) -> str:
        """Redirect to the documentation.

        Redirects to `/docs`.

        Needs no login.

        Returns:
            A redirect to `/docs`.
        """
        return self._call("GET", "/", location, public=True)

    def get_docs(self) -> str:
        """Open the interactive documentation.

        Swagger UI. Its Authorize button logs in with username and password.

        Needs no login.

        Returns:
            The page; all of its parts come from this server.
        """
        return self._call("GET", "/docs", text, public=True)

    def get_docs_asset(self, file: str) -> bytes:
        """Get an asset of the documentation pages.

        Scripts and styles of `/docs`, `/redoc` and `/asyncapi`, so that they need no other server.

        Needs no login.

        Args:
            file: Name of the file.

        Returns:
            The file.
        """
        return self._call("GET", f"/docs/assets/{segment(file)}", content, public=True)

    def get_guide_page(self, page: str) -> str:
        """Get a page of the guide.

        Returns a page of the documentation as HTML. `index` lists all pages.

        Needs no login.

        Args:
            page: Name of the page.

        Returns:
            The page; all of its parts come from this server.
        """
        return self._call("GET", f"/docs/guide/{segment(page)}", text, public=True)

    def get_redoc(self) -> str:
        """Open the reference documentation.

        This document, rendered by Redoc.

        Needs no login.

        Returns:
            The page; all of its parts come from this server.
        """
        return self._call("GET", "/redoc", text, public=True)

    def get_async_api_page(self) -> str:
        """Open the documentation of MQTT and WebSocket.

        The document of `/asyncapi.yaml`, rendered by Redoc.

        Needs no login.

        Returns:
            The page; all of its parts come from this server.
        """
        return self._call("GET", "/asyncapi", text, public=True)
