"""The CSV codec: header, cells and lines that fail alone; what ``publish --codec csv`` writes."""

from __future__ import annotations

import pytest

from mainstem_edge.decode.csv_codec import CsvCodec
from mainstem_edge.decode.interface import Decoded, KnownNames
from mainstem_edge.subscription import Subscription
from mainstem_edge.testing.parts import NOW_NS, T0_MS, message, rules

KNOWN = KnownNames(("a", "b", "device", "ts"))


def decode(*payloads: str | bytes) -> Decoded:
    data = [p if isinstance(p, bytes) else p.encode() for p in payloads]
    return CsvCodec(KNOWN, ("ts",)).decode(data)


def test_lines_become_rows_and_empty_cells_are_absent() -> None:
    found = decode("ts,a,x\n1,2.5,\n2,,z\n", 'A;b\n7;"q;""r"\n')
    assert found.source == [0, 0, 1]
    assert found.columns == {
        "ts": [1, 2, None], "a": ["2.5", None, "7"], "b": [None, None, 'q;"r'],
    }  # fmt: skip
    assert found.extras == [(1, "x", "z")]
    assert found.textual


def test_bad_lines_fail_alone_and_bad_payloads_as_a_whole() -> None:
    found = decode(
        "a,b\n1\n2,3\n", "", b"\xff", "a,,b\n1,2,3\n", 'a\n"open\n', "\ufeffa\tb\n1\t2\n"
    )
    assert found.columns == {"a": ["2", "1"], "b": ["3", "2"]}
    assert [(f.message, f.value) for f in found.failures] == [
        (0, ["1"]), (1, None), (2, None), (3, None), (4, '"open'),
    ]  # fmt: skip


def test_a_delimiter_at_the_end_of_each_line_makes_no_column() -> None:
    found = decode("a;b;\n1;2;\n3;4\n5;;\n6;7;8\n")
    assert found.columns == {"a": ["1", "3", "5"], "b": ["2", "4", None]}
    assert [f.value for f in found.failures] == [["6", "7", "8"]]


def test_the_delimiter_is_what_the_header_has_most_of() -> None:
    assert decode("a;x, y;b\n1;2,5;3\n").columns == {"a": ["1"], "b": ["3"]}


def test_a_header_alone_has_no_rows() -> None:
    assert len(decode("a,b\n")) == 0


@pytest.mark.parametrize("stamp", [str(T0_MS), "2026-10-20T16:00:00Z"])
def test_types_are_read_from_the_text(stamp: str, subscription_of_csv: Subscription) -> None:
    text = f"ts,temperature,count,running,note\n{stamp},1.5,7,true,9\n{stamp},x,1.5,2,\n"
    (found,) = subscription_of_csv.read([message(text.encode())], NOW_NS)
    kept = {key: column.values[0] for key, column in found.prepared.columns.items()}
    assert kept == {0: 1.5, 2: 7, 3: True, 4: "9"}
    assert [r.reason for r in found.prepared.rejects] == ["wrong_type"] * 3
    assert found.good.tolist() == [True, False]


@pytest.fixture
def subscription_of_csv() -> Subscription:
    from mainstem_edge.patterns import PathPattern
    from mainstem_edge.payload_time import TimeReader
    from mainstem_edge.row_checks import ClockBounds

    return Subscription(
        "plant/+/t",
        rules(),
        CsvCodec,
        device=PathPattern("root.plant.{topic[1]}"),
        times=TimeReader(),
        clock=ClockBounds(0, 300 * 10**9),
    )
