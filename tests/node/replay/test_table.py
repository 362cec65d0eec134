"""CSV files as spreadsheets, loggers and plants write them."""

from __future__ import annotations

import struct
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mainstem_node.replay import CsvError, Kind, encode, open_table


def written(place: Path, text: str, encoding: str = "utf-8") -> Path:
    path = place / "recording.csv"
    path.write_bytes(text.encode(encoding))
    return path


def kinds(path: Path) -> dict[str, Kind]:
    return {column.name: column.kind for column in open_table(path).columns}


def test_a_spreadsheets_export_is_understood(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "\ufeffdate;Usage (kWh);count;load;ok\r\n"
        "01/01/2018 00:15;3,17;4;Light;true\r\n"
        "\r\n"
        "13/01/2018 00:30;4;;Light;FALSE\r\n",
    )
    table = open_table(path)
    assert (table.delimiter, table.has_header, table.time_name) == (";", True, "date")
    assert table.time_reader.notation == "dmy"
    assert table.row_count == 2
    assert table.zone_assumed
    assert [(column.name, column.kind) for column in table.columns] == [
        ("Usage (kWh)", Kind.FLOAT),
        ("count", Kind.INTEGER),
        ("load", Kind.TEXT),
        ("ok", Kind.BOOLEAN),
    ]
    rows = list(table.rows())
    assert rows[0].time == "2018-01-01T00:15:00Z"
    assert rows[0].values == {"Usage (kWh)": 3.17, "count": 4, "load": "Light", "ok": True}
    assert rows[1].values == {"Usage (kWh)": 4.0, "load": "Light", "ok": False}


def test_a_column_keeps_one_type(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "time,a,b,c,d,e\n"
        "2024-01-01,1,1,9223372036854775807,1,\n"
        "2024-01-02,2,2.5,99999999999999999999,x,\n",
    )
    assert kinds(path) == {
        "a": Kind.INTEGER,
        "b": Kind.FLOAT,
        "c": Kind.FLOAT,
        "d": Kind.TEXT,
        "e": Kind.INTEGER,
    }
    first = next(iter(open_table(path).rows()))
    assert first.values == {"a": 1, "b": 1.0, "c": 9223372036854775807.0, "d": "1"}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=20))
@settings(max_examples=60, suppress_health_check=list(HealthCheck))
def test_floats_arrive_bit_equal(tmp_path: Path, numbers: list[float]) -> None:
    lines = [f"2024-01-01T00:00:{i:02},{number!r}" for i, number in enumerate(numbers)]
    table = open_table(written(tmp_path, "\n".join(["time,value", *lines])))
    messages = encode(table.rows(), codec="json", columns=["value"], device=None, batch_rows=1)
    received = [msgspec.json.decode(message.payload)["value"] for message in messages]
    # An exponent in Python's notation is still a decimal of the file.
    assert [struct.pack("<d", v) for v in received] == [struct.pack("<d", v) for v in numbers]


def test_what_json_cannot_carry_is_counted_and_left_out(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "time,v\n2024-01-01,NaN\n2024-01-02,1.5\n2024-01-03,inf"))
    assert [row.values for row in table.rows()] == [{}, {"v": 1.5}, {}]
    assert table.left_out == 2


def test_a_file_without_a_header_has_numbered_columns(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, "2018-01-01T00:00:00+00:00,4.6\n2018-01-02,4.8\n"))
    assert not table.has_header
    assert [column.name for column in table.columns] == ["column_2"]
    assert table.row_count == 2
    assert not table.zone_assumed


def test_columns_are_picked_and_renamed(tmp_path: Path) -> None:
    path = written(tmp_path, 'time,CO2(tCO2),"a,b",x=y\n2024-01-01,1,2,3\n')
    table = open_table(path, columns='CO2(tCO2)=co2,"a,b"=ab,x=y')
    assert [(column.source, column.name) for column in table.columns] == [
        ("CO2(tCO2)", "co2"), ("a,b", "ab"), ("x=y", "x=y"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "options", "reason"),
    [
        ("", {}, "empty"),
        ("time,v\n2024-01-01,1\nnever,2\n", {}, "mixes"),
        ("time,v\n2024-01-01,1\n2024-02-30,2\n", {}, ":3: time: day"),
        ("time,v\n2024-01-01,1\n,2\n", {}, ":3: time: the row has no time"),
        ("time,v\n2024-01-01,1,2\n", {}, ":2: 3 cells"),
        ("time,v,v\n2024-01-01,1,2\n", {}, "two columns"),
        ("time,v\n2024-01-01,1\n", {"columns": "w"}, "no such column; the file has time, v"),
        ("time,v,w\n2024-01-01,1,2\n", {"columns": "v,w=v"}, "sent under this name"),
        ("time,v\n2024-01-01,1\n", {"time_column": "stamp"}, "no such column"),
        ("time,v\n2024-01-01,1\n", {"time_format": "ymd"}, "nor a pattern"),
        ("time,v\n2024-01-01,1\n", {"zone": "Mars"}, "no time zone"),
        ("time,v\n2024-01-01,1\n", {"delimiter": "::"}, "not one character"),
        ("time,v\n2024-01-01,1\n", {"time_format": "%d.%m.%Y"}, ":2: time"),
    ],
)
def test_a_problem_is_named_before_anything_is_sent(
    tmp_path: Path, text: str, options: dict[str, str], reason: str
) -> None:
    with pytest.raises(CsvError) as caught:
        open_table(written(tmp_path, text), **options)
    assert reason in str(caught.value)
    assert caught.value.hint


def test_a_file_in_another_encoding_is_named(tmp_path: Path) -> None:
    with pytest.raises(CsvError, match="not UTF-8"):
        open_table(written(tmp_path, "time,Größe\n2024-01-01,1\n", "latin-1"))


def test_messages_hold_whole_rows_and_are_bounded(tmp_path: Path) -> None:
    lines = [f"2024-01-01T00:{i // 60:02}:{i % 60:02},{i}" for i in range(250)]
    table = open_table(written(tmp_path, "\n".join(["time,v", *lines])))
    messages = list(
        encode(table.rows(), codec="json", columns=["v"], device="root.a.d", batch_rows=100)
    )
    assert [message.rows for message in messages] == [100, 100, 50]
    first = msgspec.json.decode(messages[0].payload)
    assert first[0] == {"ts": "2024-01-01T00:00:00Z", "device": "root.a.d", "v": 0}
    assert messages[0].last_ns - messages[0].first_ns == 99_000_000_000


def test_csv_messages_carry_their_header(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, 'time,v,w\n2024-01-01,,"a,b"\n2024-01-02,1,true\n'))
    (message,) = encode(table.rows(), codec="csv", columns=["v", "w"], device=None, batch_rows=9)
    assert message.payload.decode() == (
        'ts,v,w\n2024-01-01T00:00:00Z,,"a,b"\n2024-01-02T00:00:00Z,1,true\n'
    )
