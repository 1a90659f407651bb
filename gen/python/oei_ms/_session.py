"""Calls of operations: login, retries, problems, pages and downloads."""

from __future__ import annotations

import http.client
import json
import random
import ssl
import threading
import time
import urllib.parse
import uuid
import zlib
from datetime import datetime
from typing import (
    Any, Callable, Dict, Generic, Iterable, Iterator, List, Optional, Sequence, Type, TypeVar,
)

from ._http import Connections, NotConnected, Stale
from ._json import M, Resource, encode, from_datetime, members_to_json
from ._login import Login
from ._problem import ProblemError
from ._websocket import WebSocket
from .errors import ConnectionFailed, Error, InvalidAnswer, NotModified

T = TypeVar("T")
Headers = Dict[str, Optional[str]]

MAX_WAIT_SECONDS = 60.0
"""The longest Retry-After that is waited for; a longer one is left to the caller."""
CHUNK_BYTES = 1 << 16


class Answer:
    """An answer whose body is not read yet."""

    def __init__(
        self,
        pool: Connections,
        connection: http.client.HTTPConnection,
        response: http.client.HTTPResponse,
    ) -> None:
        self._pool, self._connection, self._response = pool, connection, response
        self._is_complete = self._is_closed = False
        self.status = response.status
        self.headers = response.headers

    def chunks(self) -> Iterator[bytes]:
        """Reads the body, decompressed. A body that is cut off raises ConnectionFailed."""
        unpack = None
        if self.headers.get("Content-Encoding", "").lower() == "gzip":
            unpack = zlib.decompressobj(31)
        try:
            while True:
                chunk = self._response.read(CHUNK_BYTES)
                if not chunk:
                    break
                chunk = unpack.decompress(chunk) if unpack else chunk
                if chunk:
                    yield chunk
            if self._response.length or (unpack and not unpack.eof):
                raise ConnectionFailed("the answer was cut off")
            self._is_complete = True
        except (OSError, http.client.HTTPException, zlib.error) as error:
            raise ConnectionFailed(f"the answer was cut off: {error!r}") from error
        finally:
            self.close()

    def read(self) -> bytes:
        """Returns the whole body."""
        return b"".join(self.chunks())

    def close(self) -> None:
        """Gives the connection back, or closes it if the body was not read to its end."""
        if not self._is_closed:
            self._is_closed = True
            self._response.close()
            self._pool.done(self._connection, self._is_complete)

    def json(self) -> Any:
        """Returns the body, parsed."""
        body = self.read()
        try:
            return json.loads(body)
        except ValueError as error:
            raise InvalidAnswer(f"the answer is not JSON: {body[:80]!r}") from error

    def problem(self) -> ProblemError:
        """Returns the exception of an error."""
        document: Any = None
        try:
            document = json.loads(self.read())
        except (ValueError, ConnectionFailed):  # of a proxy, such as a page in HTML
            pass
        if not isinstance(document, dict) or "type" not in document:
            document = {"detail": f"{self._response.reason} (not an answer of OEI-MS)"}
        return ProblemError.of(
            self.status,
            document,
            request_id=self.headers.get("X-Request-ID"),
            retry_after=_seconds(self.headers.get("Retry-After")),
        )


class Page(List[T]):
    """The items of one page of a list."""

    total: Optional[int] = None
    """Number of items on all pages; only with `count=True`."""
    next: Optional[str] = None
    """Address of the next page; None on the last one."""


class Pages(Generic[T]):
    """A list of the server, read page by page while it is iterated.

    Each iteration reads the list again.
    """

    def __init__(self, read: Callable[[Optional[str]], Page[T]]) -> None:
        self._read = read

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[Page[T]]:
        """Iterates over the pages."""
        address: Optional[str] = None
        while True:
            page = self._read(address)
            yield page
            address = page.next
            if address is None:
                return

    def first(self) -> Page[T]:
        """Reads the first page only."""
        return self._read(None)


