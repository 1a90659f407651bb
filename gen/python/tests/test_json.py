"""Values on the wire: times, columns, absent members and members of newer servers."""

import array
import json
import math
import unittest
from datetime import datetime, timedelta, timezone

import oei_ms
from oei_ms import _json

UTC = timezone.utc


class TimeTest(unittest.TestCase):
    def test_times_are_exact(self):
        for text, want in {
            "2026-01-02T03:04:05.678901Z": datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
            "2026-01-02T03:04:05Z": datetime(2026, 1, 2, 3, 4, 5, 0, UTC),
            "2026-01-02t03:04:05.5z": datetime(2026, 1, 2, 3, 4, 5, 500000, UTC),
            "2026-01-02T03:04:05.999999999+05:30": datetime(2026, 1, 1, 21, 34, 5, 999999, UTC),
            "0001-01-01T00:00:00Z": datetime(1, 1, 1, tzinfo=UTC),
            "9999-12-31T23:59:59.999999Z": datetime(9999, 12, 31, 23, 59, 59, 999999, UTC),
        }.items():
            self.assertEqual(_json.to_datetime(text), want)
            self.assertEqual(_json.to_datetime(_json.from_datetime(want)), want)
        for text in ("", "2026-01-02", "2026-01-02T03:04:05", None, 5, "2026-01-02T03:04:05.Z"):
            with self.assertRaises(oei_ms.InvalidAnswer):
                _json.to_datetime(text)

    def test_times_are_written_in_utc(self):
        zone = timezone(timedelta(hours=5, minutes=53, seconds=28))  # as before time zones
        time = datetime(1900, 1, 1, 12, 0, 0, 1, zone)
        self.assertEqual(_json.from_datetime(time), "1900-01-01T06:06:32.000001Z")

    def test_columns_are_arrays(self):
        document = {
            "start": ["1969-12-31T23:59:59.999999Z", "2026-01-02T03:04:05.678901Z"],
            "end": [],
            "avg": [1, None],
        }
        columns = oei_ms.HistoryColumns.from_json(document)
        self.assertEqual(columns.start, array.array("q", [-1, 1767323045678901]))
        self.assertEqual((columns.avg[0], math.isnan(columns.avg[1])), (1.0, True))
        self.assertIsNone(columns.max)
        for instant, text in zip(columns.start, document["start"]):
            self.assertEqual(oei_ms.from_microseconds(instant), _json.to_datetime(text))


class ModelTest(unittest.TestCase):
    def test_absent_is_not_null(self):
        update = oei_ms.AlarmRuleUpdate(name="x", deadband=None)
        self.assertEqual(update.to_json(), {"name": "x", "deadband": None})
        self.assertFalse(oei_ms.UNSET)

    def test_nested_objects_survive_a_round_trip(self):
        rule = oei_ms.AlarmRule(
            name="Größe 温度 \U0001f525",
            kind="threshold",
            severity="major",
            limits=oei_ms.AlarmLimits(high=oei_ms.AlarmLimit(value=80)),
            schedule=oei_ms.AlarmSchedule(zone="Europe/Rome", from_="06:00", to="22:00"),
        )
        document = json.loads(_json.encode(rule))
        self.assertEqual(document["schedule"]["from"], "06:00")
        self.assertNotIn("range", document)
        self.assertEqual(oei_ms.AlarmRule.from_json(document), rule)

    def test_members_of_newer_servers_are_ignored(self):
        ping = oei_ms.WsPing.from_json(
            {"type": "ping", "time": "2026-01-02T03:04:05Z", "newer": {"a": 1}}
        )
        self.assertEqual(ping, oei_ms.WsPing(datetime(2026, 1, 2, 3, 4, 5, 0, UTC)))

    def test_answers_that_do_not_follow_the_contract(self):
        for document in ({"type": "ping"}, [], None, "x"):
            with self.assertRaises(oei_ms.InvalidAnswer):
                oei_ms.WsPing.from_json(document)
