"""Every contestant of the engine's benchmark answers what the rows say."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pytest
from contests import Room, settle
from peers import PEERS, Mainstem, Store
from peers.sqlite_ import Sqlite
from peers.store import DAY_MS, FILTER_ABOVE, MINUTE_MS, answer_columns, differences
from telemetry import START_MS, DataSet, make_dataset, sort_dataset

DEVICES, SECONDS = 20, 150
KINDS: list[type[Store]] = [Mainstem, *PEERS.values()]
Answers = dict[str, tuple[str, tuple[Any, ...], tuple[str, ...], list[npt.NDArray[Any]]]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return make_dataset(tmp_path_factory.mktemp("rows") / "data", DEVICES * SECONDS * 10, DEVICES)


@pytest.fixture(scope="module")
def ordered(data: DataSet) -> DataSet:
    return sort_dataset(data, data.place.parent / "sorted")


@pytest.fixture(scope="module")
def answers(ordered: DataSet) -> Answers:
    """Question -> method, arguments, keys, and the answer computed from the rows."""
    shape = (DEVICES, SECONDS)
    device = np.arange(DEVICES)
    time = ordered.column("time").reshape(shape)
    m0, m1, m3 = (ordered.column(name).reshape(shape) for name in ("m0", "m1", "m3"))
    wanted = m1 > FILTER_ABOVE
    some = wanted.any(axis=1)
    filtered = np.array([m0[row][wanted[row]].mean() for row in device[some]])
    starts = np.unique(time[0] // MINUTE_MS * MINUTE_MS)
    inside = [(time[0] // MINUTE_MS * MINUTE_MS) == start for start in starts]
    means = np.stack([m0[:, each].mean(axis=1) for each in inside], axis=1)
    last = [ordered.column(f"m{number}").reshape(shape)[3, -1:] for number in range(10)]
    hour = (START_MS + 10_000, START_MS + 70_000)
    span = (time[0] >= hour[0]) & (time[0] < hour[1])
    every_minute = [np.repeat(device, len(starts)), np.tile(starts, DEVICES), means.reshape(-1)]
    day = time[:, 0] // DAY_MS * DAY_MS
    counts = np.full(DEVICES, SECONDS)
    return {
        "last": ("last", (3,), ("time",), [time[3, -1:], *last]),
        "range": ("range", (4, *hour, "m3"), ("time",), [time[4][span], m3[4][span]]),
        "first": ("first_answer", (4, *hour, "m3"), ("time",), [time[4][span], m3[4][span]]),
        "windows": ("windows", (5, "m0"), ("time",), [starts, means[5]]),
        "groups": ("groups", (), ("device",), [device, counts, m0.mean(axis=1), m1.max(axis=1)]),
        "filtered": ("filtered_groups", (), ("device",), [device[some], filtered]),
        "minutes": ("all_windows", (), ("device", "time"), every_minute),
        "days": ("day_windows", (), ("device", "time"), [device, day, m0.mean(axis=1)]),
        "rollup": ("rollup_windows", (), ("device", "time"), every_minute),
    }


def fill(kind: type[Store], place: Path, data: DataSet) -> None:
    """Loads in batches that are smaller than the data."""
    kind.import_modules()
    store = kind(place, DEVICES, new=True)
    store.load(data.batches(1_000))
    store.close()


def ask_all(kind: type[Store], place: Path, form: str, answers: Answers) -> dict[str, str]:
    """What is wrong with each answer of one form."""
    store = kind(place, DEVICES, form)
    assert store.data_bytes() > 0
    found = {
        name: differences(expected, answer_columns(getattr(store, method)(*arguments), keys))
        for name, (method, arguments, keys, expected) in answers.items()
    }
    store.close()
    return found


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_answers_are_those_of_the_rows(
    kind: type[Store], data: DataSet, ordered: DataSet, answers: Answers, tmp_path: Path
) -> None:
    if missing := kind.missing():
        pytest.skip(f"not installed: {', '.join(missing)}")
    # A process of its own, as in the benchmark: libraries of peers do not meet in this one.
    with Room() as room:
        room.run(fill, kind, tmp_path, ordered if kind.sorted_input else data)
        room.run(settle, kind, tmp_path, DEVICES)
        for form in kind.forms:
            found = room.run(ask_all, kind, tmp_path, form, answers)
            assert found == dict.fromkeys(answers, "")


def test_differences_are_seen() -> None:
    times, values = np.array([1, 2]), np.array([0.5, 0.25])
    assert differences([times, values], [times, values * (1 + 1e-12)]) == ""
    assert "row 1: 0.25 for 0.3" in differences([times, values], [times, np.array([0.5, 0.3])])
    assert differences([times, values], [times[:1], values[:1]]) == "2 rows for 1"
    assert differences([times, values], [times]) == "2 columns for 1"


def test_answers_come_to_one_shape() -> None:
    import pyarrow as pa

    named = pa.table({
        "time": pa.array([120_000, 60_000], pa.timestamp("ms")),
        "device": pa.array(["root.bench.d2", "root.bench.d10"]).dictionary_encode(),
        "m0_mean": [2.5, 1.5],
    })  # fmt: skip
    rows = [(2, 120_000, 2.5), (10, 60_000, 1.5)]
    for answer in (named, rows, tuple(zip(*rows, strict=True))):
        found = answer_columns(answer, ("device", "time"))
        assert [column.tolist() for column in found] == [[2, 10], [120_000, 60_000], [2.5, 1.5]]
    of_one = answer_columns(named, ("time",))
    assert [column.tolist() for column in of_one] == [[60_000, 120_000], [1.5, 2.5]]


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import engine

    class Nowhere(Sqlite):
        packages: ClassVar[Mapping[str, str]] = {"mainstem-nowhere": "mainstem_nowhere"}

    monkeypatch.delenv("MAINSTEM_CI", raising=False)
    monkeypatch.setitem(PEERS, "sqlite", Nowhere)
    here, absent = engine.chosen_peers("duckdb,sqlite")
    assert [kind.name for kind in here] == ["duckdb"]
    assert "mainstem-nowhere not installed: `make bench` installs it" in absent["sqlite"]
    monkeypatch.setenv("MAINSTEM_CI", "1")
    with pytest.raises(SystemExit, match="every peer must be there"):
        engine.chosen_peers("duckdb,sqlite")
    with pytest.raises(SystemExit, match="no peer 'oracle'"):
        engine.chosen_peers("oracle")
