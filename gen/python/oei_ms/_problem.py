"""Problems that the server answers, as exceptions."""

from __future__ import annotations

from typing import Any, ClassVar, Dict, List, Optional, Type

from .errors import Error
from .models import FieldError


class ProblemError(Error):
    """An error that the server answered. Each type of problem has a class of its own.

    A type that this client does not know is raised as the class of its status, if there is one.
    """

    status: int = 0
    """The HTTP status."""
    type: str = "about:blank"
    """Stable identifier of the kind of error, see ProblemType."""

    _by_type: ClassVar[Dict[str, Type[ProblemError]]] = {}
    _by_status: ClassVar[Dict[int, Type[ProblemError]]] = {}

    def __init_subclass__(cls) -> None:
        ProblemError._by_type.setdefault(cls.type, cls)
        ProblemError._by_status.setdefault(cls.status, cls)

    def __init__(
        self, status: int, document: Dict[str, Any], *, request_id: Optional[str] = None,
        retry_after: Optional[float] = None,
    ) -> None:
        self.status = status
        self.type = str(document.get("type") or "about:blank")
        self.title = str(document.get("title") or "")
        """The type in words."""
        self.detail = str(document.get("detail") or "")
        """This error in words."""
        self.errors: List[FieldError] = [
            FieldError(str(fault.get("field")), str(fault.get("reason")))
            for fault in document.get("errors") or []
        ]
        """The faulty fields."""
        self.request_id = request_id or document.get("instance")
        """The request's id, which is in the server's log, too."""
        self.retry_after = retry_after
        """Seconds to wait before the next attempt, if the server says so."""
        super().__init__(status, self.type, self.detail)

    def __str__(self) -> str:
        text = f"{self.status}: {self.detail or self.title or self.type}"
        for fault in self.errors:
            if fault.reason not in self.detail:
                text += f"; {fault.field}: {fault.reason}"
        return text + (f" (request {self.request_id})" if self.request_id else "")

    @classmethod
    def of(
        cls, status: int, document: Dict[str, Any], *, request_id: Optional[str] = None,
        retry_after: Optional[float] = None,
    ) -> ProblemError:
        """Makes the exception of an answer."""
        kind = cls._by_type.get(str(document.get("type")))
        if kind is None:
            kind = cls._by_status.get(status, ProblemError)
        return kind(status, document, request_id=request_id, retry_after=retry_after)

    def __reduce__(self) -> Any:  # exceptions cross the borders of processes
        document = {
            "type": self.type, "title": self.title, "detail": self.detail,
            "errors": [fault.to_json() for fault in self.errors],
        }
        return _problem, (self.status, document, self.request_id, self.retry_after)


def _problem(
    status: int, document: Dict[str, Any], request_id: Optional[str], retry_after: Optional[float]
) -> ProblemError:
    return ProblemError.of(status, document, request_id=request_id, retry_after=retry_after)
