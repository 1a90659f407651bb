"""A WebSocket (RFC 6455) with the messages of the contract."""

from __future__ import annotations

import base64
import hashlib
import http.client
import io
import json
import os
import select
import socket
import struct
import time
from typing import Any, Dict, Optional, Tuple, Union

from ._http import Connections, NotConnected
from ._json import encode
from ._problem import ProblemError
from .errors import ConnectionFailed, Error, InvalidAnswer
from .models import SERVER_MESSAGES, WsClientMessage, WsServerMessage

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_TRUNCATED = 1006

MAX_MESSAGE_BYTES = 64 << 20
MAX_HEAD_BYTES = 64 << 10


class WebSocketClosed(Error):
    """The WebSocket is closed; the documentation of `open_web_socket` lists the codes."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"the WebSocket was closed with {code} {reason}".rstrip())
        self.code, self.reason = code, reason


class WebSocket:
    """An open WebSocket. To be used by one thread at a time; `abort` may be called by any.

    It answers pings while `receive` is called. Client.live does all of this by itself.
    """

    def __init__(self, connections: Connections, target: str, headers: Dict[str, str]) -> None:
        try:
            self._sock: socket.socket = connections.open(tunnel=True).sock
        except NotConnected as error:
            raise ConnectionFailed(f"{connections.origin}: {error.__cause__!r}") from error
        self._buffer = bytearray()  # bytes that are not parsed yet
        self._message = bytearray()  # frames of a message that is not complete yet
        self._is_continued = False
        self._closed: Optional[WebSocketClosed] = None
        self.heard_at = time.monotonic()
        """When the server last sent anything, by time.monotonic."""
        try:
            self._shake_hands(f"{connections.host}:{connections.port}", target, headers)
        except OSError as error:
            self._sock.close()
            raise ConnectionFailed(f"{connections.origin}{target}: {error!r}") from error
        except BaseException:
            self._sock.close()
            raise

    def _shake_hands(self, host: str, target: str, headers: Dict[str, str]) -> None:
        key = base64.b64encode(os.urandom(16))
        lines = [f"GET {target} HTTP/1.1", f"Host: {host}", "Upgrade: websocket"]
        lines += ["Connection: Upgrade", "Sec-WebSocket-Version: 13"]
        lines += ["Sec-WebSocket-Key: " + key.decode()]
        lines += [f"{name}: {value}" for name, value in headers.items() if "Encoding" not in name]
        if any("\r" in line or "\n" in line for line in lines):
            raise ValueError("a token or topic has a line break")
        self._sock.sendall("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n")
        while b"\r\n\r\n" not in self._buffer:
            if len(self._buffer) > MAX_HEAD_BYTES or not self._fill():
                raise ConnectionFailed("no answer to the handshake of the WebSocket")
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        first, _, fields = head.partition(b"\r\n")
        version, _, status = first.partition(b" ")
        if not version.startswith(b"HTTP/1.") or not status[:3].isdigit():
            raise InvalidAnswer(f"not an answer of HTTP: {first[:80]!r}")
        found = http.client.parse_headers(io.BytesIO(fields + b"\r\n\r\n"))
        if status[:3] != b"101":
            raise self._problem(int(status[:3]), found)
        accept = base64.b64encode(hashlib.sha1(key + _GUID).digest()).decode()
        if found.get("Upgrade", "").lower() != "websocket":
            raise InvalidAnswer("the answer to the handshake is not of a WebSocket")
        if found.get("Sec-WebSocket-Accept") != accept:
            raise InvalidAnswer("the answer to the handshake is to another one")

    def _problem(self, status: int, headers: Any) -> ProblemError:
        length = min(int(headers.get("Content-Length") or 0), MAX_HEAD_BYTES)
        while len(self._buffer) < length and self._fill():
            pass
        try:
            document = json.loads(self._buffer[:length])
        except ValueError:
            document = {}
        wait = headers.get("Retry-After", "")
        return ProblemError.of(
            status,
            document if isinstance(document, dict) else {},
            request_id=headers.get("X-Request-ID"),
            retry_after=float(wait) if wait.isdigit() else None,
        )

    def send(self, message: Union[WsClientMessage, Dict[str, Any]]) -> None:
        """Sends a message."""
        self._send(_TEXT, encode(message))

    def receive(self, timeout: Optional[float] = None) -> Optional[WsServerMessage]:
        """Returns the next message; None when there is none within a timeout in seconds.

        Raises WebSocketClosed when the connection has ended. Types that it does not know are
        skipped.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            text = self._receive_text(deadline)
            if text is None:
                return None
            try:
                document = json.loads(text)
                kind = SERVER_MESSAGES.get(document["type"])
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidAnswer(f"not a message: {text[:80]!r}") from error
            if kind is not None:
                message: WsServerMessage = kind.from_json(document)
                return message

    def _receive_text(self, deadline: Optional[float]) -> Optional[bytes]:
        """Joins the frames of the next message, and answers control frames."""
        while True:
            frame = self._next_frame(deadline)
            if frame is None:
                return None
            final, code, payload = frame
            if code == _PING:
                self._send(_PONG, payload)
            elif code == _CLOSE:
                self._answer_close(payload)
            elif code in (_TEXT, _CONTINUATION):
                if (code == _CONTINUATION) != self._is_continued:
                    self._fail(1002, "a frame out of order")
                self._message += payload
                self._is_continued = not final
                if len(self._message) > MAX_MESSAGE_BYTES:
                    self._fail(1009, "the message is too large")
                if final:
                    message, self._message = bytes(self._message), bytearray()
                    return message
            elif code == _BINARY:
                self._fail(1003, "a binary message")

    def _next_frame(self, deadline: Optional[float]) -> Optional[Tuple[bool, int, bytes]]:
        """Returns FIN, opcode and payload of the next frame; None at the deadline."""
        while True:
            if self._closed:
                raise self._closed
            frame = self._parse()
            if frame is not None:
                return frame
            if not self._is_readable(deadline):
                return None
            try:
                if not self._fill():
                    self._fail(_TRUNCATED, "the connection broke")
            except OSError as error:
                self._fail(_TRUNCATED, repr(error))

    def _parse(self) -> Optional[Tuple[bool, int, bytes]]:
        """Takes a frame off the buffer, if it is complete."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        final, code, length, start = bool(buffer[0] & 0x80), buffer[0] & 0x0F, buffer[1] & 0x7F, 2
        if buffer[0] & 0x70 or buffer[1] & 0x80:
            self._fail(1002, "reserved bits or a mask")
        if code >= _CLOSE and (length > 125 or not final) or code not in (0, 1, 2, 8, 9, 10):
            self._fail(1002, "a control frame that is too long, fragmented or unknown")
        if length > 125:
            start, form = (4, "!H") if length == 126 else (10, "!Q")
            if len(buffer) < start:
                return None
            (length,) = struct.unpack_from(form, buffer, 2)
        if length > MAX_MESSAGE_BYTES:
            self._fail(1009, "the frame is too large")
        if len(buffer) < start + length:
            return None
        payload = bytes(buffer[start : start + length])
        del buffer[: start + length]
        return final, code, payload

    def _is_readable(self, deadline: Optional[float]) -> bool:
        if getattr(self._sock, "pending", lambda: 0)():  # TLS has decrypted more than was read
            return True
        wait = None if deadline is None else max(0.0, deadline - time.monotonic())
        if hasattr(select, "poll"):
            poll = select.poll()
            poll.register(self._sock, select.POLLIN)
            return bool(poll.poll(None if wait is None else wait * 1000))
        return bool(select.select([self._sock], [], [], wait)[0])

    def _fill(self) -> bool:
        data = self._sock.recv(1 << 16)
        self._buffer += data
        self.heard_at = time.monotonic()
        return bool(data)

    def _send(self, code: int, payload: bytes) -> None:
        if self._closed:
            raise self._closed
        size = len(payload)
        if size < 126:
            head = struct.pack("!BB", 0x80 | code, 0x80 | size)
        elif size < 1 << 16:
            head = struct.pack("!BBH", 0x80 | code, 0x80 | 126, size)
        else:
            head = struct.pack("!BBQ", 0x80 | code, 0x80 | 127, size)
        mask = os.urandom(4)
        pad = (mask * (size // 4 + 1))[:size]
        masked = int.from_bytes(payload, "big") ^ int.from_bytes(pad, "big")
        try:
            self._sock.sendall(head + mask + masked.to_bytes(size, "big"))
        except OSError as error:
            self._fail(_TRUNCATED, repr(error))

    def _answer_close(self, payload: bytes) -> None:
        code = struct.unpack_from("!H", payload)[0] if len(payload) >= 2 else 1005
        reason = payload[2:].decode("utf-8", "replace")
        try:
            self._send(_CLOSE, payload[:2])
        except WebSocketClosed:
            pass
        self._end(WebSocketClosed(code, reason))

    def _fail(self, code: int, reason: str) -> None:
        closed = WebSocketClosed(code, reason)
        if code != _TRUNCATED:
            try:
                self._send(_CLOSE, struct.pack("!H", code))
            except WebSocketClosed:
                pass
        self._end(closed)

    def _end(self, closed: WebSocketClosed) -> None:
        self._closed = self._closed or closed
        self._sock.close()
        raise self._closed

    def close(self) -> None:
        """Closes the connection, after the server has agreed or a second has passed."""
        if self._closed:
            return
        try:
            self._send(_CLOSE, struct.pack("!H", 1000))
            deadline = time.monotonic() + 1
            while time.monotonic() < deadline:
                self._receive_text(deadline)
            self._end(WebSocketClosed(1000, ""))
        except (WebSocketClosed, OSError):
            pass

    def abort(self) -> None:
        """Ends the connection at once, also while another thread receives."""
        try:
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:
            pass

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()
