"""Live readings and alarm events, through restarts of the server and slow callers."""

import gc
import threading
import unittest
import weakref

import oei_ms
from oei_ms import AlarmLimit, AlarmLimits, AlarmRule, ReadingCreate, WsAlarm, WsSensorData

from .server import Server

RULE = AlarmRule(
    name="Heiß 温度", kind="threshold", severity="major", limits=AlarmLimits(high=AlarmLimit(80))
)


def live_threads():
    return [thread for thread in threading.enumerate() if thread.name == "oei-ms live"]


class LiveTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.remove)

    def setUp(self):
        self.client = self.server.client()
        self.addCleanup(self.client.close)
        gateway = self.client.create_gateway(f"Live {self.id()}"[:100])
        self.sensor = self.client.create_sensor("S", "temperature", gateway.id)
        self.topic = f"sensors/{self.sensor.id}"
        self.addCleanup(self.assertNoThreads)

    def assertNoThreads(self):
        gc.collect()
        for thread in live_threads():
            thread.join(10)
        self.assertEqual(live_threads(), [])

    def write(self, value):
        self.client.write_readings([ReadingCreate(sensor_id=self.sensor.id, value=value)])

    def next(self, live, kind, limit=1000):
        """Returns the next message of a kind."""
        for _ in range(limit):
            message = live.get(timeout=60)
            self.assertIsNotNone(message, f"no {kind.__name__} comes")
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} among {limit} messages")

    def until_live(self, live):
        for _ in range(600):
            if live.state == "live":
                return
            self.assertIsNone(live.get(timeout=0.1))
        self.fail(f"it is {live.state}")

    def test_readings_and_alarms_through_restarts(self):
        alarm = self.client.create_alarm(self.sensor.id, RULE)
        with self.client.live([self.topic, "alarms"]) as live:
            self.until_live(live)
            self.write(90)
            self.assertEqual(self.next(live, WsSensorData).data.value, 90)
            kinds = [self.next(live, WsAlarm).event.kind]
            for value in (60, 95):  # each happens while nobody is connected
                self.server.stop()
                self.server.start()
                self.write(value)
                resync = self.next(live, oei_ms.WsResync)
                self.assertEqual(resync.scope, "readings")
                kinds.append(self.next(live, WsAlarm).event.kind)
            self.assertEqual(kinds[0], "raised")
            log = list(self.client.list_events_for_alarm(alarm.id))
            self.assertEqual(kinds, [event.kind for event in log][-3:])
            position = live.position
        self.client.comment_on_alarm(alarm.id, "while the program is down")
        with self.client.live("alarms", resume=position) as live:
            event = self.next(live, WsAlarm).event
            self.assertEqual(event.comment, "while the program is down")
            self.assertEqual(event.offset, position.offset + 1)

    def test_a_snapshot_comes_first(self):
        self.client.create_alarm(self.sensor.id, RULE)
        self.write(99)
        with self.client.live([self.topic, "alarms"], snapshot=True) as live:
            both = {type(message): message for message in (live.get(60), live.get(60))}
            items = both[oei_ms.WsSnapshot].items
            self.assertEqual([item.data.value for item in items], [99])
            alarms = both[oei_ms.WsAlarmSnapshot].alarms
            self.assertIn(self.sensor.id, [alarm.sensor_id for alarm in alarms])
            self.assertIsNotNone(live.position)

    def test_no_alarm_is_lost_or_seen_twice_when_connections_break(self):
        alarm = self.client.create_alarm(self.sensor.id, RULE)
        count = 60
        with self.client.live("alarms") as live:
            self.until_live(live)
            first = live._feed.position.offset
            for i in range(count):
                self.client.comment_on_alarm(alarm.id, str(i))
                if i % 7 == 3:
                    live._feed._socket.abort()
            events = []
            while not events or events[-1].comment != str(count - 1):
                events.append(self.next(live, WsAlarm).event)
        self.assertEqual([event.comment for event in events], [str(i) for i in range(count)])
        offsets = [event.offset for event in events]
        self.assertEqual(offsets, list(range(first + 1, first + 1 + count)))

    def test_a_slow_caller_loses_no_alarm(self):
        alarm = self.client.create_alarm(self.sensor.id, RULE)
        with self.client.live("alarms", buffer=1) as live:
            self.until_live(live)
            for i in range(20):
                self.client.comment_on_alarm(alarm.id, str(i))
            comments = [self.next(live, WsAlarm).event.comment for _ in range(20)]
        self.assertEqual(comments, [str(i) for i in range(20)])

    def test_it_ends_when_it_is_left(self):
        with self.client.live(self.topic) as live:
            self.until_live(live)
        self.assertEqual(list(live), [])
        for message in self.client.live(self.topic, snapshot=True):  # nothing refers to it after
            break
        self.write(1)
        forgotten = weakref.ref(self.client.live(self.topic))
        gc.collect()
        self.assertIsNone(forgotten())

    def test_another_thread_closes_it(self):
        live = self.client.live(self.topic)
        self.until_live(live)
        timer = threading.Timer(0.2, live.close)
        timer.start()
        self.assertEqual(list(live), [])
        timer.join()

    def test_a_refused_topic_is_an_error(self):
        for topics in ("sensors/2000000000", ["nonsense"]):
            with self.assertRaises(oei_ms.SubscriptionRefused):
                next(self.client.live(topics))

    def test_an_ended_session_is_an_error(self):
        with self.server.client() as other:
            other.get_current_user()
            with oei_ms.Client(self.server.url, token=other._login.token()) as client:
                live = client.live(self.topic)
                self.until_live(live)
                other.logout()
                with self.assertRaises(oei_ms.SessionEnded):
                    next(live)
        with oei_ms.Client(self.server.url, token="wrong") as client:
            with self.assertRaises(oei_ms.NotAuthenticated):
                next(client.live(self.topic))

    def test_a_password_logs_in_again_when_its_session_has_ended(self):
        with self.server.client() as other:
            live = other.live("alarms")
            self.until_live(live)
            with oei_ms.Client(self.server.url, token=other._login.token()) as client:
                client._call("POST", "/api/auth/logout", lambda answer: answer.read())
            alarm = self.client.create_alarm(self.sensor.id, RULE)
            self.client.comment_on_alarm(alarm.id, "after the session")
            comments = ""
            while comments != "after the session":
                comments = self.next(live, WsAlarm).event.comment
            live.close()

    def test_a_server_that_was_never_reached_is_an_error(self):
        with oei_ms.Client("http://127.0.0.1:1", token="t", retries=1) as client:
            with self.assertRaises(oei_ms.ConnectionFailed):
                next(client.live("alarms"))


class ShortTokensTest(unittest.TestCase):
    def test_the_login_of_an_open_socket_is_renewed(self):
        server = Server(ACCESS_TOKEN_EXPIRE_MINUTES="1")
        self.addCleanup(server.remove)
        with server.client() as client, client.live("alarms") as live:
            while live.state != "live":
                self.assertIsNone(live.get(timeout=0.1))
            first, socket = client._login.token(), live._feed._socket
            client._login._refresh_at = 0.0  # as if the token were about to expire
            sensor = client.create_sensor("S", "level", client.create_gateway("G").id)
            alarm = client.create_alarm(sensor.id, RULE)
            self.assertNotEqual(client._login.token(), first)
            for i in range(3):
                client.comment_on_alarm(alarm.id, str(i))
                message = live.get(timeout=60)
                while message.event.comment != str(i):
                    message = live.get(timeout=60)
            self.assertIs(live._feed._socket, socket)  # without a new connection
