"""Logs: structure, redaction, and lines that cannot be forged."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from mainstem_node.credentials import new_token
from mainstem_node.logs import configure_logs, fields, redact, redact_value


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:] = before
    root.setLevel(level)
    logging.getLogger("mainstem").setLevel(logging.NOTSET)


def test_json_lines_hold_message_and_fields(stream: io.StringIO) -> None:
    configure_logs("info", "json", stream)
    logging.getLogger("mainstem.x").info("started", extra=fields(node="plant_a", rows=3))
    entry = json.loads(stream.getvalue())
    assert (entry["message"], entry["node"], entry["rows"]) == ("started", "plant_a", 3)
    assert (entry["level"], entry["logger"]) == ("info", "mainstem.x")
    assert entry["time"].endswith("Z")


def test_text_is_readable(stream: io.StringIO) -> None:
    configure_logs("info", "text", stream)
    logging.getLogger("mainstem.x").warning("slow disk", extra=fields(ms=12))
    assert stream.getvalue().rstrip().endswith("warning slow disk ms=12")


def test_levels_and_other_libraries(stream: io.StringIO) -> None:
    configure_logs("warning", "text", stream)
    logging.getLogger("mainstem.x").info("hidden")
    logging.getLogger("somebody").info("hidden")
    logging.getLogger("somebody").warning("shown")
    assert "hidden" not in stream.getvalue()
    assert "shown" in stream.getvalue()


@pytest.mark.parametrize("style", ["json", "text"])
def test_no_secret_reaches_a_log(stream: io.StringIO, style: str) -> None:
    configure_logs("debug", style, stream)
    token = new_token("msl")
    redact_value("correct horse")
    log = logging.getLogger("mainstem.x")
    log.info("token %s", token, extra=fields(header=f"Bearer {token}", nested={"t": [token]}))
    log.info("mqtt://me:sesame@host and Bearer abc.def and correct horse")
    try:
        raise ValueError(f"bad token {token}")
    except ValueError:
        log.exception("failed")
    text = stream.getvalue()
    for secret in (token, "sesame", "abc.def", "correct horse"):
        assert secret not in text
    assert "host" in text


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_device_name_cannot_forge_a_line_or_a_colour(stream: io.StringIO, style: str) -> None:
    configure_logs("info", style, stream)
    evil = "x\r\n12:00:00 error everything is lost\x1b[31m\u202e"
    logging.getLogger("mainstem.x").info("device %s", evil, extra=fields(device=evil))
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_a_long_message_is_cut(stream: io.StringIO) -> None:
    configure_logs("info", "text", stream)
    logging.getLogger("mainstem.x").info("x" * 100_000)
    assert len(stream.getvalue()) < 10_000


def test_configuring_twice_does_not_write_twice(stream: io.StringIO) -> None:
    configure_logs("info", "text", stream)
    configure_logs("info", "text", stream)
    logging.getLogger("mainstem.x").info("once")
    assert stream.getvalue().count("once") == 1


def test_redact_leaves_ordinary_text() -> None:
    assert redact("root.plant.press at http://127.0.0.1:8400") == (
        "root.plant.press at http://127.0.0.1:8400"
    )
