"""The package as users get it: installed by pip without network, described in docs/python.md."""

import ast
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading
import unittest
import venv

from .server import PASSWORD, ROOT, Server

PAGE = ROOT / "docs" / "python.md"


class PackageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        directory = tempfile.TemporaryDirectory(prefix="oei-ms-venv-")
        cls.addClassCleanup(directory.cleanup)
        cls.directory = pathlib.Path(directory.name)
        venv.create(cls.directory / "venv", with_pip=True)
        cls.python = str(cls.directory / "venv" / "bin" / "python")
        cls.pip("install", str(ROOT / "gen" / "python"))

    @classmethod
    def pip(cls, *arguments):
        """Runs pip without an index."""
        environment = {
            **os.environ, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_ROOT_USER_ACTION": "ignore",
        }
        subprocess.run(
            [cls.python, "-m", "pip", *arguments], check=True, capture_output=True,
            env=environment, cwd=cls.directory,
        )

    def run_python(self, *arguments, **environment):
        return subprocess.run(
            [self.python, "-W", "error", *arguments], check=True, capture_output=True, text=True,
            cwd=self.directory, env={**os.environ, **environment},
        ).stdout

    def test_installs_a_typed_package(self):
        code = "import oei_ms, os; print(os.path.dirname(oei_ms.__file__))"
        installed = pathlib.Path(self.run_python("-c", code).strip())
        self.assertIn("site-packages", installed.parts)
        names = {path.name for path in installed.iterdir()} - {"__pycache__"}
        source = {path.name for path in (ROOT / "gen" / "python" / "oei_ms").iterdir()}
        self.assertEqual(names, source - {"__pycache__"})
        self.assertIn("py.typed", names)
        help_text = self.run_python("-c", "import oei_ms; help(oei_ms.Client.list_sensors)")
        self.assertIn("List sensors.", help_text)

    def test_builds_are_equal_and_complete(self):
        code = (
            "import build_backend as b, sys; b.build_sdist(sys.argv[1]); b.build_wheel(sys.argv[1])"
        )
        contents = []
        for name in "ab":
            out = self.directory / name
            out.mkdir()
            subprocess.run(
                [sys.executable, "-B", "-c", code, str(out)], check=True,
                cwd=ROOT / "gen" / "python",
            )
            contents.append({path.name: path.read_bytes() for path in out.iterdir()})
        self.assertEqual(contents[0], contents[1])
        (archive,) = (self.directory / "a").glob("*.tar.gz")
        self.pip("install", "--target", str(self.directory / "from-sdist"), str(archive))
        self.assertTrue((self.directory / "from-sdist" / "oei_ms" / "py.typed").exists())

    def test_the_first_program_of_the_documentation(self):
        first, *others = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
        for block in others:
            ast.parse(block)
        self.assertLess(len(first.splitlines()), 30)
        server = Server()
        self.addCleanup(server.remove)
        with server.client() as client:
            sensor = client.create_sensor("Oil", "temperature", client.create_gateway("G").id)
            reading = {"sensor_id": sensor.id, "value": 21.5}
            client.write_readings([reading])
            program = subprocess.Popen(
                [self.python, "-u", "-W", "error", "-c", first],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=self.directory,
                env={**os.environ, "OEI_URL": server.url, "PASSWORD": PASSWORD},
            )
            watchdog = threading.Timer(120, program.kill)
            watchdog.start()
            try:
                self.assertEqual(program.stdout.readline(), f"{sensor.id} Oil \n")
                self.assertRegex(program.stdout.readline(), r"21\.5$")
                server.stop()
                server.start()
                value = 22.0
                while True:  # the program connects again within seconds
                    value += 1
                    client.write_readings([{"sensor_id": sensor.id, "value": value}])
                    with client.live("gateways/status") as pause:
                        pause.get(timeout=0.2)
                    if value > 30:
                        break
                self.assertRegex(program.stdout.readline(), rf"^{sensor.id} .* \d\d\.0$")
            finally:
                program.kill()
                program.wait()
                watchdog.cancel()
                program.stdout.close()
