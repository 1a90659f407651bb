"""Login, refresh, retries and problems, with lost requests and answers."""

import concurrent.futures
import gc
import os
import pathlib
import pickle
import socket
import tempfile
import unittest
from datetime import datetime, timedelta, timezone
from unittest import mock

import oei_ms
from oei_ms import ReadingCreate

from .proxy import Proxy
from .server import PASSWORD, Server, shared

UNAVAILABLE = b'{"type": "/problems/unavailable", "status": 503, "detail": "busy", "title": ""}'
LIMITED = b'{"type": "/problems/too-many-requests", "status": 429, "detail": "slow", "title": ""}'
PROBLEM = {"Content-Type": "application/problem+json"}


class SessionTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = shared()

    def setUp(self):
        self.proxy = Proxy(self.server.port)
        self.addCleanup(self.proxy.__exit__)

    def client(self, **options):
        client = self.server.client(url=self.proxy.url, **options)
        self.addCleanup(client.close)
        return client

    def expire(self, client):
        """Makes the client believe that its token has expired."""
        client.get_current_user()
        client._login._expires = client._login._refresh_at = 0.0

    def test_logs_in_once_for_many_threads(self):
        client = self.client()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            users = list(pool.map(lambda _: client.get_current_user().username, range(32)))
        self.assertEqual(set(users), {"admin"})
        self.assertEqual(self.proxy.count("/auth/login"), 1)

    def test_refreshes_once_for_many_threads(self):
        client = self.client()
        self.expire(client)
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda _: client.get_current_user(), range(32)))
        self.assertEqual(self.proxy.count("/auth/refresh"), 1)
        self.assertEqual(self.proxy.count("/auth/login"), 1)

    def test_refreshes_in_time_and_uses_the_old_token_if_that_fails(self):
        client = self.client()
        client.get_current_user()
        client._login._refresh_at = 0.0
        self.proxy.faults = [("/auth/refresh", "lose request")]
        client.get_current_user()
        self.assertEqual(self.proxy.count("/auth/refresh"), 1)
        client._login._refresh_at = 0.0
        client.get_current_user()
        self.assertEqual(self.proxy.count("/auth/refresh"), 2)
        self.assertEqual(self.proxy.count("/auth/login"), 1)

    def test_a_lost_refresh_answer_does_not_end_the_session(self):
        client = self.client()
        self.expire(client)
        self.proxy.faults = [("/auth/refresh", "lose answer"), ("/auth/refresh", "cut answer")]
        self.assertEqual(client.get_current_user().username, "admin")
        self.assertEqual(self.proxy.count("/auth/refresh"), 3)
        self.assertEqual(self.proxy.count("/auth/login"), 1)

    def test_a_creation_waits_for_the_login(self):
        client = self.client()
        busy = 503, {**PROBLEM, "Retry-After": "1"}, UNAVAILABLE
        self.proxy.faults = [("/auth/login", "lose answer"), ("/auth/login", busy)]
        client.create_gateway("Patient")
        self.assertEqual(self.proxy.count("/auth/login"), 3)
        self.assertEqual(self.proxy.count("/api/gateways"), 1)

    def test_a_401_is_answered_by_one_refresh(self):
        client = self.client()
        client.get_current_user()
        refused = b'{"type": "/problems/not-authenticated", "status": 401}'
        self.proxy.faults = [("/auth/me", (401, PROBLEM, refused))]
        self.assertEqual(client.get_current_user().username, "admin")
        self.assertEqual(self.proxy.count("/auth/refresh"), 1)
        self.proxy.faults = [("/auth/me", (401, PROBLEM, refused))] * 2
        with self.assertRaises(oei_ms.NotAuthenticated):
            client.get_current_user()

    def test_logs_in_again_when_the_session_was_ended(self):
        client = self.client()
        client.get_current_user()
        with oei_ms.Client(self.server.url, token=client._login.token()) as other:
            other._call("POST", "/api/auth/logout", lambda answer: answer.read())
        self.assertEqual(client.get_current_user().username, "admin")
        self.assertEqual(self.proxy.count("/auth/login"), 2)

    def test_a_token_that_is_given_is_not_refreshed(self):
        with self.server.client() as client:
            client.get_current_user()
            tokens = iter(["wrong", client._login.token(), client._login.token()])
            with oei_ms.Client(self.proxy.url, token=lambda: next(tokens)) as other:
                self.assertEqual(other.get_current_user().username, "admin")
        with oei_ms.Client(self.proxy.url, token="wrong") as other:
            with self.assertRaises(oei_ms.NotAuthenticated):
                other.get_current_user()

    def test_after_logout_nothing_is_sent(self):
        client = self.client()
        client.get_current_user()
        client.logout()
        before = len(self.proxy.requests)
        with self.assertRaises(oei_ms.SessionEnded):
            client.list_sensors().first()
        self.assertEqual(len(self.proxy.requests), before)
        client.login("admin", PASSWORD)
        self.assertEqual(client.get_current_user().username, "admin")

    def test_waits_for_retry_after(self):
        client = self.client()
        busy = 503, {**PROBLEM, "Retry-After": "1"}, UNAVAILABLE
        self.proxy.faults = [("/api/gateways", busy)] * 2
        waited = []
        with mock.patch.object(client._closing, "wait", lambda s: waited.append(s)):
            client.create_gateway("Press Ü", key="press-u")  # a 503 carries out nothing
        self.assertEqual(len(waited), 2)
        self.assertGreaterEqual(min(waited), 1.0)

    def test_a_long_retry_after_is_left_to_the_caller(self):
        client = self.client()
        self.proxy.faults = [("/auth/me", (429, {**PROBLEM, "Retry-After": "600"}, LIMITED))]
        with self.assertRaises(oei_ms.TooManyRequests) as raised:
            client.get_current_user()
        self.assertEqual(raised.exception.retry_after, 600)

    def test_a_lost_answer_of_a_creation_is_not_repeated(self):
        client = self.client()
        self.proxy.faults = [("/api/gateways", "lose answer")]
        with self.assertRaises(oei_ms.ConnectionFailed) as raised:
            client.create_gateway("Lost", key="lost-answer")
        self.assertTrue(raised.exception.was_sent)
        self.assertEqual(self.proxy.count("/api/gateways"), 1)
        self.assertEqual(len(list(client.list_gateways(key="lost-answer"))), 1)

    def test_a_lost_answer_of_a_write_is_repeated_with_its_key(self):
        client = self.client()
        gateway = client.create_gateway("Writer")
        sensor = client.create_sensor("W", "level", gateway.id)
        self.proxy.faults = [("/api/data", "lose answer")]
        result = client.write_readings([ReadingCreate(sensor_id=sensor.id, value=1)])
        self.assertEqual((result.stored, result.duplicates), (1, 0))  # the first answer again
        self.assertEqual(self.proxy.count("/api/data"), 2)

    def test_lost_and_cut_answers_of_reads_are_repeated(self):
        client = self.client()
        self.proxy.faults = [("/api/users", "lose request"), ("/api/users", "cut answer")]
        self.assertIn("admin", [user.username for user in client.list_users()])
        self.assertEqual(self.proxy.count("/api/users"), 3)

    def test_pages_go_on_after_a_lost_page(self):
        client = self.client()
        gateway = client.create_gateway("Pages")
        names = [f"{i} ünïcödé 温度" for i in range(7)]
        for name in names:
            client.create_sensor(name, "level", gateway.id)
        self.proxy.faults = [("cursor=", "cut answer")]
        listed = client.list_sensors(gateway_id=gateway.id, limit=2)
        self.assertEqual([sensor.name for sensor in listed], names)
        iterator = iter(listed)
        next(iterator)  # an iteration that is left leaves nothing open
        del iterator
        gc.collect()

    def test_a_page_of_another_server_is_refused(self):
        client = self.client()
        link = {"Link": '<http://evil.example/api/users?cursor=x>; rel="next"'}
        self.proxy.faults = [("/api/users", (200, link, b"[]"))]
        with self.assertRaises(oei_ms.InvalidAnswer):
            list(client.list_users())

    def test_answers_of_others_are_told_apart(self):
        client = self.client(retries=0)
        self.proxy.faults = [("/auth/me", (200, {"Content-Type": "text/html"}, b"<html>"))]
        with self.assertRaises(oei_ms.InvalidAnswer):
            client.get_current_user()
        self.proxy.faults = [("/auth/me", (502, {"Content-Type": "text/html"}, b"<html>"))]
        with self.assertRaises(oei_ms.ProblemError) as raised:
            client.get_current_user()
        self.assertEqual((raised.exception.status, raised.exception.type), (502, "about:blank"))

    def test_problems_have_classes_and_cross_processes(self):
        client = self.client()
        with self.assertRaises(oei_ms.InvalidRequest) as raised:
            client.create_gateway("x", key="not a key")
        problem = raised.exception
        self.assertEqual([fault.field for fault in problem.errors], ["key"])
        self.assertEqual(problem.type, oei_ms.ProblemType.INVALID_REQUEST)
        self.assertIn(problem.request_id, str(problem))
        copy = pickle.loads(pickle.dumps(problem))
        self.assertEqual((type(copy), str(copy)), (oei_ms.InvalidRequest, str(problem)))
        newer = oei_ms.ProblemError.of(409, {"type": "/problems/newer"})
        self.assertIsInstance(newer, oei_ms.Conflict)  # unknown types by their status
        self.assertEqual(newer.type, "/problems/newer")

    def test_an_answer_that_one_has_is_not_sent_again(self):
        client = self.client()
        sensor = client.create_sensor("E", "level", client.create_gateway("Etag").id)
        end = datetime.now(timezone.utc).replace(microsecond=0) - timedelta(hours=2)
        span = sensor.id, end - timedelta(hours=1), end
        history = client.get_history(*span)
        self.assertTrue(history.etag)
        with self.assertRaises(oei_ms.NotModified):
            client.get_history(*span, if_none_match=history.etag)

    def test_an_export_that_is_cut_off_is_an_error(self):
        client = self.client()
        sensor = client.create_sensor("X", "level", client.create_gateway("Export").id)
        at = datetime(2026, 1, 1, tzinfo=timezone.utc)
        readings = [
            ReadingCreate(sensor_id=sensor.id, timestamp=at + timedelta(seconds=i), value=i)
            for i in range(5000)
        ]
        client.write_readings(readings)
        with tempfile.TemporaryDirectory() as directory:
            path = pathlib.Path(directory, "readings.csv")
            self.proxy.faults = [("/export", "cut answer")]
            with self.assertRaises(oei_ms.ConnectionFailed):
                client.export_readings(sensor.id).save(path)
            size = client.export_readings(sensor.id).save(path)
            self.assertEqual(size, path.stat().st_size)
            self.assertEqual(path.read_bytes().count(b"\n"), 5001)
        with client.export_readings(sensor.id) as export:  # left early: nothing stays open
            next(export.lines())
        values = [reading.value for reading in client.list_readings(sensor.id, order="asc")]
        self.assertEqual(values, list(range(5000)))  # five pages

    def test_arguments_that_cannot_be_sent(self):
        client = self.client()
        with self.assertRaisesRegex(ValueError, "time zone"):
            client.list_readings(1, start=datetime(2026, 1, 1)).first()
        with self.assertRaises(ValueError):
            client.write_readings([ReadingCreate(sensor_id=1, value=float("nan"))])
        with self.assertRaises((TypeError, ValueError)):
            client.get_sensor("1/../2")
        for url in ("localhost:8000", "ftp://localhost", "http://a:b@localhost"):
            with self.assertRaises(ValueError):
                oei_ms.Client(url)
        with self.assertRaises(ValueError):
            oei_ms.Client("http://localhost", username="admin")
        with self.assertRaises(ValueError):
            oei_ms.Client("http://localhost", token="a", api_key="b")

    def test_a_server_that_is_away_is_not_reached(self):
        with Proxy(1) as proxy:
            gone = proxy.url
        with oei_ms.Client(gone, token="x", retries=1) as client:
            with self.assertRaises(oei_ms.ConnectionFailed) as raised:
                client.create_gateway("x")
            self.assertFalse(raised.exception.was_sent)
            self.assertIsInstance(raised.exception.__cause__, ConnectionRefusedError)

    def test_a_silent_server_times_out(self):
        with socket.create_server(("127.0.0.1", 0)) as silent:
            url = f"http://127.0.0.1:{silent.getsockname()[1]}"
            with oei_ms.Client(url, token="x", timeout=0.2, retries=1) as client:
                with self.assertRaises(oei_ms.ConnectionFailed):
                    client.get_version()

    def test_closing_ends_waiting_calls(self):
        client = self.client()
        client.get_current_user()
        busy = 503, {**PROBLEM, "Retry-After": "50"}, UNAVAILABLE
        self.proxy.faults = [("/auth/me", busy)]
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            call = pool.submit(client.get_current_user)
            while self.proxy.count("/auth/me") < 2:
                self.assertFalse(call.done())
            client.close()
            self.assertIsInstance(call.exception(timeout=30), oei_ms.ConnectionFailed)

    def test_the_proxy_of_the_environment_is_used(self):
        environment = {"http_proxy": self.proxy.url, "no_proxy": ""}
        with mock.patch.dict(os.environ, environment):
            with oei_ms.Client("http://plant.invalid:8000", token="x", retries=0) as client:
                self.proxy.faults = [("http://plant.invalid:8000/version", (
                    200, {}, b'{"version": "1", "commit": "", "go": "go1"}'
                ))]
                self.assertEqual(client.get_version().version, "1")
        with mock.patch.dict(os.environ, {**environment, "no_proxy": "127.0.0.1"}):
            with oei_ms.Client(self.server.url) as client:
                before = len(self.proxy.requests)
                client.get_version()
                self.assertEqual(len(self.proxy.requests), before)


class RestartTest(unittest.TestCase):
    def test_calls_go_on_after_a_restart(self):
        server = Server()
        self.addCleanup(server.remove)
        with server.client() as client:
            client.get_current_user()
            server.stop()
            server.start()
            # The kept connection is stale now; nothing of that is seen, not even by a creation.
            self.assertEqual(client.create_gateway("After", key="after").key, "after")
