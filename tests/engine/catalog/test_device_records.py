"""DEV records: both forms, bounds, and what is refused."""

from __future__ import annotations

from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine.catalog import device_records
from mainstem_engine.catalog.device_records import DeviceRecord
from mainstem_engine.catalog.tags import CodedTag
from mainstem_engine.errors import SchemaError

VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.floats(), st.text(max_size=2), st.binary()
)


def record(ids: list[int], tags: dict[str, list[Any]] | None = None) -> DeviceRecord:
    coded = {name: CodedTag.of(values) for name, values in (tags or {}).items()}
    paths = [f"root.a.d{device}" for device in ids]
    return DeviceRecord("t", np.array(ids, np.uint32), paths, coded, foreign=True)


def through_the_log(header: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = msgpack.unpackb(msgpack.packb(header))
    return found


def plain(found: DeviceRecord) -> list[Any]:
    tags = {name: [repr(value) for value in tag.to_list()] for name, tag in found.tags.items()}
    return [found.family, found.ids.tolist(), found.paths, tags, found.foreign]


@given(st.lists(st.tuples(st.integers(0, 9), VALUES), unique_by=lambda pair: pair[0], max_size=9))
@settings(deadline=None)
def test_a_record_survives_the_log(devices: list[tuple[int, Any]]) -> None:
    devices.sort(key=lambda pair: pair[0])
    written = record([device for device, _ in devices], {"a": [value for _, value in devices]})
    read = DeviceRecord.from_header(through_the_log(written.to_header(announced=True)))
    assert plain(read) == plain(written)
    assert list(read.ids) == [device for device, _ in devices]


def test_consecutive_ids_take_no_room() -> None:
    header = record(list(range(7, 1007))).to_header(more=1)
    assert (header["first"], header["n"], header["more"]) == (7, 1000, 1)
    assert "ids" not in header
    assert header["paths"].count("\n") == 999
    assert record([3, 5]).to_header()["ids"] == b"\3\0\0\0\5\0\0\0"


@pytest.mark.parametrize(("distinct", "width"), [(256, 1), (257, 2), (1 << 16, 2), (70_000, 4)])
def test_codes_are_as_narrow_as_they_can_be(distinct: int, width: int) -> None:
    written = record(list(range(distinct)), {"a": [f"v{i}" for i in range(distinct)]})
    header = written.to_header()
    assert len(header["coded"]["a"][1]) == width * distinct
    assert DeviceRecord.from_header(header).tags["a"].to_list()[-1] == f"v{distinct - 1}"


def test_the_first_form_is_read() -> None:
    header = {
        "t": "t", "ids": [0, 4], "paths": ["root.a.d0", "root.a.d4"], "tags": {"n": [1, None]},
        "foreign": False,
    }  # fmt: skip
    found = DeviceRecord.from_header(header)
    assert plain(found) == ["t", [0, 4], header["paths"], {"n": ["1", "None"]}, False]


def test_values_that_are_equal_in_python_stay_apart() -> None:
    values: list[Any] = [1, True, 1.0, "1", b"1", 0.0, -0.0, False, 0, None]
    assert [repr(v) for v in CodedTag.of(values).to_list()] == [repr(v) for v in values]
    assert len(CodedTag.of(values).values) == len(values)
    assert CodedTag.of(["a", "b", "a"]).take(np.array([0, 2])).values == ["a"]


GOOD: dict[str, Any] = {"t": "t", "foreign": False, "first": 0, "n": 2, "paths": "a\nb"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"n": 3}, {"n": 1 << 40}, {"n": -1}, {"first": -1}, {"first": 0xFFFFFFFE}, {"n": "x"},
        {"paths": ["a"]}, {"paths": None}, {"paths": "a\nb\nc"},
        {"coded": {"a": [["x"], b"\0"]}}, {"coded": {"a": [["x"], b"\0\1"]}},
        {"coded": {"a": [[]]}},
        {"coded": 5}, {"tags": {"a": [1]}, "coded": None},
    ],
)  # fmt: skip
def test_what_does_not_fit_together_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SchemaError):
        DeviceRecord.from_header({"coded": {}, **GOOD, **wrong})
    for missing in ("t", "first", "paths"):
        with pytest.raises(SchemaError):
            DeviceRecord.from_header({key: GOOD[key] for key in GOOD if key != missing})


def test_ids_of_either_form_are_checked() -> None:
    for ids in (["x"], [-1], [1 << 40], b"\0\0\0", None):
        header: dict[str, Any] = {"t": "t", "ids": ids, "paths": ["a"], "tags": {}}
        with pytest.raises(SchemaError):
            DeviceRecord.from_header(header)


def test_pieces_are_bounded_by_count_and_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = record(list(range(10)), {"a": [f"{'v' * (i % 3) * 30}" for i in range(10)]})
    assert [len(piece.ids) for piece in whole.pieces(4)] == [4, 4, 2]
    assert next(record([1]).pieces()).ids.tolist() == [1]
    monkeypatch.setattr(device_records, "RECORD_TEXT_BYTES", 200)
    pieces = list(whole.pieces())
    assert len(pieces) > 3
    assert [path for piece in pieces for path in piece.paths] == whole.paths
    assert all(len(msgpack.packb(piece.to_header())) < 600 for piece in pieces)
    umlauts = DeviceRecord("t", np.arange(9, dtype=np.uint32), ["ä" * 60] * 9, {}, foreign=False)
    sizes = [len(piece.ids) for piece in umlauts.pieces()]
    assert (sum(sizes), max(sizes)) == (9, 2)


def test_a_record_of_the_largest_paths_is_small_enough_to_travel() -> None:
    paths = [f"root.{'x' * 250}.{'y' * 250}.{'z' * 250}.{'w' * 200}.d{i}" for i in range(5000)]
    tags = {"vin": CodedTag.of([f"V{i:017d}" for i in range(5000)])}
    whole = DeviceRecord("t", np.arange(5000, dtype=np.uint32), paths, tags, foreign=False)
    sizes = [len(msgpack.packb(piece.to_header())) for piece in whole.pieces()]
    assert len(sizes) > 4
    assert max(sizes) < 2 << 20
