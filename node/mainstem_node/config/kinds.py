"""Kinds of scalar values in the topology: how each is read, and how an editor may check it.

A struct's field says its kind by annotation, ``Annotated[int, DURATION]``. A kind's ``parse`` takes
the text as written (environment variables already put in) and returns the typed value, or raises
``ValueError(problem, remedy)``; the loader adds file, line and field.
"""

from __future__ import annotations

import datetime
import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from mainstem_engine.catalog.names import canonical_path
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import ColumnType
from mainstem_node.config.units import parse_duration, parse_rate, parse_size
from mainstem_node.moments import MomentText, parse_moments
from mainstem_node.payload_path import PayloadPath, parse_one, parse_path
from mainstem_node.time_notations import TimeFormatError, TimeReader

NS_PER_S = 1_000_000_000
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """How a scalar is read: ``parse`` and, for editors, a JSON Schema. Compared by identity."""

    name: str
    parse: Callable[[str], Any]
    schema: dict[str, Any] = field(default_factory=dict)


class Secret(str):
    """A value that must not be printed: ``repr`` and ``format`` show asterisks.

    It stays a ``str``, so that libraries take it; pass it on, never into a message.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"

    def __format__(self, spec: str) -> str:
        return "***"

    def __str__(self) -> str:
        return "***"

    def reveal(self) -> str:
        """The value itself, as a plain ``str``."""
        return "".join(self)


@dataclass(frozen=True, slots=True)
class Listen:
    """An address to listen on. ``str()`` gives ``host:port`` back, IPv6 in brackets."""

    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        """True when only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    @property
    def is_wildcard(self) -> bool:
        """True for an address that means "every interface"."""
        return self.host in ("", "0.0.0.0", "::")

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Band:
    """A deadband: so much, or such a share of the last value kept."""

    width: float
    is_relative: bool = False


def parse_band(text: str) -> Band:
    """``0.05``, or ``2%`` of the last value kept."""
    number = text.removesuffix("%")
    try:
        width = float(number)
    except ValueError:
        width = -1.0
    if not 0 <= width < float("inf"):
        raise ValueError(f"{text!r} is not a deadband", "write 0.05, or 2% of the value") from None
    return Band(width / 100, True) if text.endswith("%") else Band(width)


def parse_name(text: str) -> str:
    """An identifier that can stand in a file name and a URL."""
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is not a name", "use letters, digits, '_' and '-', at most 64 characters"
        )
    return text


def parse_listen(text: str) -> Listen:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{text!r} is not an address", "write host:port, such as 127.0.0.1:8400")
    return Listen(host, int(port))


def parse_device_path(text: str) -> str:
    """A device path or prefix below ``root``, in the form that the engine keeps."""
    try:
        return canonical_path(text)
    except SchemaError as error:
        raise ValueError(error.message, error.hint or "write root.plant_a.press") from None


def parse_http_url(text: str) -> str:
    """``http://`` or ``https://`` with a host; no credentials inside. A final slash is dropped."""
    _require_http(text, "write http://host:port or https://host", "use `token_file`")
    return text.rstrip("/")


def parse_page_url(text: str) -> MomentText:
    """``http://`` or ``https://`` with a host, and moments in the rest; no credentials inside."""
    _require_http(
        text, "write https://host/path?name=value", "use `username` and `password: ${NAME}`"
    )
    found = parse_moments(text)
    if any(isinstance(piece, str) and re.search(r"[{}]", piece) for piece in found.pieces):
        raise ValueError(f"{text!r} has an unknown placeholder", "use {now}, {now-1h} or {since}")
    return found


def _require_http(text: str, form: str, credential: str) -> None:
    """``form``, ``credential``: what to do instead of another URL, and of a password in it."""
    parts = _split_url(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"{redact_url(text)!r} is not an HTTP URL", form)
    if parts.username or parts.password:
        raise ValueError("the URL carries a credential", credential)


def parse_mqtt_url(text: str) -> str:
    """``mqtt://`` (1883) or ``mqtts://`` (8883); the password belongs into `password`."""
    parts = _split_url(text)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ValueError(
            f"{redact_url(text)!r} is not an MQTT URL", "write mqtt://host:1883 or mqtts://host"
        )
    if parts.password:
        raise ValueError("the URL carries a password", "use `password: ${NAME}`")
    return text.rstrip("/")


