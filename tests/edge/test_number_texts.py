"""Numbers that a source writes as text: which are taken, which stay what they are."""

from __future__ import annotations

from typing import Any

import pytest

from mainstem_edge.decode.csv_codec import CsvCodec
from mainstem_edge.decode.interface import Decoded
from mainstem_edge.decode.number_texts import NumberTexts
from mainstem_edge.decode.raw_codec import RawCodec
from mainstem_edge.reading import Reading
from mainstem_edge.subscription import Subscription
from mainstem_edge.testing.parts import NOW_NS, T0_MS, message, subscription
from mainstem_engine.model import ColumnType


def taken(value: Any, decimal: str, kind: ColumnType = ColumnType.DOUBLE) -> Any:
    decoded = Decoded([0], {"x": [value]}, textual=True)
    NumberTexts({"x": kind}, decimal).take(decoded)
    assert not decoded.textual
    return decoded.columns["x"][0]


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("41,7", 41.7), (" -0,5 ", -0.5), ("12", 12), ("1.234,5", 1234.5), ("1,5e-3", 0.0015),
        ("1.234.567,0", 1234567.0), (",5", 0.5), ("5,", 5.0), ("+3", 3),
    ],
)  # fmt: skip
def test_a_decimal_comma(text: str, number: float) -> None:
    assert taken(text, ",") == number
    assert type(taken(text, ",")) is type(number)


@pytest.mark.parametrize("text", ["1.234", "1,2,3", "12.34,5", "a", "", ",", "1_0,5", "NaN", "1 2"])
def test_what_is_no_number_with_a_comma_stays_text(text: str) -> None:
    assert taken(text, ",") == text


def test_a_decimal_point() -> None:
    assert taken("41.7", ".") == 41.7
    assert [taken(text, ".") for text in ("41,7", "inf", "1_0")] == ["41,7", "inf", "1_0"]


def test_booleans_and_texts() -> None:
    assert [taken(v, ",", ColumnType.BOOLEAN) for v in ("ON", "0", "ja", True)] == [
        True, False, "ja", True,
    ]  # fmt: skip
    assert taken("1,5", ",", ColumnType.TEXT) == "1,5"
    assert taken(2.5, ",") == 2.5


def read(target: Subscription, *payloads: Any, topic: str = "plant/m1/t") -> Reading:
    (found,) = target.read([message(each, topic) for each in payloads], NOW_NS)
    return found


def values(found: Reading) -> list[list[Any]]:
    return [column.values.tolist() for column in found.prepared.columns.values()]


def rejects(found: Reading) -> list[tuple[str, Any]]:
    return [(each.measurement, each.value) for each in found.prepared.rejects]


ROW = {"ts": T0_MS, "temperature": "41,7", "count": "12", "running": "ON", "note": "1,5"}


def test_json_with_texts() -> None:
    found = read(subscription(decimal=","), ROW)
    assert values(found) == [[41.7], [12], [True], ["1,5"]]
    assert rejects(found) == []


def test_without_the_key_a_text_is_no_number() -> None:
    assert rejects(read(subscription(), ROW)) == [
        ("temperature", "41,7"), ("count", "12"), ("running", "ON"),
    ]  # fmt: skip


def test_csv_with_semicolons() -> None:
    target = subscription(decimal=",", codec=CsvCodec)
    found = read(target, f"ts;temperature;count\n{T0_MS};41,7;3\n{T0_MS + 1};1.234;4".encode())
    assert values(found) == [[41.7, 0.0], [3, 4]]
    assert rejects(found) == [("temperature", "1.234")], "a point says nothing here"


def test_raw_values() -> None:
    target = subscription(decimal=",", codec=RawCodec, measurement="temperature")
    assert values(read(target, b"22,9")) == [[22.9]]
