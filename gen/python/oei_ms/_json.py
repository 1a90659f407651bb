"""JSON of the contract to and from dataclasses."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
from array import array
from datetime import datetime, timedelta, timezone
from typing import Any, Callable, ClassVar, Dict, FrozenSet, Iterable, List, Tuple, Type, TypeVar

from .errors import InvalidAnswer

Decoders = Dict[str, Callable[[Any], Any]]
M = TypeVar("M", bound="Model")

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d+))?(?:[Zz]|([+-])(\d\d):(\d\d))"
)


class Unset(enum.Enum):
    """Type of UNSET."""

    UNSET = "UNSET"

    def __repr__(self) -> str:
        return self.value

    def __bool__(self) -> bool:
        return False


UNSET = Unset.UNSET
"""Stands for a member that is not sent, where None is sent as null."""


class Model:
    """An object of the contract."""

    _decoders: ClassVar[Decoders] = {}
    _renamed: ClassVar[Dict[str, str]] = {}
    _nullable: ClassVar[FrozenSet[str]] = frozenset()
    _plan: ClassVar[Any]

    @classmethod
    def from_json(cls: Type[M], document: Any) -> M:
        """Makes an object from parsed JSON; members that it does not know are ignored."""
        attributes, absent, required = cls._members()
        if not isinstance(document, dict):
            raise InvalidAnswer(f"{cls.__name__} is {type(document).__name__}, not an object")
        made = cls.__new__(cls)
        values = made.__dict__
        values.update(absent)
        for name, value in document.items():
            member = attributes.get(name)
            if member is not None:
                attribute, decode = member
                values[attribute] = value if decode is None or value is None else decode(value)
        if len(values) < required:
            missing = [a for a, _ in attributes.values() if a not in values]
            raise InvalidAnswer(f"{cls.__name__} lacks {', '.join(missing)}")
        return made

    def to_json(self) -> Dict[str, Any]:
        """Returns the object as JSON would have it, without the members that are absent."""
        attributes, _, _ = self._members()
        pairs = ((name, getattr(self, attribute)) for name, (attribute, _) in attributes.items())
        return members_to_json(pairs, self._nullable)

    @classmethod
    def _members(cls) -> Tuple[Dict[str, Tuple[str, Any]], Dict[str, Any], int]:
        """Returns attribute and decoder by name, the values of absent members, and the number of
        attributes."""
        if "_plan" not in cls.__dict__:
            fields = dataclasses.fields(cls)
            names = {attribute: name for name, attribute in cls._renamed.items()}
            attributes, absent = {}, {}
            for field in fields:
                name = names.get(field.name, field.name)
                attributes[name] = (field.name, cls._decoders.get(name))
                if field.default is None or field.default is UNSET:
                    absent[field.name] = field.default
            cls._plan = attributes, absent, len(fields)
        plan: Tuple[Dict[str, Tuple[str, Any]], Dict[str, Any], int] = cls._plan
        return plan


class Resource(Model):
    """An object that was answered with a version."""

    etag: str | None = None
    """Version of the object, for `if_match`; None in lists."""


def members_to_json(pairs: Iterable[Tuple[str, Any]], nullable: Any) -> Dict[str, Any]:
    """Returns the members that are sent: None is sent as null only where the contract allows it."""
    return {
        name: to_json(value)
        for name, value in pairs
        if value is not UNSET and (value is not None or name in nullable)
    }


def to_json(value: Any) -> Any:
    """Returns what the json module can encode."""
    if isinstance(value, Model):
        return value.to_json()
    if isinstance(value, datetime):
        return from_datetime(value)
    if isinstance(value, dict):
        return {name: to_json(item) for name, item in value.items() if item is not UNSET}
    if isinstance(value, (list, tuple, set, frozenset, array)):
        return [to_json(item) for item in value]
    return value


def encode(value: Any) -> bytes:
    """Returns JSON in UTF-8. NaN and infinity are refused, JSON does not have them."""
    text = json.dumps(to_json(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8")


def to_datetime(text: str) -> datetime:
    """Reads RFC 3339; further digits than microseconds are cut off."""
    match = _TIME.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise InvalidAnswer(f"{text!r} is not a time of RFC 3339")
    year, month, day, hour, minute, second, fraction, sign, hours, minutes = match.groups()
    microsecond = int((fraction or "0")[:6].ljust(6, "0"))
    time = datetime(
        int(year), int(month), int(day), int(hour), int(minute), int(second), microsecond,
        timezone.utc,
    )
    if sign:
        offset = timedelta(hours=int(hours), minutes=int(minutes))
        time = time - offset if sign == "+" else time + offset
    return time


def from_datetime(time: datetime) -> str:
    """Writes RFC 3339 in UTC. A time without a zone is refused: it could be any instant."""
    if time.utcoffset() is None:
        raise ValueError(
            f"{time!r} has no time zone; use datetime.now(timezone.utc) or time.astimezone()"
        )
    return time.astimezone(timezone.utc).isoformat(timespec="microseconds")[:26] + "Z"


def from_microseconds(microseconds: int) -> datetime:
    """Returns the time of a column, which is in microseconds since 1970, as a datetime in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def to_instants(texts: List[str]) -> array[int]:
    """Returns times as microseconds since 1970."""
    return array("q", ((to_datetime(text) - _EPOCH) // _MICROSECOND for text in texts))


def to_numbers(values: List[Any]) -> array[float]:
    """Returns numbers as an array, with NaN for null."""
    return array("d", (math.nan if value is None else value for value in values))


def list_of(decode: Callable[[Any], Any]) -> Callable[[List[Any]], List[Any]]:
    """Returns a decoder of lists."""
    return lambda items: [None if item is None else decode(item) for item in items]


def dict_of(decode: Callable[[Any], Any]) -> Callable[[Dict[str, Any]], Dict[str, Any]]:
    """Returns a decoder of objects with free names."""
    return lambda members: {
        name: None if item is None else decode(item) for name, item in members.items()
    }
