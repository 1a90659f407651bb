"""A client that records which operations of the contract it calls."""

import re
import urllib.parse

import oei_ms


class RecordingClient(oei_ms.Client):
    """Records each operation that was answered with a documented status below 400.

    A request outside of the contract, or a status that the operation does not document, is a fault.
    """

    def __init__(self, **options):
        super().__init__(**options)
        self.operations = []
        self.succeeded = set()
        self.faults = []

    def read_contract(self):
        """Lists the operations of the contract that the server has."""
        for path, item in self.get_open_api()["paths"].items():
            pattern = re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))
            for method, operation in item.items():
                if method in ("get", "put", "post", "delete", "patch"):
                    self.operations.append((method.upper(), path, pattern, operation))

    def not_driven(self):
        """Returns the ids of the operations that did not succeed."""
        ids = [operation["operationId"] for *_, operation in self.operations]
        return [id for id in ids if id not in self.succeeded]

    def _exchange(self, method, target, *rest):
        answer = super()._exchange(method, target, *rest)
        self._record(method, target, answer.status)
        return answer

    def _open(self, path, **rest):
        socket = super()._open(path, **rest)
        self._record("GET", path, 101)
        return socket

    def _record(self, method, target, status):
        path = urllib.parse.urlsplit(target).path
        found = [
            (template.count("{"), operation)
            for known, template, pattern, operation in self.operations
            if known == method and pattern.fullmatch(path)
        ]
        if not found:
            if self.operations:
                self.faults.append(f"{method} {path} is not in the contract")
            return
        operation = min(found, key=lambda pair: pair[0])[1]  # /alarms/kpi before /alarms/{id}
        name = operation["operationId"]
        if str(status) not in operation["responses"]:
            self.faults.append(f"{name} answered {status}")
        elif status < 400:
            self.succeeded.add(name)
