"""Live readings, presence and alarm events, through restarts of the server."""

from __future__ import annotations

import queue
import random
import threading
import time
from typing import Any, Callable, Iterator, List, Literal, Optional, Sequence, Tuple, Union

from ._login import Login
from ._problem import ProblemError
from ._websocket import WebSocket, WebSocketClosed
from .errors import ConnectionFailed, Error, InvalidAnswer, SessionEnded, SubscriptionRefused
from .models import (
    WsAlarm,
    WsAlarmSnapshot,
    WsAuth,
    WsError,
    WsGatewayStatus,
    WsLagged,
    WsPosition,
    WsResync,
    WsSensorData,
    WsSensorDataBatch,
    WsServerMessage,
    WsSnapshot,
    WsSubscribe,
    WsSubscribed,
)

LiveMessage = Union[
    WsSensorData,
    WsSensorDataBatch,
    WsGatewayStatus,
    WsAlarm,
    WsSnapshot,
    WsAlarmSnapshot,
    WsResync,
    WsLagged,
    WsError,
]
"""What a Live yields. Tell them apart by class, or by `type`."""

LiveState = Literal["connecting", "live", "waiting", "closed"]
"""State of a Live: `waiting` for the next attempt, or `live` once the server has the topics."""

MAX_BACKOFF_SECONDS = 30.0
MAX_SILENCE_SECONDS = 20.0
"""The server sends a ping every 6 s; a connection that is silent for longer is broken."""
TICK_SECONDS = 1.0

_FINAL_CODES = {1009, 4400, 4403}  # connecting again would end alike
_FIXED_DELAYS = {1001: 1.0, 1013: 5.0, 4401: 0.0, 4408: 0.0, 4413: 0.0, 4429: 5.0}
_NEVER_VALID = {"unknown_topic", "too_many_topics", "forbidden", "bad_message"}
_MESSAGES = LiveMessage.__args__  # type: ignore[attr-defined]


class Live(Iterator[LiveMessage]):
    """An iterator over live messages, made by Client.live.

    A thread of its own receives, answers pings, renews the login and connects again, so that
    messages may be handled slowly. Alarm events are complete and in order: after an interruption
    the missed ones follow. Readings of an interruption are not sent later; a WsResync with scope
    `readings` tells of it. Leave it with `with` or `close`; it also ends when nothing refers to it.
    """

    def __init__(self, feed: _Feed) -> None:
        self._feed = feed
        self.position: Optional[WsPosition] = feed.position
        """Position in the alarm log after the last message that was yielded. Store it, and give it
        to the next `Client.live` as `resume`."""
        feed.thread.start()

    @property
    def state(self) -> LiveState:
        """How the connection is."""
        return self._feed.state

    def __iter__(self) -> Live:
        return self

    def __next__(self) -> LiveMessage:
        while True:
            message = self.get(timeout=3600)
            if message is not None:
                return message

    def get(self, timeout: float) -> Optional[LiveMessage]:
        """Returns the next message; None when there is none within a timeout in seconds.

        Raises StopIteration when it is closed.
        """
        deadline = time.monotonic() + timeout
        while not self._feed.closing.is_set():
            wait = min(1.0, deadline - time.monotonic())  # some systems cannot interrupt long waits
            try:
                item, position = self._feed.items.get(timeout=max(0.0, wait))
            except queue.Empty:
                if time.monotonic() >= deadline:
                    return None
                continue
            if isinstance(item, BaseException):
                self.close()
                raise item
            if item is not None:
                self.position = position
                return item
        raise StopIteration

    def close(self) -> None:
        """Ends the connection. May be called from any thread."""
        self._feed.close()

    def __enter__(self) -> Live:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        if hasattr(self, "_feed"):
            self._feed.close()


Item = Tuple[Union[LiveMessage, BaseException, None], Optional[WsPosition]]


