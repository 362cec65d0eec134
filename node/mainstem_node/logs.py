"""Structured logs: JSON lines, or readable text on a terminal, always to stderr.

1. A record is a message and fields: ``log.info("started", extra=fields(node="plant_a"))``.
2. Whatever looks like a credential is replaced before it is written: tokens of this program,
   bearer headers, credentials inside URLs, and every value registered by ``redact_value``.
3. Control characters in messages are escaped: a device name cannot forge a line or a colour.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys
from collections.abc import Mapping
from typing import Any, TextIO

ROOT_LOGGER = "mainstem"
MESSAGE_CHARACTERS_MAX = 8192
"""A longer message is cut: one record must not fill the disk of the log collector."""

_CREDENTIALS = re.compile(
    r"\bms[talj]_[A-Za-z0-9_-]{8,}"  # tokens of this program, see auth.py
    r"|(?<=[Bb]earer )[^\s\"']+"
    r"|(?<=://)[^/@\s]+(?=@)"
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_secrets: set[str] = set()
_SECRET_CHARACTERS_MIN = 6
"""Shorter values would blank out ordinary words."""


def redact_value(secret: str) -> None:
    """From now on ``secret`` is never written to a log of this process."""
    if len(secret) >= _SECRET_CHARACTERS_MIN:
        _secrets.add(secret)


def redact(text: str) -> str:
    """``text`` without credentials."""
    text = _CREDENTIALS.sub("***", text)
    for secret in _secrets:
        text = text.replace(secret, "***")
    return text


def fields(**values: Any) -> dict[str, Mapping[str, Any]]:
    """Fields of a record, for ``extra=``."""
    return {"fields": values}


def configure_logs(level: str = "info", style: str = "auto", stream: TextIO | None = None) -> None:
    """Send the records of this program to ``stream`` (default stderr).

    ``style``: ``json``, ``text``, or ``auto`` for text on a terminal. Other libraries' records
    come from warning upwards. May be called again; it replaces the handler it made before.
    """
    stream = sys.stderr if stream is None else stream
    if style == "auto":
        style = "text" if stream.isatty() else "json"
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    root = logging.getLogger()
    for old in root.handlers[:]:
        if getattr(old, "mainstem", False):
            root.removeHandler(old)
    handler.mainstem = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(ROOT_LOGGER).setLevel(level.upper())
    # A client that speaks no HTTP is answered 400 and counted; a traceback for each is noise.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)


class _Formatter(logging.Formatter):
    def text(self, record: logging.LogRecord) -> str:
        message = record.getMessage()[:MESSAGE_CHARACTERS_MAX]
        return _CONTROL.sub(lambda match: repr(match.group())[1:-1], redact(message))

    def stamp(self, record: logging.LogRecord) -> str:
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

    def trouble(self, record: logging.LogRecord) -> str | None:
        return redact(self.formatException(record.exc_info)) if record.exc_info else None


class JsonFormatter(_Formatter):
    """One JSON object a line: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        entry: dict[str, Any] = {
            "time": self.stamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": self.text(record),
        }
        for key, value in getattr(record, "fields", {}).items():
            entry.setdefault(key, value)
        trouble = self.trouble(record)
        if trouble:
            entry["exception"] = trouble
        # The fields are redacted as text, wherever in them a credential stands.
        return redact(json.dumps(entry, default=str, ensure_ascii=True))


class TextFormatter(_Formatter):
    """``12:30:01.250 info    message key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        clock = self.stamp(record)[11:-1]
        line = f"{clock} {record.levelname.lower():7} {self.text(record)}"
        for key, value in getattr(record, "fields", {}).items():
            shown = redact(str(value))[:MESSAGE_CHARACTERS_MAX]
            line += f" {key}={_CONTROL.sub(lambda match: repr(match.group())[1:-1], shown)}"
        trouble = self.trouble(record)
        return f"{line}\n{trouble}" if trouble else line
