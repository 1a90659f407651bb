"""The gateways of examples/ keep every reading through restarts of the server and of themselves."""

import csv
import json
import os
import pathlib
import sqlite3
import subprocess
import sys
import tempfile
import threading
import unittest
from datetime import datetime, timedelta, timezone

from oei_ms import ReadingCreate
from oei_ms._json import to_datetime

from .server import ROOT, Server

EXAMPLES = ROOT / "examples"


def python_with_paho():
    """Returns a Python that has the MQTT library; Debian's has if another one is first."""
    for python in (sys.executable, "/usr/bin/python3"):
        check = [python, "-c", "import paho.mqtt.client"]
        if subprocess.run(check, capture_output=True).returncode == 0:
            return python
    raise ModuleNotFoundError("python3-paho-mqtt is missing; run tools/setup.sh")


class GatewayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.addClassCleanup(cls.server.remove)

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = pathlib.Path(directory.name)
        self.client = self.server.client()
        self.addCleanup(self.client.close)

    def test_python(self):
        database = str(self.directory / "readings.db")

        def buffered():
            connection = sqlite3.connect(database, timeout=30)
            rows = connection.execute("SELECT reading FROM readings").fetchall()
            connection.close()
            return [json.loads(reading) for (reading,) in rows]

        self.keeps_every_reading(
            [python_with_paho(), str(EXAMPLES / "gateway.py")], database, buffered
        )

    def test_go(self):
        program = str(self.directory / "gateway")
        subprocess.run(["go", "build", "-o", program, "./examples/gateway"], check=True, cwd=ROOT)
        folder = self.directory / "buffer"
        folder.mkdir()

        def buffered():
            found = []
            for file in folder.iterdir():
                try:
                    found += json.loads(file.read_text())
                except (OSError, ValueError):  # removed, or being written
                    pass
            return found

        self.keeps_every_reading([program], str(folder), buffered)

    def test_the_export_in_go(self):
        gateway = self.client.create_gateway("Exported")
        sensor = self.client.create_sensor("Ölstand", "level", gateway.id, key="oil", unit="mm")
        at = datetime.now(timezone.utc) - timedelta(hours=1)
        readings = [
            ReadingCreate(sensor_id=sensor.id, timestamp=at + timedelta(seconds=i), value=value)
            for i, value in enumerate([1.5, None, -2e300])
        ]
        self.client.write_readings(readings)
        environment = {
            **os.environ,
            "OEI_URL": self.server.url,
            "OEI_API_KEY": self.client.create_api_key("export", "viewer").key,
        }
        output = subprocess.run(
            ["go", "run", "./examples/export", "-days", "2"], check=True, cwd=ROOT, text=True,
            env=environment, stdout=subprocess.PIPE,
        ).stdout
        rows = [row for row in csv.reader(output.splitlines()) if row[1] == "oil"]
        self.assertEqual([to_datetime(row[0]) for row in rows], [r.timestamp for r in readings])
        self.assertEqual(
            [row[2:] for row in rows],
            [["1.5", "mm", "good"], ["", "mm", "bad"], ["-2e+300", "mm", "good"]],
        )

    def keeps_every_reading(self, command, buffer, buffered):
        gateway = self.client.create_gateway(f"Gateway {self._testMethodName}")
        sensor = self.client.create_sensor("Load", "load", gateway.id, key="load")
        environment = {
            **os.environ,
            "GATEWAY": gateway.key,
            "SENSOR": sensor.key,
            "SECRET": self.client.create_credential(gateway.id).secret,
            "MQTT_HOST": "127.0.0.1",
            "MQTT_PORT": str(self.server.mqtt_port),
            "MQTT_URL": f"mqtt://127.0.0.1:{self.server.mqtt_port}",
            "BUFFER": buffer,
        }
        program = self.start(command, environment)
        self.assertEqual(self.receipt(program)["rejected"], [])
        self.server.stop()
        kept = self.until(lambda: buffered() if len(buffered()) >= 3 else None)
        program.kill()  # offline, and without a chance to write anything
        program.wait()
        self.assertGreaterEqual(len(buffered()), len(kept))
        program = self.start(command, environment)
        self.until(lambda: len(buffered()) > len(kept))
        self.server.start()
        self.assertEqual(self.receipt(program)["rejected"], [])
        self.until(lambda: len(buffered()) <= 1)
        program.kill()
        stored = {reading.timestamp for reading in self.client.list_readings(sensor.id)}
        lost = {to_datetime(reading["timestamp"]) for reading in kept} - stored
        self.assertEqual(lost, set())

    def start(self, command, environment):
        program = subprocess.Popen(
            command, env=environment, cwd=self.directory, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        watchdog = threading.Timer(120, program.kill)
        watchdog.start()
        self.addCleanup(program.stdout.close)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        self.addCleanup(watchdog.cancel)
        return program

    def receipt(self, program):
        line = program.stdout.readline()
        self.assertTrue(line.startswith("receipt: "), f"no receipt comes, but {line!r}")
        return json.loads(line[len("receipt: ") :])

    def until(self, condition):
        """Waits for a condition and returns what it gives."""
        pause = threading.Event()
        for _ in range(1200):
            found = condition()
            if found:
                return found
            pause.wait(0.05)
        raise AssertionError("it does not come about within a minute")