class _Feed:
    """The thread of a Live. It does not refer to the Live, so that this can be collected."""

    def __init__(
        self, open_socket: Callable[[], WebSocket], login: Login, subscribe: WsSubscribe,
        attempts: int, buffer: int,
    ) -> None:
        self.closing = threading.Event()
        self.items: queue.Queue[Item] = queue.Queue(maxsize=buffer)
        self.position = subscribe.resume
        self.state: LiveState = "connecting"
        self.thread = threading.Thread(target=self._run, name="oei-ms live", daemon=True)
        self._open, self._login, self._subscribe = open_socket, login, subscribe
        self._attempts = attempts  # to connect for the first time
        self._socket: Optional[WebSocket] = None
        self._lost_at: Optional[float] = None
        self._was_live = False
        self._has_readings = any(not _is_alarm_topic(topic) for topic in subscribe.topics)
        # A snapshot of alarms that is not complete is not a position to resume from.
        self._awaits_snapshot = self.position is None and bool(subscribe.snapshot)

    def close(self) -> None:
        """Ends the thread."""
        self.closing.set()
        socket = self._socket
        if socket is not None:
            socket.abort()
        try:
            self.items.put_nowait((None, None))  # wakes a waiting reader
        except queue.Full:
            pass

    def _run(self) -> None:
        failures = 0
        while not self.closing.is_set():
            self.state = "connecting"
            delay = self._backoff(failures)
            try:
                self._follow()
            except WebSocketClosed as closed:
                if closed.code in _FINAL_CODES:
                    self._put(closed)
                    break
                failures = 0 if self._is_live() else failures + 1
                delay = _FIXED_DELAYS.get(closed.code, self._backoff(failures))
                delay = max(delay, self._backoff(failures)) + random.uniform(0, 0.5)
            except ProblemError as problem:
                if problem.status not in (408, 429) and problem.status < 500:
                    self._put(problem)
                    break
                failures += 1
                delay = max(problem.retry_after or 0.0, delay)
            except ConnectionFailed as failure:
                failures += 1
                if not self._was_live and failures > self._attempts:
                    self._put(failure)
                    break
            except Exception as error:  # ends the iteration of the caller, who must hear of it
                self._put(error)
                break
            self.state = "waiting"
            self.closing.wait(delay)
        self.state = "closed"

    def _is_live(self) -> bool:
        return self.state == "live"

    @staticmethod
    def _backoff(failures: int) -> float:
        return random.uniform(0.5, 1) * min(MAX_BACKOFF_SECONDS, 0.25 * 2.0 ** min(failures, 10))

    def _follow(self) -> None:
        """Connects and receives until the connection ends, which is always an exception."""
        token = self._login.token()
        with self._open() as socket:
            self._socket = socket
            if self.closing.is_set():
                return
            resume = self.position
            self._subscribe.resume = resume
            self._awaits_snapshot = resume is None and bool(self._subscribe.snapshot)
            socket.send(self._subscribe)
            try:
                while not self.closing.is_set():
                    message = socket.receive(timeout=TICK_SECONDS)
                    if message is not None:
                        self._take(message)
                    elif time.monotonic() - socket.heard_at > MAX_SILENCE_SECONDS:
                        raise WebSocketClosed(1006, "the server is silent")
                    token = self._renew(socket, token)
            except WebSocketClosed as closed:
                if closed.code == 4401 and self._login.renew(token or "") is None:
                    raise SessionEnded("the token has expired or was revoked") from closed
                raise
            finally:
                self._lost_at = self._lost_at or time.monotonic()

    def _renew(self, socket: WebSocket, sent: Optional[str]) -> Optional[str]:
        """Sends the token again when the session has a newer one."""
        try:
            token = self._login.token()
        except Error:  # the connection stays open as long as the token that it has
            return sent
        if token is not None and token != sent:
            socket.send(WsAuth(token))
        return token

    def _take(self, message: WsServerMessage) -> None:
        """Keeps the position, and hands the message to the caller if it is one for him."""
        if isinstance(message, WsSubscribed):
            self._subscribed(message)
        elif isinstance(message, WsResync) and message.scope == "alarms":
            self._awaits_snapshot = True
        elif isinstance(message, WsAlarmSnapshot) and not message.more:
            self._awaits_snapshot = False
            self.position = WsPosition(message.epoch, message.offset)
        elif isinstance(message, WsAlarm) and not self._awaits_snapshot:
            self.position = WsPosition(message.epoch, message.offset)
        elif isinstance(message, WsError) and message.id == self._subscribe.id:
            if message.code in _NEVER_VALID and not self._was_live:
                raise SubscriptionRefused(f"{message.code}: {message.detail}")
            if message.code == "unavailable":  # of the database
                raise WebSocketClosed(1013, message.detail)
        if isinstance(message, _MESSAGES):
            self._put(message)

    def _subscribed(self, message: WsSubscribed) -> None:
        if message.epoch is not None and message.offset is not None and not self._awaits_snapshot:
            self.position = WsPosition(message.epoch, message.offset)
        self.state, lost_at = "live", self._lost_at
        if self._was_live and self._has_readings and lost_at is not None:
            lost = time.monotonic() - lost_at
            self._put(WsResync("readings", f"the connection was lost for {lost:.1f} s"))
        self._was_live, self._lost_at = True, None

    def _put(self, item: Union[LiveMessage, BaseException]) -> None:
        while not self.closing.is_set():
            try:
                return self.items.put((item, self.position), timeout=0.5)
            except queue.Full:  # the caller is slow; the server drops readings meanwhile
                continue


def _is_alarm_topic(topic: str) -> bool:
    return topic == "alarms" or topic.startswith("alarms/")


def follow(
    open_socket: Callable[[], WebSocket], login: Login, topics: Union[str, Sequence[str]], *,
    snapshot: bool, policy: Literal["every", "conflate"], interval_ms: Optional[int],
    batch: Optional[bool], resume: Optional[WsPosition], attempts: int, buffer: int,
) -> Live:
    """Makes a Live."""
    listed: List[str] = [topics] if isinstance(topics, str) else list(topics)
    subscribe = WsSubscribe(
        listed,
        snapshot=snapshot,
        policy=policy,
        interval_ms=interval_ms,
        batch=batch,
        resume=resume,
        id="subscribe",
    )
    return Live(_Feed(open_socket, login, subscribe, attempts, buffer))
