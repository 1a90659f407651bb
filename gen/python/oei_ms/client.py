"""The client: a session with every operation of the contract, and live messages."""

from __future__ import annotations

import ssl
import time
from typing import Any, Callable, Literal, Optional, Sequence, Union

from ._login import Login
from .errors import Error
from .live import Live, follow
from .models import Tokens, WsPosition
from .operations import Operations


class Client(Operations):
    """A client of an OEI-MS server.

        with oei_ms.Client("http://localhost:8000", username="ada", password=password) as client:
            for sensor in client.list_sensors():
                print(sensor.name)

    Log in with `username` and `password`, with an access `token` (or a function that returns one),
    or with an `api_key`; without any of them only operations that need no login can be called. The
    client logs in at the first call and refreshes its session by itself.

    Calls may be made from several threads. A call that the server could not carry out is repeated
    up to `retries` times, after the time that the server asks for; so is one whose answer was lost,
    if it has the same effect when it is carried out twice. `timeout` in seconds bounds each wait
    for the server. The variables `http_proxy`, `https_proxy` and `no_proxy` are obeyed.
    """

    def __init__(
        self,
        url: str,
        *,
        username: Optional[str] = None,
        password: Optional[str] = None,
        token: Union[str, Callable[[], str], None] = None,
        api_key: Optional[str] = None,
        timeout: float = 30.0,
        retries: int = 5,
        ssl_context: Optional[ssl.SSLContext] = None,
    ) -> None:
        login = Login(username=username, password=password, token=token, api_key=api_key)
        super().__init__(url, login, timeout, retries, ssl_context)

    def login(self, username: str, password: str) -> Tokens:
        """Log in, and use the new session for all further calls.

        The password is kept in memory, to log in again when the session has ended.
        """
        since = time.monotonic()
        tokens = super().login(username, password)
        login = Login(username=username, password=password)
        login.call = self._call
        login.adopt(tokens, since)
        self._login = login
        return tokens

    def logout(self) -> None:
        """Log out: the session ends with its tokens and WebSockets."""
        if self._login.began_session:
            super().logout()
        self._login.end()

    def change_password(self, current_password: str, new_password: str) -> None:
        """Change the current user's password. All other sessions of the user end."""
        super().change_password(current_password, new_password)
        if self._login.password is not None:
            self._login.password = new_password

    def live(
        self,
        topics: Union[str, Sequence[str]],
        *,
        snapshot: bool = False,
        policy: Literal["every", "conflate"] = "every",
        interval_ms: Optional[int] = None,
        batch: Optional[bool] = None,
        resume: Optional[WsPosition] = None,
        buffer: int = 10_000,
    ) -> Live:
        """Follow live readings, presence and alarm events.

            for message in client.live(["sensors/1", "alarms"]):
                if isinstance(message, oei_ms.WsAlarm):
                    print(message.event.message)

        It connects again after an interruption and then first yields the alarm events that were
        missed, each once.

        Args:
            topics: One or more of `sensors/{id}`, `gateways/{id}`, `sensors?type={type}`,
                `gateways/status`, `alarms`, `alarms/{severity}`.
            snapshot: Begin with the newest readings, and with the alarms that are not normal.
            policy: `every` reading, or with `conflate` at most one per sensor in `interval_ms`.
            interval_ms: Milliseconds between two readings of a sensor with `conflate`.
            batch: Yield several readings in one WsSensorDataBatch.
            resume: `position` of an earlier Live: begin with the alarm events since then.
            buffer: How many messages are kept for a slow caller. When it is full, the server leaves
                out readings and says so with WsLagged.

        Raises:
            SubscriptionRefused: The server refused a topic when it was first subscribed to.
            SessionEnded: The login has ended and there is no password.
            ConnectionFailed: The server could not be reached at all. Once connected it tries again
                for ever.
        """
        return follow(
            self.open_web_socket,
            self._login,
            topics,
            snapshot=snapshot,
            policy=policy,
            interval_ms=interval_ms,
            batch=batch,
            resume=resume,
            attempts=self._retries,
            buffer=buffer,
        )

    def close(self) -> None:
        """Ends the session that the client began, if the server can be reached, and closes its
        connections. Calls that wait for another attempt fail."""
        if self._login.began_session and not self._closing.is_set():
            try:
                self._call(
                    "POST", "/api/auth/logout", lambda answer: answer.read(), retries=0, timeout=2
                )
            except Error:
                pass
        self._closing.set()
        self._login.end()
        self._connections.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