class Download:
    """A file that the server streams. Iterate over its chunks of bytes, or use a method.

    Leave it with `with` or `close` if it is not read to its end.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._chunks = answer.chunks()
        self.headers = answer.headers

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks

    def lines(self) -> Iterator[str]:
        """Iterates over the lines of a text, without their ends."""
        rest = b""
        for chunk in self._chunks:
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                yield line.decode("utf-8").rstrip("\r")
        if rest:
            yield rest.decode("utf-8")

    def save(self, path: Any) -> int:
        """Writes the file and returns its size. If the download is cut off, the file has the part
        that has arrived, and ConnectionFailed is raised."""
        with self, open(path, "wb") as file:
            for chunk in self._chunks:
                file.write(chunk)
            return file.tell()

    def close(self) -> None:
        """Closes the connection."""
        self._chunks.close()  # type: ignore[attr-defined]
        self._answer.close()

    def __enter__(self) -> Download:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()


class Session:
    """What all operations share. Its methods may be called from several threads."""

    def __init__(
        self, url: str, login: Login, timeout: float, retries: int,
        context: Optional[ssl.SSLContext],
    ) -> None:
        self._connections = Connections(url, timeout, context)
        self._login = login
        login.call = self._call
        self._retries = retries
        self._closing = threading.Event()

    def _call(
        self, method: str, path: str, decode: Callable[[Answer], T], *,
        query: Optional[Dict[str, Any]] = None, headers: Optional[Headers] = None,
        body: Optional[Dict[str, Any]] = None, nullable: Sequence[str] = (),
        public: bool = False, expected: Sequence[int] = (),
        retries: Optional[int] = None, timeout: Optional[float] = None,
    ) -> T:
        """Calls an operation and returns its decoded answer.

        A call is repeated when the server did not carry it out, and after a lost answer if it is
        repeatable: if carrying it out twice has the same effect.
        """
        content = None
        if body is not None:
            content = encode(members_to_json(body.items(), nullable))
        sent = {name: value for name, value in (headers or {}).items() if value is not None}
        target = self._connections.prefix + path + _query(query)
        repeatable = "Idempotency-Key" in sent or (
            method in ("GET", "PUT", "DELETE") and "If-Match" not in sent
        )
        retries = self._retries if retries is None else retries
        error: Error
        for attempt in range(retries + 1):
            try:
                answer = self._attempt(method, target, sent, content, public, timeout)
                if answer.status < 400 or answer.status in expected:
                    return _decoded(answer, decode)
                problem = answer.problem()
                error, wait = problem, _retry_after(problem, repeatable)
            except ProblemError as problem:  # of the login
                error, wait = problem, _retry_after(problem, True)
            except ConnectionFailed as failure:
                error, wait = failure, 0.0 if repeatable or not failure.was_sent else None
                if isinstance(failure.__cause__, ssl.SSLCertVerificationError):
                    raise
            if attempt == retries or wait is None or wait > MAX_WAIT_SECONDS:
                raise error
            backoff = min(8.0, 0.25 * 2**attempt) * random.uniform(0.5, 1)
            if self._closing.wait(max(wait, backoff)):
                break
        raise ConnectionFailed("the client was closed")

    def _attempt(
        self, method: str, target: str, headers: Dict[str, str], body: Optional[bytes],
        public: bool, timeout: Optional[float],
    ) -> Answer:
        """Sends a request once; after a 401 once more with a new token."""
        token = None if public else self._login.token()
        answer = self._exchange(method, target, headers, body, token, timeout)
        if answer.status == 401 and token is not None:
            renewed = self._login.renew(token)
            if renewed is not None:
                answer.read()
                answer = self._exchange(method, target, headers, body, renewed, timeout)
        return answer

    def _exchange(
        self, method: str, target: str, headers: Dict[str, str], body: Optional[bytes],
        token: Optional[str], timeout: Optional[float] = None,
    ) -> Answer:
        """Sends a request and returns the head of the answer."""
        headers = {**self._headers(token), **headers}
        if body is not None:
            headers["Content-Type"] = "application/json"
        elif method in ("POST", "PUT"):
            headers["Content-Length"] = "0"
        pool = self._connections
        try:
            try:
                connection, response = pool.send(method, target, headers, body, timeout)
            except Stale as stale:
                if method == "POST":  # it may have been carried out
                    raise stale.__cause__ from None  # type: ignore[misc]
                connection, response = pool.send(method, target, headers, body, timeout, True)
        except NotConnected as error:
            failure = ConnectionFailed(f"{pool.origin}: {error.__cause__!r}")
            failure.was_sent = False
            raise failure from error.__cause__
        except (OSError, http.client.HTTPException) as error:
            raise ConnectionFailed(f"{method} {pool.origin}{target}: {error!r}") from error
        return Answer(pool, connection, response)

    def _headers(self, token: Optional[str]) -> Dict[str, str]:
        headers = {"Accept-Encoding": "gzip", "User-Agent": "oei-ms-python"}
        if token is not None:
            headers["Authorization"] = "Bearer " + token
        return headers

    def _pages(
        self, path: str, kind: Type[M], *, query: Optional[Dict[str, Any]] = None,
        headers: Optional[Headers] = None, public: bool = False,
    ) -> Pages[M]:
        """Returns a list that is read page by page."""

        def read(address: Optional[str]) -> Page[M]:
            if address is None:
                return self._call("GET", path, page, query=query, headers=headers, public=public)
            return self._call("GET", address, page, headers=headers, public=public)

        def page(answer: Answer) -> Page[M]:
            items = Page(models(kind)(answer))
            total = answer.headers.get("X-Total-Count")
            items.total = int(total) if total else None
            items.next = self._next(path, answer.headers.get("Link"))
            return items

        return Pages(read)

    def _next(self, path: str, link: Optional[str]) -> Optional[str]:
        """Returns the address of the next page, below the prefix of this server."""
        for part in (link or "").split(","):
            address, _, parameters = part.partition(";")
            if 'rel="next"' not in parameters.replace(" ", ""):
                continue
            base = self._connections.origin + self._connections.prefix
            found = urllib.parse.urljoin(base + path, address.strip(" <>"))
            if not found.startswith(base + "/"):
                raise InvalidAnswer(f"the next page is at another server: {found}")
            return found[len(base) :]
        return None

    def _download(
        self, path: str, *, query: Optional[Dict[str, Any]] = None,
        headers: Optional[Headers] = None, public: bool = False,
    ) -> Download:
        """Returns a file that is read while it is iterated."""
        return self._call("GET", path, Download, query=query, headers=headers, public=public)

    def _open(
        self, path: str, *, query: Optional[Dict[str, Any]] = None, public: bool = False,
    ) -> WebSocket:
        """Opens a WebSocket, logged in unless it has a ticket."""
        has_ticket = bool(query and query.get("ticket"))
        token = None if public or has_ticket else self._login.token()
        target = self._connections.prefix + path + _query(query)
        try:
            return WebSocket(self._connections, target, self._headers(token))
        except ProblemError as problem:
            renewed = self._login.renew(token) if problem.status == 401 and token else None
            if renewed is None:
                raise
            return WebSocket(self._connections, target, self._headers(renewed))


def _retry_after(problem: ProblemError, repeatable: bool) -> Optional[float]:
    """Returns how long to wait before a call is repeated; None if it must not be.

    The server has carried out nothing when it answers 429 and 503, or 409 with Retry-After; what a
    proxy has done is unknown.
    """
    if problem.status == 409:
        return problem.retry_after
    told = problem.type != "about:blank" and problem.status in (429, 503)
    if told or (repeatable and problem.status in (429, 502, 503, 504)):
        return problem.retry_after or 0.0
    return None


def _seconds(text: Optional[str]) -> Optional[float]:
    return float(text) if text and text.strip().isdigit() else None


def _decoded(answer: Answer, decode: Callable[[Answer], T]) -> T:
    if answer.status == 304:
        answer.read()
        raise NotModified("what you have is current")
    made = decode(answer)
    if isinstance(made, Resource):
        made.etag = answer.headers.get("ETag")
    return made


def _query(query: Optional[Dict[str, Any]]) -> str:
    pairs = []
    for name, value in (query or {}).items():
        several = isinstance(value, Iterable) and not isinstance(value, str)
        for item in value if several else [value]:
            if isinstance(item, bool):
                item = "true" if item else "false"
            elif isinstance(item, datetime):
                item = from_datetime(item)
            if item is not None:
                pairs.append((name, item))
    return "?" + urllib.parse.urlencode(pairs) if pairs else ""


def segment(value: str) -> str:
    """Escapes a text for one segment of a path."""
    return urllib.parse.quote(value, safe="")


def new_key() -> str:
    """Returns a random Idempotency-Key."""
    return str(uuid.uuid4())


def model(kind: Type[M]) -> Callable[[Answer], M]:
    """Returns the decoder of an object."""
    return lambda answer: kind.from_json(answer.json())


def models(kind: Type[M]) -> Callable[[Answer], List[M]]:
    """Returns the decoder of a list of objects."""

    def decode(answer: Answer) -> List[M]:
        items = answer.json()
        if not isinstance(items, list):
            raise InvalidAnswer(f"the answer is {type(items).__name__}, not a list")
        return [kind.from_json(item) for item in items]

    return decode


def document(answer: Answer) -> Dict[str, Any]:
    """Returns an object without a type of its own."""
    made: Dict[str, Any] = answer.json()
    return made


def text(answer: Answer) -> str:
    """Returns a text."""
    return answer.read().decode("utf-8")


def content(answer: Answer) -> bytes:
    """Returns the bytes of the body."""
    return answer.read()


def location(answer: Answer) -> str:
    """Returns where a redirect leads."""
    answer.read()
    return answer.headers.get("Location", "")


def nothing(answer: Answer) -> None:
    """Reads an answer without content."""
    answer.read()