def parse_opc_url(text: str) -> str:
    """``opc.tcp://host:port/path``; user and password have keys of their own."""
    parts = _split_url(text)
    if parts.scheme != "opc.tcp" or not parts.hostname:
        raise ValueError(f"{redact_url(text)!r} is not an OPC UA URL", "write opc.tcp://host:4840")
    if parts.username or parts.password:
        raise ValueError("the URL carries a credential", "use `username` and `password`")
    return text.rstrip("/")


def _split_url(text: str) -> Any:
    try:
        parts = urlsplit(text)
        _ = parts.port  # raises for a port that is no number
    except ValueError as error:
        raise ValueError(f"{redact_url(text)!r} is not a URL", str(error)) from None
    return parts


def redact_url(text: str) -> str:
    """The URL without user and password, fit for messages."""
    return re.sub(r"(?<=//)[^/@]*@", "***@", text)


def parse_stamp(text: str) -> int:
    """A date or RFC 3339 time; without a zone it is UTC. Nanoseconds since the epoch."""
    try:
        stamp = datetime.datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            f"{text!r} is not a date", "write 2000-01-01 or 2000-01-01T00:00:00Z"
        ) from None
    if stamp.tzinfo is None:
        stamp = stamp.replace(tzinfo=datetime.UTC)
    # Whole seconds and microseconds apart: a float of seconds would lose digits.
    whole = stamp.replace(microsecond=0)
    return int(whole.timestamp()) * NS_PER_S + stamp.microsecond * 1000


def parse_zone(text: str) -> str:
    """An IANA time zone."""
    try:
        ZoneInfo(text)
    except (ValueError, KeyError, OSError):
        raise ValueError(
            f"time zone {text!r} is unknown", "use an IANA name such as Europe/Berlin or UTC"
        ) from None
    return text


def parse_notation(text: str) -> str:
    """How times are written: iso, dmy, mdy, or a pattern of strptime that has a date and a time."""
    if text in ("iso", "dmy", "mdy"):
        return text
    remedy = "write iso, dmy, mdy, or a pattern such as %d.%m.%y %H:%M:%S"
    if "%" not in text:
        raise ValueError(f"{text!r} is no notation of times", remedy)
    moment = datetime.datetime(2026, 11, 24, 13, 0, tzinfo=datetime.UTC)
    try:
        found = TimeReader(text).read(moment.strftime(text))
    except (TimeFormatError, ValueError):
        raise ValueError(f"{text!r} is no pattern of times", remedy) from None
    if found != int(moment.timestamp()) * NS_PER_S:
        raise ValueError(f"{text!r} does not say the date and the hour", remedy)
    return text


