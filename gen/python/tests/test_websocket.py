"""Frames of RFC 6455, against a peer that sends them byte by byte as a test wants."""

import base64
import hashlib
import json
import os
import socket
import struct
import threading
import unittest

import oei_ms

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(code, payload, final=True, mask=False):
    """Renders a frame of a server."""
    size = len(payload)
    head = bytes([(0x80 if final else 0) | code])
    if size < 126:
        head += bytes([size])
    elif size < 1 << 16:
        head += struct.pack("!BH", 126, size)
    else:
        head += struct.pack("!BQ", 127, size)
    return head + payload


class Peer:
    """Accepts one WebSocket, sends bytes, and keeps the frames that it gets."""

    def __init__(self, *sent, step=1 << 20, accept=None, refuse=None):
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.head, self.frames = "", []
        self._sent, self._step, self._accept, self._refuse = b"".join(sent), step, accept, refuse
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self):
        connection, _ = self._listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection, connection.makefile("rb") as file:
            lines = []
            while True:
                line = file.readline().strip()
                if not line:
                    break
                lines.append(line.decode())
            self.head = "\n".join(lines)
            fields = dict(line.split(": ", 1) for line in lines[1:])
            digest = hashlib.sha1(fields["Sec-WebSocket-Key"].encode() + GUID).digest()
            accept = self._accept or base64.b64encode(digest).decode()
            answer = self._refuse or (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\n"
                f"Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            ).encode()
            data = answer + self._sent
            try:
                for i in range(0, len(data), self._step):
                    connection.sendall(data[i : i + self._step])
                while True:
                    self.frames.append(self._read(file))
            except (OSError, struct.error):
                pass

    @staticmethod
    def _read(file):
        head, second = struct.unpack("!BB", file.read(2))
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", file.read(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", file.read(8))
        assert second & 0x80, "a client must mask"
        mask = file.read(4)
        payload = bytes(b ^ mask[i % 4] for i, b in enumerate(file.read(size)))
        return head & 0x0F, payload

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._thread.join()
        self._listener.close()


def ping_message(text="2026-01-02T03:04:05.678901Z"):
    return json.dumps({"type": "ping", "time": text}).encode()


class WebSocketTest(unittest.TestCase):
    def receive(self, *sent, **options):
        """Returns the messages, the code of the close, and the frames that the peer got."""
        messages = []
        with Peer(*sent, **options) as peer:
            with oei_ms.Client(peer.url, token="t") as client, client.open_web_socket() as ws:
                try:
                    while True:
                        messages.append(ws.receive(timeout=10))
                except oei_ms.WebSocketClosed as closed:
                    code = closed.code
        return messages, code, peer.frames

    def test_messages_pings_and_close(self):
        messages, code, frames = self.receive(
            frame(9, b"one"), frame(1, ping_message()), frame(8, struct.pack("!H", 1001) + b"bye")
        )
        self.assertEqual(messages[0].time.microsecond, 678901)
        self.assertEqual((code, frames), (1001, [(10, b"one"), (8, struct.pack("!H", 1001))]))

    def test_byte_by_byte_and_in_fragments_with_pings_between(self):
        text = ping_message()
        messages, code, frames = self.receive(
            frame(1, text[:5], final=False), frame(9, b""), frame(0, text[5:9], final=False),
            frame(0, text[9:]), frame(8, b""), step=1,
        )
        self.assertEqual(([m.type for m in messages], code), (["ping"], 1005))
        self.assertEqual(frames[0], (10, b""))

    def test_large_frames_and_unknown_types(self):
        items = [
            {"sensor_id": i, "gateway_id": 1, "data":
                {"value": None, "timestamp": "2026-01-02T03:04:05Z", "quality": "bad"}}
            for i in range(20_000)
        ]
        batch = json.dumps({"type": "sensor_data_batch", "items": items}).encode()
        self.assertGreater(len(batch), 1 << 20)
        messages, code, _ = self.receive(
            frame(1, b'{"type": "of a newer server"}'), frame(1, batch), frame(8, b"")
        )
        self.assertEqual(len(messages), 1)
        self.assertEqual(messages[0].items[-1].sensor_id, 19_999)

    def test_violations_are_answered_with_1002(self):
        for name, sent in {
            "reserved bits": b"\xc1\x00",
            "a mask": b"\x81\x80\x00\x00\x00\x00",
            "a long ping": frame(9, b"x" * 126),
            "a fragmented ping": frame(9, b"x", final=False),
            "an unknown opcode": frame(3, b"x"),
            "a continuation of nothing": frame(0, b"x"),
            "a message in a message": frame(1, b"x", final=False) + frame(1, b"x"),
        }.items():
            with self.subTest(name):
                _, code, frames = self.receive(sent)
                self.assertEqual((code, frames), (1002, [(8, struct.pack("!H", 1002))]))
        self.assertEqual(self.receive(frame(2, b"binary"))[1], 1003)
        self.assertEqual(self.receive(struct.pack("!BBQ", 0x81, 127, 1 << 40))[1], 1009)

    def test_what_is_sent_is_masked(self):
        for size in (0, 1, 125, 126, 70_000):
            with Peer() as peer, oei_ms.Client(peer.url, token="t") as client:
                with client.open_web_socket() as ws:
                    ws.send({"type": "auth", "token": "ü" + "x" * size})
                    ws.abort()
            self.assertEqual(json.loads(peer.frames[0][1])["token"], "ü" + "x" * size)

    def test_the_handshake(self):
        with Peer(frame(8, b"")) as peer, oei_ms.Client(peer.url + "/oei", token="t") as client:
            client.open_web_socket(topic=["alarms", "sensors?type=öl"]).close()
        first, *fields = peer.head.split("\n")
        self.assertEqual(
            first, "GET /oei/ws?topic=alarms&topic=sensors%3Ftype%3D%C3%B6l HTTP/1.1"
        )
        self.assertIn("Authorization: Bearer t", fields)
        with Peer(accept="wrong") as peer, oei_ms.Client(peer.url, token="t") as client:
            with self.assertRaises(oei_ms.InvalidAnswer):
                client.open_web_socket()
        problem = b'{"type": "/problems/too-many-requests", "status": 429, "detail": "slowly"}'
        head = b"HTTP/1.1 429 Too Many\r\nRetry-After: 7\r\nContent-Length: %d\r\n\r\n"
        with Peer(refuse=head % len(problem) + problem, step=3) as peer:
            with oei_ms.Client(peer.url, token="t") as client:
                with self.assertRaises(oei_ms.TooManyRequests) as raised:
                    client.open_web_socket()
        self.assertEqual((raised.exception.retry_after, raised.exception.detail), (7, "slowly"))
        with oei_ms.Client(peer.url, token="line\r\nbreak: x") as client, self.assertRaises(
            (ValueError, oei_ms.ConnectionFailed)
        ):
            client.get_current_user()

    def test_random_bytes_end_the_connection_and_nothing_else(self):
        for _ in range(50):
            with self.subTest():
                _, code, _ = self.receive(os.urandom(200), frame(8, b"") * 100, step=7)
                self.assertIsInstance(code, int)
