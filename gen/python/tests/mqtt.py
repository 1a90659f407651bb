"""Publishes one message over MQTT 3.1.1, so that the tests need no MQTT library."""

import socket
import struct


def publish(port, username, password, topic, payload):
    """Publishes with QoS 1 and returns after the PUBACK, which follows the COMMIT."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        flags = b"\x04\xc2\x00\x3c"  # 3.1.1, user name, password, clean session, keep-alive 60 s
        login = _text(username) + _text(username) + _text(password)
        connection.sendall(_packet(0x10, _text("MQTT") + flags + login))
        if connection.recv(4)[3:] != b"\x00":
            raise ConnectionError("the broker refuses the login")
        connection.sendall(_packet(0x32, _text(topic) + b"\x00\x01" + payload.encode()))
        if connection.recv(4)[:1] != b"\x40":
            raise ConnectionError("the broker refuses the message")


def _text(text):
    data = text.encode()
    return struct.pack("!H", len(data)) + data


def _packet(head, body):
    length, left = b"", len(body)
    while True:
        left, digit = divmod(left, 128)
        length += bytes([digit | (128 if left else 0)])
        if not left:
            return bytes([head]) + length + body
