"""Values become rows: merging, times, qualities, what is said again after an outage."""

from __future__ import annotations

import datetime as dt
import enum
import uuid
from typing import Any

import msgspec
import pytest
from asyncua import ua

from mainstem_edge.opcua.node_ids import node_id, text_of
from mainstem_edge.opcua.points import Names, Place, Point
from mainstem_edge.opcua.rows import Rows
from mainstem_edge.opcua.values import EPOCH, plain, time_ns
from mainstem_edge.preprocess import MeasurementRule, TemplateRules
from mainstem_engine.model import ColumnType
from mainstem_node.config.node_ids import node_id_parts

BAD = int(ua.StatusCodes.BadSensorFailure)
SECOND_NS = 10**9
PLACE = Place("t", "root.d")


def point(name: str, place: Place = PLACE) -> Point:
    return Point(place, name, ua.NodeId(name, 2))


def value(content: Any, at_s: float | None = None, status: int = 0, server_s: float = 0) -> Any:
    found = ua.DataValue(ua.Variant(content))
    found.StatusCode = ua.StatusCode(status)
    found.SourceTimestamp = None if at_s is None else EPOCH + dt.timedelta(seconds=at_s)
    found.ServerTimestamp = EPOCH + dt.timedelta(seconds=server_s) if server_s else None
    return found


@pytest.fixture
def rows() -> Rows:
    """Of a template with a, whose quality is stored, and b, whose is not."""
    found = TemplateRules(
        "t",
        (
            MeasurementRule(0, "a", ColumnType.DOUBLE, "a", quality=1),
            MeasurementRule(1, "a_quality", ColumnType.UINT8, "a_quality", computed=True),
            MeasurementRule(2, "b", ColumnType.DOUBLE, "b"),
        ),
    )
    return Rows(names={"t": Names(found, {})})


def said(payloads: list[tuple[str, bytes]]) -> list[dict[str, Any]]:
    """All rows, without what they have in common."""
    found = [row for _, payload in payloads for row in msgspec.msgpack.decode(payload)]
    assert all(row.pop("device") == "root.d" for row in found)
    return [{**row, "time": row["time"] / SECOND_NS} for row in found]


def test_one_device_and_one_time_is_one_row(rows: Rows) -> None:
    values = [(point("a"), value(1.0, 5)), (point("b"), value(2.0, 5)), (point("a"), value(3.0, 6))]
    assert said(rows.of_values(values, 0)) == [
        {"time": 5, "a": 1.0, "b": 2.0}, {"time": 6, "a": 3.0},
    ]  # fmt: skip


def test_the_second_value_of_one_time_is_a_later_row(rows: Rows) -> None:
    values = [(point("a"), value(1.0, 5)), (point("a"), value(2.0, 5))]
    assert [row["a"] for row in said(rows.of_values(values, 0))] == [1.0, 2.0]


def test_a_bad_value_goes_on_with_its_quality(rows: Rows) -> None:
    values = [(point("a"), value(1.0, 5, BAD)), (point("b"), value(2.0, 5, BAD))]
    assert said(rows.of_values(values, 0)) == [
        {"time": 5, "a": 1.0, "a_quality": "bad", "b": 2.0, "b_quality": "bad"}
    ]


def test_a_time_that_is_not_set_is_the_server_s_then_that_of_arrival(rows: Rows) -> None:
    values = [
        (point("a"), value(1.0, None, 0, 7)),
        (point("b"), value(1.0, (dt.datetime(1601, 1, 1, tzinfo=dt.UTC) - EPOCH).total_seconds())),
    ]
    assert [row["time"] for row in said(rows.of_values(values, 9 * SECOND_NS))] == [7, 9]


def test_what_still_holds_after_an_outage_is_said_at_the_server_s_time(rows: Rows) -> None:
    a = point("a")
    rows.of_values([(a, value(1.0, 5)), (point("b"), value(1.0, 5))], 0)
    assert said(rows.stale(10 * SECOND_NS)) == [{"time": 10, "a_quality": "stale"}]
    assert rows.stale(11 * SECOND_NS) == []  # once
    again = frozenset([a])
    (said_again,) = said(rows.of_values([(a, value(1.0, 5, 0, 12))], 13 * SECOND_NS, again))
    assert said_again["time"] == 12
    (of_a_slow_clock,) = said(rows.of_values([(a, value(1.0, 5, 0, 6))], 13 * SECOND_NS, again))
    assert of_a_slow_clock["time"] == 13
    (newer,) = said(rows.of_values([(a, value(1.0, 11))], 13 * SECOND_NS, again))
    assert newer["time"] == 11
    (later,) = said(rows.of_values([(a, value(1.0, 6))], 13 * SECOND_NS))
    assert later["time"] == 6


class Mode(enum.IntEnum):
    AUTO = 3


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (1.5, 1.5), (True, True), (1 << 63, 1 << 63), ("x", "x"), (None, None),
        (Mode.AUTO, 3),
        (dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC), "2026-01-02T03:04:05Z"),
        (b"\x00\xff", "AP8="),
        (ua.LocalizedText("heiß"), "heiß"),
        (ua.QualifiedName("n", 2), "n"),
        (uuid.UUID(int=5), "00000000-0000-0000-0000-000000000005"),
        (ua.NodeId("n", 2), "ns=2;s=n"),
        (ua.StatusCode(BAD), BAD),
        ([1, [2.5, "x"]], '[1, [2.5, "x"]]'),
        (ua.Range(1.0, 2.0), '{"Low": 1.0, "High": 2.0}'),
    ],
)  # fmt: skip
def test_plain_values(given: Any, wanted: Any) -> None:
    assert plain(given) == wanted


def test_times_keep_microseconds() -> None:
    at = dt.datetime(2026, 10, 3, 6, 0, 0, 123457, tzinfo=dt.UTC)
    assert time_ns(at) == 1_791_007_200_123_457_000
    assert time_ns(at.replace(tzinfo=None)) == time_ns(at)


@pytest.mark.parametrize(
    "text",
    ["i=85", "ns=2;i=70000", "ns=2;s=a;b=c;ns=3", "g=00000000-0000-0000-0000-000000000005",
     "ns=65535;b=AP8=", "ns=2;s=line\nbreak"],
)  # fmt: skip
def test_node_ids_are_read_and_written_alike(text: str) -> None:
    assert text_of(node_id(text, [])) == text


def test_a_namespace_by_its_uri_is_looked_up() -> None:
    assert text_of(node_id("nsu=urn:b;s=x", ["urn:a", "urn:b"])) == "ns=1;s=x"
    with pytest.raises(ValueError, match="no namespace 'urn:c'"):
        node_id("nsu=urn:c;s=x", ["urn:a", "urn:b"])


@pytest.mark.parametrize(
    "text",
    ["", "M1.T", "ns=2", "ns=2;", "s=", "ns=70000;i=1", "ns=-1;i=1", "i=1.5", "i=4294967296",
     "i=²", "g=5", "b=%", "x=1", "s=" + 5000 * "a", " i=85", "ns=2; i=85"],
)  # fmt: skip
def test_what_is_no_node_id(text: str) -> None:
    with pytest.raises(ValueError, match=r"node id|namespace|is a|base64"):
        node_id_parts(text)
