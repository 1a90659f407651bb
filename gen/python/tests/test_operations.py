"""Drives every operation of the contract through the client, against the real server.

Each method is a scenario that shows how the operations of an area are used together. An operation
that no scenario drives fails the test.
"""

import json
import math
import re
import unittest
from datetime import datetime, timedelta, timezone

import oei_ms
from oei_ms import AlarmLimit, AlarmLimits, AlarmRule, AlarmRuleUpdate, ReadingCreate

from . import mqtt
from .recorder import RecordingClient
from .server import shared

MINUTE = timedelta(minutes=1)
RULE = AlarmRule(
    name="Hydraulics hot",
    kind="threshold",
    severity="major",
    limits=AlarmLimits(
        high=AlarmLimit(value=80), high_high=AlarmLimit(value=95, severity="critical")
    ),
    latching=True,
    labels={"line": "1"},
)


def now():
    return datetime.now(timezone.utc)


class OperationsTest(unittest.TestCase):
    maxDiff = None

    def test_every_operation(self):
        self.server = shared()
        with self.server.client(RecordingClient) as self.client:
            self.client.read_contract()
            self.gateway = self.client.create_gateway("Press line 2", key="press-line-2")
            self.sensor = self.create_sensor("bearing")
            for scenario in dir(self):
                if scenario.startswith("drive_"):
                    with self.subTest(scenario):
                        getattr(self, scenario)()
            self.client.get_open_api()
            self.assertEqual(self.client.not_driven(), [], "drive these operations, too")
            self.assertEqual(self.client.faults, [])

    def create_sensor(self, key, type="temperature"):
        return self.client.create_sensor(
            key.title(), type, self.gateway.id, key=key, unit="Cel"
        )

    def write(self, sensor, value):
        return self.client.write_readings([ReadingCreate(sensor_id=sensor.id, value=value)])

    def drive_system(self):
        with RecordingClient(url=self.server.url) as anonymous:  # these need no login
            self.assertEqual(anonymous.get_health().status, "healthy")
        health = self.client.get_health()
        self.assertEqual(health.database, "connected")
        self.assertLess(abs(now() - health.timestamp), timedelta(minutes=5))
        self.assertEqual(self.client.get_liveness().status, "alive")
        self.assertEqual(self.client.get_readiness().status, "ready")
        self.assertRegex(self.client.get_version().go, r"^go1\.")
        self.assertIn("http_requests_total", self.client.get_metrics())
        self.assertEqual(self.client.get_root(), "/docs")
        docs = self.client.get_docs()
        script = re.search(r'src="(?:\.?/)?docs/assets/([^"]+\.js)"', docs).group(1)
        self.assertGreater(len(self.client.get_docs_asset(script)), 100)
        self.assertIn("redoc", self.client.get_redoc())
        self.assertIn("asyncapi", self.client.get_async_api_page())
        self.assertIn("\nasyncapi: ", self.client.get_async_api_text())
        self.assertTrue(self.client.get_async_api()["asyncapi"].startswith("3."))
        self.assertIn("Publish readings", self.client.get_guide_page("mqtt"))

    def drive_auth(self):
        first = "correct horse battery"
        self.client.create_user("grace", "grace@example.com", "operator", first)
        grace = RecordingClient(url=self.server.url)
        grace.operations, grace.succeeded = self.client.operations, self.client.succeeded
        with grace:
            tokens = grace.login("grace", first)
            self.assertEqual(tokens.token_type, "bearer")
            me = grace.get_current_user()
            self.assertEqual((me.username, me.role, me.is_superuser), ("grace", "operator", False))
            grace.change_password(first, "battery staple horse")
            with RecordingClient(url=self.server.url) as other:
                with self.assertRaises(oei_ms.NotAuthenticated):
                    other.login("grace", first)
            renewed = grace.refresh_session(tokens.refresh_token)
            self.assertNotEqual(renewed.refresh_token, tokens.refresh_token)
            grace.logout()
            with self.assertRaises(oei_ms.SessionEnded):
                grace.get_current_user()

    def drive_users(self):
        created = self.client.create_user(
            "linus", "linus@example.com", "operator", "correct horse battery"
        )
        found = list(self.client.list_users(role="operator", username="linus"))
        self.assertEqual(found, [created])
        read = self.client.get_user(created.id)
        promoted = self.client.update_user(created.id, role="engineer", if_match=read.etag)
        self.assertEqual(promoted.role, "engineer")
        with self.assertRaises(oei_ms.Changed):
            self.client.update_user(created.id, role="viewer", if_match=read.etag)
        self.assertTrue(self.client.delete_user(created.id, dry_run=True).dry_run)
        self.assertEqual(self.client.delete_user(created.id).sessions, 0)
        with self.assertRaises(oei_ms.NotFound) as raised:
            self.client.get_user(created.id)
        self.assertEqual(raised.exception.type, oei_ms.ProblemType.NOT_FOUND)
        self.assertTrue(raised.exception.request_id)

    def drive_api_keys(self):
        created = self.client.create_api_key("Grafana", "viewer", expires_at=now() + MINUTE)
        self.assertEqual([key.id for key in self.client.list_api_keys()], [created.id])
        program = RecordingClient(url=self.server.url, api_key=created.key)
        program.operations, program.succeeded = self.client.operations, self.client.succeeded
        with program:
            self.assertEqual(program.get_current_api_key().name, "Grafana")
            with self.assertRaises(oei_ms.Forbidden):
                program.create_gateway("x")
            with program.live("alarms", snapshot=True) as live:
                self.assertIsInstance(live.get(30), oei_ms.WsAlarmSnapshot)
            read = self.client.get_api_key(created.id)
            changed = self.client.update_api_key(created.id, role="engineer", if_match=read.etag)
            self.assertEqual(changed.role, "engineer")
            self.client.revoke_api_key(created.id)
            with self.assertRaises(oei_ms.NotAuthenticated):
                program.get_current_user()

    def drive_gateways(self):
        gateway = self.client.create_gateway("Насос №3", metadata={"vendor": "ACME"})
        self.assertEqual(gateway.key, "nasos-3")
        self.assertEqual(list(self.client.list_gateways(key="nasos-3")), [gateway])
        read = self.client.get_gateway(gateway.id)
        self.assertEqual((read.status, read.metadata), ("unknown", {"vendor": "ACME"}))
        moved = self.client.update_gateway(gateway.id, location="Hall 2", if_match=read.etag)
        self.assertEqual((moved.location, moved.name), ("Hall 2", "Насос №3"))

        flow = self.client.create_sensor(
            "Flow", "flow", gateway.id, key="flow", unit="m3/h", min_value=0, max_value=90
        )
        found = list(self.client.list_sensors(gateway_id=gateway.id, type="flow"))
        self.assertEqual(found, [flow])
        read = self.client.get_sensor(flow.id)
        changed = self.client.update_sensor(
            flow.id, max_value=None, unit="l/s", if_match=read.etag
        )
        self.assertEqual((changed.min_value, changed.max_value, changed.unit), (0, None, "l/s"))

        credential = self.client.create_credential(gateway.id)
        self.assertEqual([c.id for c in self.client.list_credentials(gateway.id)], [credential.id])
        message = (
            self.server.mqtt_port, credential.username, credential.secret,
            "sensors/nasos-3/flow/data", '{"Value": 21.5}',
        )
        mqtt.publish(*message)
        rejections = self.client.list_rejections(gateway_id=gateway.id, count=True).first()
        self.assertEqual([(r.reason, r.payload) for r in rejections], [("malformed", message[4])])
        self.assertEqual(rejections.total, 1)
        self.client.revoke_credential(gateway.id, credential.id)
        with self.assertRaises(ConnectionError):
            mqtt.publish(*message)

        with self.assertRaises(oei_ms.Conflict):
            self.client.delete_gateway(gateway.id)
        self.assertEqual(self.client.delete_sensor(flow.id).sensors, 1)
        self.assertEqual(self.client.delete_gateway(gateway.id).gateways, 1)

    def drive_data(self):
        oil = self.create_sensor("oil")
        begin = now().replace(second=0, microsecond=123_456) - 10 * MINUTE
        values = [20, 30, 25, 45]
        readings = [
            ReadingCreate(sensor_id=oil.id, timestamp=begin + i * MINUTE, value=value)
            for i, value in enumerate(values)
        ]
        self.assertEqual(self.client.write_readings(readings).stored, 4)
        conflict = ReadingCreate(gateway="press-line-2", sensor="oil", timestamp=begin, value=-1)
        again = self.client.write_readings([*readings, conflict])
        self.assertEqual((again.stored, again.duplicates, again.conflicts), (0, 4, 1))

        span = oil.id, begin, begin + 4 * MINUTE
        pages = self.client.list_readings(span[0], start=span[1], end=span[2], limit=3)
        self.assertEqual([reading.value for reading in pages], [45, 25, 30, 20])
        self.assertEqual([len(page) for page in pages.pages()], [3, 1])
        self.assertEqual(list(pages)[-1].timestamp, begin)  # to the microsecond
        (latest,) = self.client.list_latest_readings(sensor_id=[oil.id], include="sensor")
        self.assertEqual((latest.value, latest.sensor.unit), (45, "Cel"))

        rows = self.client.get_history(*span, interval="2m", agg=["min", "max", "avg"])
        self.assertEqual(max(bucket.max for bucket in rows.series[0].points), 45)
        columns = self.client.get_history(
            *span, interval="1m", agg=["avg", "stddev"], format="columns"
        ).series[0].columns
        self.assertEqual(columns.avg.typecode, "d")
        self.assertEqual(list(columns.avg), values)
        self.assertTrue(all(math.isnan(value) for value in columns.stddev))
        first = oei_ms.from_microseconds(columns.start[0])
        self.assertEqual(first, begin.replace(microsecond=0))

        chart = self.client.get_downsampled_readings(*span, points=500, method="lttb")
        self.assertEqual([reading.value for reading in chart.series[0].readings], values)
        whole = self.client.get_statistics(*span, percentiles="p50", gap_seconds=30)
        figures = whole.series[0].intervals[0]
        self.assertEqual((figures.count, figures.avg, figures.percentiles), (4, 30, {"p50": 27.5}))

        with self.client.export_readings(oil.id, start=span[1], format="csv") as export:
            self.assertRegex(export.headers["Content-Disposition"], r'filename=".*\.csv"')
            fields = [line.split(",")[2] for line in export.lines()]
        self.assertEqual(fields, ["value", "20", "30", "25", "45"])
        with self.client.export_readings([oil.id], format="ndjson") as export:
            self.assertEqual([json.loads(line)["value"] for line in export.lines()], values)

        short = self.create_sensor("short")
        old = ReadingCreate(sensor_id=short.id, timestamp=begin - timedelta(days=3), value=1)
        self.client.write_readings([old])
        self.client.update_sensor(short.id, retention_days=1)
        partition = self.client.preview_retention(limit=1).first()[0]
        self.assertEqual(partition.sensors[0].retention_seconds, 86_400)
        self.client.delete_sensor(short.id)

        middle = oil.id, begin + MINUTE, begin + 3 * MINUTE
        self.assertEqual(self.client.delete_readings(*middle, dry_run=True).readings, 2)
        self.assertEqual(self.client.delete_readings(*middle).readings, 2)
        left = [reading.value for reading in self.client.list_readings(oil.id, order="asc")]
        self.assertEqual(left, [20, 45])

    def drive_alarms(self):
        oil = self.create_sensor("hydraulics")
        for i, value in enumerate([70, 90, 70]):
            at = now() - (3 - i) * timedelta(seconds=1)
            self.client.write_readings([ReadingCreate(sensor_id=oil.id, timestamp=at, value=value)])
        result = self.client.simulate_alarm(oil.id, RULE, now() - MINUTE, now())
        self.assertEqual([event.kind for event in result.events], ["raised", "latched"])

        alarm = self.client.create_alarm(oil.id, RULE)
        self.write(oil, 90)
        (raised,) = self.client.list_alarms(
            state="active_unacknowledged", label=["line=1"], sort="severity"
        )
        self.assertEqual((raised.id, raised.severity), (alarm.id, "major"))
        self.assertEqual(self.client.explain_alarm(alarm.id).level, "high")
        seen = alarm.id, raised.occurrence, raised.state_version
        acknowledged = self.client.acknowledge_alarm(*seen, comment="crew is on its way")
        self.assertEqual(acknowledged.state, "active_acknowledged")
        with self.assertRaises(oei_ms.Conflict):
            self.client.acknowledge_alarm(*seen)

        self.client.comment_on_alarm(alarm.id, "bearing ordered")
        shelved = self.client.shelve_alarm(alarm.id, "being cleaned", duration_seconds=3600)
        self.assertGreater(shelved.shelved_until, now())
        self.client.unshelve_alarm(alarm.id, comment="sensor is clean")
        self.write(oil, 60)
        self.assertEqual(self.client.get_alarm(alarm.id).state, "latched_acknowledged")
        self.assertEqual(self.client.reset_alarm(alarm.id).state, "normal")
        self.client.take_alarm_out_of_service(alarm.id, "pump is dismounted")
        self.write(oil, 99)
        back = self.client.return_alarm_to_service(alarm.id)
        self.assertEqual(back.state, "active_unacknowledged")

        results = self.client.acknowledge_alarms([
            oei_ms.AlarmBulkAcknowledgeItem(back.id, back.occurrence, back.state_version),
            oei_ms.AlarmBulkAcknowledgeItem(2_000_000_000, 1, 1),
        ])
        self.assertEqual([result.status for result in results], ["acknowledged", "not_found"])

        etag = self.client.get_alarm(alarm.id).etag
        change = AlarmRuleUpdate(limits=AlarmLimits(high=AlarmLimit(value=85)), deadband=None)
        changed = self.client.update_alarm(alarm.id, change, if_match=etag)
        self.assertEqual((changed.rule.limits.high.value, changed.rule.deadband), (85, None))

        self.assertEqual(self.client.delete_alarm(alarm.id).alarms, 1)
        events = list(self.client.list_events_for_alarm(alarm.id))
        self.assertEqual([e.kind for e in events[:3]], ["raised", "acknowledged", "commented"])
        log = self.client.list_alarm_events(sensor_id=oil.id, after=events[0].offset, limit=2)
        self.assertEqual([e.offset for e in log], [e.offset for e in events[1:]])
        self.assertGreaterEqual(self.client.get_alarm_kpi().alarms, 1)

    def drive_notifications(self):
        bus = self.client.create_notification_channel("Plant bus", "mqtt")
        etag = self.client.get_notification_channel(bus.id).etag
        renamed = self.client.update_notification_channel(bus.id, name="Bus", if_match=etag)
        self.assertEqual(renamed.name, "Bus")
        self.assertIn("Bus", [c.name for c in self.client.list_notification_channels()])
        sent = self.client.test_notification_channel(bus.id)
        self.assertEqual((sent.kind, sent.status), ("test", "delivered"))
        deliveries = self.client.list_notification_deliveries(channel_id=bus.id)
        self.assertEqual([delivery.key for delivery in deliveries], [sent.key])
        self.assertEqual(self.client.get_notification_delivery(sent.id).key, sent.key)

        route = self.client.create_notification_route(
            "Critical", bus.id, severities=["critical"], labels={"line": "1"}
        )
        self.assertEqual([r.id for r in self.client.list_notification_routes()], [route.id])
        etag = self.client.get_notification_route(route.id).etag
        self.client.update_notification_route(route.id, remind_seconds=600, if_match=etag)
        with self.assertRaises(oei_ms.Conflict):
            self.client.delete_notification_channel(bus.id)
        self.client.delete_notification_route(route.id)
        self.client.delete_notification_channel(bus.id)

        silence = self.client.create_notification_silence(
            now() + timedelta(hours=1), "Maintenance", gateway_id=self.gateway.id
        )
        current = self.client.list_notification_silences(current=True)
        self.assertEqual([s.id for s in current], [silence.id])
        ended = self.client.end_notification_silence(silence.id)
        self.assertEqual(ended.ended_by, "admin")
        self.assertEqual(self.client.get_notification_silence(silence.id), ended)

    def drive_web_sockets(self):
        with self.client.open_sensor_web_socket(self.sensor.id) as socket:
            self.assertIsInstance(socket.receive(30), oei_ms.WsAuthenticated)
            self.assertIsInstance(socket.receive(30), oei_ms.WsSubscribed)
            self.write(self.sensor, 22.5)
            message = socket.receive(30)
            self.assertEqual((message.sensor_id, message.data.value), (self.sensor.id, 22.5))
        with self.client.open_alarm_web_socket() as socket:
            self.assertIsInstance(socket.receive(30), oei_ms.WsAuthenticated)
            self.assertEqual(socket.receive(30).topics, ["alarms"])
        ticket = self.client.create_web_socket_ticket().ticket
        with self.client.open_web_socket(ticket=ticket) as socket:
            self.assertIsInstance(socket.receive(30), oei_ms.WsAuthenticated)
            socket.send(oei_ms.WsSubscribe([f"sensors/{self.sensor.id}"], id="1"))
            self.assertEqual(socket.receive(30).id, "1")
        with self.assertRaises(oei_ms.NotAuthenticated):
            self.client.open_web_socket(ticket=ticket)  # for one use