def parse_time_of_day(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", text):
        raise ValueError(f"{text!r} is not a time of day", 'write "08:00" in quotes')
    return text


_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def parse_days(text: str) -> str:
    """``mon-fri``, ``sat``, or a list ``mon,wed``; kept as written."""
    for part in text.split(","):
        days = part.strip().split("-")
        if len(days) > 2 or any(day not in _DAYS for day in days):
            raise ValueError(f"{text!r} names no days", f"use {', '.join(_DAYS)}, or mon-fri")
    return text


def parse_durability(text: str) -> str:
    if text in ("always", "os"):
        return text
    head, colon, tail = text.partition(":")
    try:
        interval_ns = parse_duration(tail) if head == "interval" and colon else 0
    except ValueError:
        interval_ns = 0
    if interval_ns <= 0 or interval_ns % 1_000_000:
        raise ValueError(
            f"durability {text!r} is unknown", "use always, interval:100ms or os"
        ) from None
    return f"interval:{interval_ns // 1_000_000}ms"


_TYPE_ALIASES = {
    "BOOL": "BOOLEAN", "INT": "INT32", "INTEGER": "INT32", "BIGINT": "INT64", "LONG": "INT64",
    "TINYINT": "INT8", "SMALLINT": "INT16", "REAL": "FLOAT", "STRING": "TEXT", "VARCHAR": "TEXT",
}  # fmt: skip
TYPE_NAMES = tuple(kind.name for kind in ColumnType if kind is not ColumnType.UNKNOWN)


def parse_type(text: str) -> ColumnType:
    name = _TYPE_ALIASES.get(text.upper(), text.upper())
    if name not in TYPE_NAMES:
        raise ValueError(f"type {text!r} is unknown", f"use one of {', '.join(TYPE_NAMES)}")
    return ColumnType[name]


_ENCODINGS = ("AUTO", "PLAIN", "RLE", "TS_2DIFF", "GORILLA", "DICTIONARY", "PCO")
_COMPRESSIONS = ("AUTO", "UNCOMPRESSED", "SNAPPY", "LZ4", "ZSTD")


def _one_of(what: str, choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.upper() not in choices:
            raise ValueError(f"{what} {text!r} is unknown", f"use one of {', '.join(choices)}")
        return text.upper()

    return parse


BAND = Kind("deadband", parse_band, {"type": ["number", "string"], "examples": [0.05, "2%"]})
NAME = Kind("name", parse_name, {"type": "string", "pattern": f"^{_NAME.pattern}$"})
TEXT = Kind("text", str, {"type": "string"})
SECRET = Kind("secret", Secret, {"type": "string", "pattern": r"\$\{[A-Za-z_][A-Za-z0-9_]*\}"})
FILE = Kind("file", Path, {"type": "string"})
SIZE = Kind("size", parse_size, {"type": ["string", "integer"], "examples": ["20GB", "256MiB"]})
RATE = Kind("rate", parse_rate, {"type": "string", "examples": ["1Mbit/s"]})
DURATION = Kind("duration", parse_duration, {"type": "string", "examples": ["100ms", "1h", "10d"]})
LISTEN = Kind("address", parse_listen, {"type": "string", "examples": ["127.0.0.1:8400"]})
DEVICE_PATH = Kind("device path", parse_device_path, {"type": "string", "pattern": r"^root\."})
PAGE_URL = Kind("URL", parse_page_url, {"type": "string", "pattern": "^https?://"})
MOMENTS = Kind("text", parse_moments, {"type": "string", "examples": ["{now-1h:minute}"]})
HTTP_URL = Kind("URL", parse_http_url, {"type": "string", "pattern": "^https?://"})
MQTT_URL = Kind("URL", parse_mqtt_url, {"type": "string", "pattern": "^mqtts?://"})
OPC_URL = Kind("URL", parse_opc_url, {"type": "string", "pattern": "^opc\\.tcp://"})
STAMP = Kind("date", parse_stamp, {"type": "string", "examples": ["2000-01-01"]})
ZONE = Kind("time zone", parse_zone, {"type": "string", "examples": ["UTC", "Europe/Berlin"]})
NOTATION = Kind(
    "notation", parse_notation, {"type": "string", "examples": ["dmy", "%d.%m.%y %H:%M"]}
)
TIME_OF_DAY = Kind("time of day", parse_time_of_day, {"type": "string", "examples": ["08:00"]})
DAYS = Kind("days", parse_days, {"type": "string", "examples": ["mon-fri"]})
PAYLOAD_PATH = Kind("path", parse_path, {"type": "string", "examples": ["metrics[*]", "a.b[0]"]})
ONE_VALUE_PATH = Kind("path", parse_one, {"type": "string", "examples": ["state.temp", "$.id"]})
DURABILITY = Kind(
    "durability",
    parse_durability,
    {"type": "string", "examples": ["always", "interval:100ms", "os"]},
)
TYPE = Kind("type", parse_type, {"type": "string", "enum": list(TYPE_NAMES)})
ENCODING = Kind(
    "encoding", _one_of("encoding", _ENCODINGS), {"type": "string", "enum": list(_ENCODINGS)}
)
COMPRESSION = Kind(
    "compression",
    _one_of("compression", _COMPRESSIONS),
    {"type": "string", "enum": list(_COMPRESSIONS)},
)

DeadBand = Annotated[Band, BAND]
Name = Annotated[str, NAME]
Text = Annotated[str, TEXT]
SecretText = Annotated[Secret, SECRET]
FilePath = Annotated[Path, FILE]
SizeBytes = Annotated[int, SIZE]
RateBits = Annotated[int, RATE]
DurationNs = Annotated[int, DURATION]
ListenAddress = Annotated[Listen, LISTEN]
DevicePath = Annotated[str, DEVICE_PATH]
HttpUrl = Annotated[str, HTTP_URL]
PageUrl = Annotated[MomentText, PAGE_URL]
DatedText = Annotated[MomentText, MOMENTS]
MqttUrl = Annotated[str, MQTT_URL]
RowsPath = Annotated[PayloadPath, PAYLOAD_PATH]
ValuePath = Annotated[PayloadPath, ONE_VALUE_PATH]
OpcUrl = Annotated[str, OPC_URL]
StampNs = Annotated[int, STAMP]
Zone = Annotated[str, ZONE]
Notation = Annotated[str, NOTATION]
