"""Builds the package with the standard library alone (PEP 517, PEP 660).

The usual backends are downloaded by pip for every build; this one lets `pip install` of this folder
work on a machine without network. The package is pure Python, so a wheel is a ZIP of its files.
"""

import base64
import gzip
import hashlib
import io
import pathlib
import re
import tarfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent
VERSION = re.search(
    r'^VERSION = "(.+)"$', (ROOT / "oei_ms" / "operations.py").read_text("utf-8"), re.MULTILINE
).group(1)
NAME = "oei_ms-" + VERSION
DIST_INFO = NAME + ".dist-info"
METADATA = f"""Metadata-Version: 2.1
Name: oei-ms
Version: {VERSION}
Summary: Client of OEI-MS, the backend for monitoring industrial equipment
License: Apache-2.0
Requires-Python: >=3.9
Classifier: License :: OSI Approved :: Apache Software License
Classifier: Programming Language :: Python :: 3
Classifier: Typing :: Typed
Description-Content-Type: text/markdown

""" + (ROOT / "README.md").read_text("utf-8")
WHEEL = "Wheel-Version: 1.0\nGenerator: oei-ms\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
TIME = (2020, 1, 1, 0, 0, 0)  # the same in every build, so that builds are equal


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    """Builds the wheel and returns its name."""
    return _write_wheel(wheel_directory, {
        "oei_ms/" + path.name: path.read_bytes() for path in _sources()
    })


def build_editable(wheel_directory, config_settings=None, metadata_directory=None):
    """Builds a wheel that refers to this folder, for `pip install --editable`."""
    return _write_wheel(wheel_directory, {"oei_ms.pth": str(ROOT).encode() + b"\n"})


def build_sdist(sdist_directory, config_settings=None):
    """Builds the source distribution and returns its name."""
    files = ["pyproject.toml", "build_backend.py", "README.md", "LICENSE"]
    contents = {name: (ROOT / name).read_bytes() for name in files}
    contents.update({"oei_ms/" + path.name: path.read_bytes() for path in _sources()})
    contents["PKG-INFO"] = METADATA.encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in sorted(contents.items()):
            info = tarfile.TarInfo(f"{NAME}/{name}")
            info.size, info.mode = len(data), 0o644
            archive.addfile(info, io.BytesIO(data))
    name = NAME + ".tar.gz"
    (pathlib.Path(sdist_directory) / name).write_bytes(gzip.compress(packed.getvalue(), mtime=0))
    return name


def _sources():
    return sorted([*(ROOT / "oei_ms").glob("*.py"), ROOT / "oei_ms" / "py.typed"])


def _write_wheel(directory, contents):
    contents = {
        **contents,
        DIST_INFO + "/METADATA": METADATA.encode(),
        DIST_INFO + "/WHEEL": WHEEL.encode(),
        DIST_INFO + "/licenses/LICENSE": (ROOT / "LICENSE").read_bytes(),
    }
    record = "".join(
        f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in contents.items()
    )
    contents[DIST_INFO + "/RECORD"] = f"{record}{DIST_INFO}/RECORD,,\n".encode()
    name = f"{NAME}-py3-none-any.whl"
    with zipfile.ZipFile(pathlib.Path(directory) / name, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in contents.items():
            info = zipfile.ZipInfo(path, TIME)
            info.external_attr, info.compress_type = 0o644 << 16, zipfile.ZIP_DEFLATED
            wheel.writestr(info, data)
    return name


def _digest(data):
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
