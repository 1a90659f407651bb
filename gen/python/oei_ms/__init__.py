"""Client of OEI-MS, the backend for monitoring industrial equipment.

    import oei_ms

    with oei_ms.Client("http://localhost:8000", username="ada", password=password) as client:
        for sensor in client.list_sensors():
            print(sensor.id, sensor.name, sensor.unit)

`help(oei_ms.Client)` lists all operations.
"""

from . import models, problems
from ._json import UNSET, Model, Resource, Unset, from_microseconds
from ._problem import ProblemError
from ._session import Download, Page, Pages
from ._websocket import WebSocket, WebSocketClosed
from .client import Client
from .errors import (
    ConnectionFailed,
    Error,
    InvalidAnswer,
    NotModified,
    SessionEnded,
    SubscriptionRefused,
)
from .live import Live, LiveMessage, LiveState
from .models import *
from .operations import VERSION as __version__
from .problems import *

__all__ = [
    "Client",
    "ConnectionFailed",
    "Download",
    "Error",
    "InvalidAnswer",
    "Live",
    "LiveMessage",
    "LiveState",
    "Model",
    "NotModified",
    "Page",
    "Pages",
    "ProblemError",
    "Resource",
    "SessionEnded",
    "SubscriptionRefused",
    "UNSET",
    "Unset",
    "WebSocket",
    "WebSocketClosed",
    "__version__",
    "from_microseconds",
]
__all__ += models.__all__
__all__ += problems.__all__
