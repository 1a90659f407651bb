"""Tests of the client. What Python can only report, such as a socket that was left open, is kept."""

import sys

unraisable = []


def _keep(report):
    unraisable.append(f"{report.exc_value!r} in {report.object!r}")
    sys.__unraisablehook__(report)


sys.unraisablehook = _keep
