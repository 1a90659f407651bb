"""The login of a client: tokens, refreshed in time and once for all threads."""

from __future__ import annotations

import threading
import time
from typing import Any, Callable, Optional, Union

from .errors import ConnectionFailed, Error, SessionEnded
from .models import Tokens

REFRESH_TIMEOUT_SECONDS = 8.0
"""Bounds an attempt to refresh, so that a lost answer can be asked for again within the 30 s for
which the server accepts the same refresh token."""


class Login:
    """Provides the token. With a password it logs in, and again when its session has ended."""

    def __init__(
        self, *, username: Optional[str] = None, password: Optional[str] = None,
        token: Union[str, Callable[[], str], None] = None, api_key: Optional[str] = None,
    ) -> None:
        given = [value is not None for value in (password, token, api_key)]
        if sum(given) > 1 or (username is None) != (password is None):
            raise ValueError("login: give username and password, or token, or api_key")
        self.username, self.password = username, password
        self._fixed = token if token is not None else api_key
        self._tokens: Optional[Tokens] = None
        self._expires = self._refresh_at = 0.0
        self._has_ended = False
        self._lock = threading.Lock()  # held while tokens are exchanged
        self.call: Callable[..., Tokens]  # Session._call

    @property
    def began_session(self) -> bool:
        """Whether this login began a session, which can be ended."""
        return self._tokens is not None

    def token(self) -> Optional[str]:
        """Returns the token to send; None without a login."""
        if self._fixed is not None:
            return self._fixed() if callable(self._fixed) else self._fixed
        now, tokens = time.monotonic(), self._tokens
        if tokens is None:
            return self._exchange(None) if self.password is not None or self._has_ended else None
        if now < self._refresh_at:
            return tokens.access_token
        if now >= self._expires:
            return self._exchange(tokens.access_token)
        if self._lock.acquire(blocking=False):  # one thread refreshes early, others need not wait
            try:
                self._refresh_at = now + 5  # the next attempt, if this one fails
                return self._renewed(tokens.access_token)
            except Error as error:
                if getattr(error, "status", 503) < 500 and not isinstance(error, ConnectionFailed):
                    raise
            finally:
                self._lock.release()
        return tokens.access_token

    def renew(self, refused: str) -> Optional[str]:
        """Returns a token in place of one that the server refused; None if there is no other."""
        if self._fixed is not None:
            token = self.token()
            return token if token != refused else None
        return self._exchange(refused)

    def adopt(self, tokens: Tokens, since: float) -> None:
        """Uses the tokens of an answer to a request that was sent at an instant."""
        margin = min(60.0, tokens.expires_in / 4)
        self._expires = since + tokens.expires_in  # by a clock that nobody sets
        self._refresh_at = self._expires - margin
        self._tokens, self._has_ended = tokens, False

    def end(self) -> None:
        """Forgets tokens and password."""
        self._tokens, self.password, self._has_ended = None, None, True

    def _exchange(self, refused: Optional[str]) -> str:
        with self._lock:
            return self._renewed(refused)

    def _renewed(self, refused: Optional[str]) -> str:
        """Returns a new token, or that of the thread that was faster. The lock is held."""
        if self._tokens is not None and self._tokens.access_token != refused:
            return self._tokens.access_token
        since = time.monotonic()
        tokens = self._refreshed() or self._logged_in()
        self.adopt(tokens, since)
        return tokens.access_token

    def _refreshed(self) -> Optional[Tokens]:
        if self._tokens is None:
            return None
        try:
            return self._post("/api/auth/refresh", {"refresh_token": self._tokens.refresh_token})
        except Error as error:
            if getattr(error, "status", 0) != 401:
                raise
            return None

    def _logged_in(self) -> Tokens:
        if self.password is None:
            self._has_ended = True
            raise SessionEnded("the login has ended; log in again")
        return self._post("/api/auth/login", {"username": self.username, "password": self.password})

    def _post(self, path: str, body: Any) -> Tokens:
        """Exchanges tokens once; the call that needs them is repeated, since it was not sent."""
        try:
            return self.call(
                "POST",
                path,
                lambda answer: Tokens.from_json(answer.json()),
                body=body,
                public=True,
                retries=0,
                timeout=REFRESH_TIMEOUT_SECONDS,
            )
        except ConnectionFailed as failure:
            failure.was_sent = False
            raise
