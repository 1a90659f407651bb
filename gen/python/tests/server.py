"""Starts the built program on free ports, with a temporary directory."""

import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
import warnings

import oei_ms

ROOT = pathlib.Path(__file__).resolve().parents[3]
PROGRAM = os.environ.get("OEI_PROGRAM", str(ROOT / "oei-ms"))
PASSWORD = "a password for the tests"

warnings.simplefilter("error", ResourceWarning)  # a socket that is left open fails its test


def free_ports(count):
    """Returns ports of the loopback that nobody listens on."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


class Server:
    """A running program. `stop` and `start` restart it on the same data and ports."""

    def __init__(self, **settings):
        if not os.path.exists(PROGRAM):
            raise FileNotFoundError(f"{PROGRAM} is missing; build it: ./task build")
        self.port, self.mqtt_port = free_ports(2)
        self.url = f"http://127.0.0.1:{self.port}"
        self.directory = tempfile.mkdtemp(prefix="oei-ms-python-")
        os.chmod(self.directory, 0o755)  # as root the database runs as another user
        self._settings = {
            "PATH": os.environ["PATH"],
            "HOME": os.environ.get("HOME", "/"),
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "MQTT_PORT": str(self.mqtt_port),
            "DATA_DIR": os.path.join(self.directory, "data"),
            "ADMIN_USERNAME": "admin",
            "ADMIN_PASSWORD": PASSWORD,
            **settings,
        }
        self._process = None
        try:
            self.start()
        except BaseException:
            self.remove()
            raise

    def start(self):
        """Starts it and waits until it is ready."""
        self._log = open(os.path.join(self.directory, "log"), "ab")
        self._process = subprocess.Popen(
            [PROGRAM, "serve"],
            cwd=self.directory,  # without the .env of the repository
            env=self._settings,
            stdout=self._log,
            stderr=self._log,
        )
        for _ in range(900):
            if self._process.poll() is not None:
                break
            try:
                opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
                with opener.open(self.url + "/health/ready", timeout=5):
                    return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError("the server does not become ready:\n" + self.log())

    def stop(self):
        """Ends it and keeps its data."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            code = process.wait(timeout=60)
        finally:
            process.kill()
            self._log.close()
        if code != 0:
            raise RuntimeError(f"the server ended with {code}:\n{self.log()}")

    def log(self):
        """Returns what it has written."""
        with open(os.path.join(self.directory, "log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def remove(self):
        """Ends it and removes its data."""
        try:
            self.stop()
        finally:
            shutil.rmtree(self.directory, ignore_errors=True)

    def client(self, kind=oei_ms.Client, **options):
        """Returns a client that is logged in as admin."""
        options.setdefault("url", self.url)
        if "token" not in options and "api_key" not in options:
            options.setdefault("username", "admin")
            options.setdefault("password", PASSWORD)
        return kind(**options)


_shared = None


def shared():
    """Returns the server that the tests of a run share."""
    global _shared
    if _shared is None:
        import atexit

        _shared = Server()
        atexit.register(_shared.remove)
    return _shared
