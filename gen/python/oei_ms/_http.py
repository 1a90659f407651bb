"""HTTP connections: kept open, shared by threads, through the proxy of the environment."""

from __future__ import annotations

import base64
import http.client
import select
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from typing import Any, Dict, List, Optional, Tuple

MAX_IDLE_SECONDS = 30.0
"""How long a connection that is not used is kept: shorter than servers and proxies do."""
MAX_IDLE_CONNECTIONS = 8


class Stale(Exception):
    """A kept connection turned out to be closed before anything of an answer arrived."""


class NotConnected(Exception):
    """No connection could be opened, so nothing was sent."""


class Connections:
    """Opens connections to one server and keeps those that can be used again."""

    def __init__(self, url: str, timeout: float, context: Optional[ssl.SSLContext]) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"url: {url!r} is not an address; use http(s)://host:port")
        if parts.username or parts.query or parts.fragment:
            raise ValueError("url: give scheme, host, port and path only")
        self.secure = parts.scheme == "https"
        self.host: str = parts.hostname
        self.port: int = parts.port or (443 if self.secure else 80)
        self.prefix = parts.path.rstrip("/")
        self.origin = f"{parts.scheme}://{parts.netloc}"
        self.timeout = timeout
        self._context = context or (ssl.create_default_context() if self.secure else None)
        self._proxy = _proxy(parts)
        self._lock = threading.Lock()
        self._idle: List[Tuple[float, http.client.HTTPConnection]] = []
        self._closed = False

    def send(
        self, method: str, path: str, headers: Dict[str, str], body: Optional[bytes],
        timeout: Optional[float] = None, fresh: bool = False,
    ) -> Tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        """Sends a request and returns the head of the answer. After its body give `done`."""
        connection = None if fresh else self._take()
        kept = connection is not None
        connection = connection or self.open()
        connection.sock.settimeout(timeout or self.timeout)
        if self._proxy and not self.secure:
            path = self.origin + path
            headers = {**headers, **self._proxy[2]}
        try:
            connection.request(method, path, body, headers)
            return connection, connection.getresponse()
        except (http.client.RemoteDisconnected, ConnectionError) as error:
            connection.close()
            if kept:
                raise Stale from error
            raise
        except BaseException:
            connection.close()
            raise

    def done(self, connection: http.client.HTTPConnection, is_complete: bool) -> None:
        """Keeps a connection whose answer was read to its end; closes any other."""
        with self._lock:
            has_room = len(self._idle) < MAX_IDLE_CONNECTIONS and not self._closed
            if is_complete and has_room and connection.sock is not None:
                self._idle.append((time.monotonic(), connection))
                return
        connection.close()

    def _take(self) -> Optional[http.client.HTTPConnection]:
        """Returns a kept connection that is neither old nor closed by the server."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                since, connection = self._idle.pop()
            if time.monotonic() - since < MAX_IDLE_SECONDS and not _is_readable(connection.sock):
                return connection
            connection.close()

    def open(self, tunnel: bool = False) -> http.client.HTTPConnection:
        """Returns an open connection; through a proxy as a tunnel, for plain HTTP if asked to."""
        host, port = (self._proxy[0], self._proxy[1]) if self._proxy else (self.host, self.port)
        connection: http.client.HTTPConnection
        if self.secure:
            connection = http.client.HTTPSConnection(
                host, port, timeout=self.timeout, context=self._context
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=self.timeout)
        if self._proxy and (self.secure or tunnel):
            connection.set_tunnel(self.host, self.port, self._proxy[2])
        try:
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise NotConnected from error
        except BaseException:
            connection.close()
            raise
        return connection

    def close(self) -> None:
        """Closes the connections that are not in use, and keeps none from now on."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for _, connection in idle:
            connection.close()


def _is_readable(sock: Any) -> bool:
    """Reports whether an idle socket was closed by its peer, which makes it readable."""
    if hasattr(select, "poll"):  # select takes no descriptor above 1023
        poll = select.poll()
        poll.register(sock, select.POLLIN)
        return bool(poll.poll(0))
    return bool(select.select([sock], [], [], 0)[0])


def _proxy(url: urllib.parse.SplitResult) -> Optional[Tuple[str, int, Dict[str, str]]]:
    """Returns host, port and headers of the proxy that the environment names for an address."""
    name = urllib.request.getproxies().get(url.scheme)
    if not name or urllib.request.proxy_bypass(url.netloc.rpartition("@")[2]):
        return None
    parts = urllib.parse.urlsplit(name if "://" in name else "http://" + name)
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url.scheme}_proxy: {name!r} is not supported; use http://host:port")
    headers = {}
    if parts.username is not None:
        login = urllib.parse.unquote(f"{parts.username}:{parts.password or ''}")
        headers["Proxy-Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    return parts.hostname, parts.port or 80, headers
