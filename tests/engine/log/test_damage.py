"""The table of damages to a log, random damage, and kills: a log opens, alters no record,
keeps what follows a damage, and reports what is missing.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mainstem_engine import Template
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind
from mainstem_engine.options import Durability
from mainstem_engine.testing.faulty_filesystem import FaultyFilesystem
from mainstem_engine.testing.recorder import NODE_UUID, payload_for

from .damages import Case, Recorded, cases, judge_engine, judge_foreign, judge_log, recorded

ENGINES = 10
"""One of so many damages is tried on a whole engine too; all of them nightly."""

RECORDS = 40
SIZES = [payload_size % 400 for payload_size in range(0, RECORDS * 37, 37)]


def open_log(root: Path, fs: Filesystem | None = None) -> Log:
    return Log.open(
        root / "log",
        fs=fs or FaultyFilesystem(root),
        node_uuid=NODE_UUID,
        durability=Durability.parse("always"),
        segment_bytes_max=2500,
    )


@pytest.fixture
def killed(meters: Template, tmp_path: Path) -> Recorded:
    return recorded(tmp_path, meters)


def test_the_table_of_damages(
    killed: Recorded, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Survivors are all records but the damaged ones; the loss is counted."""
    table = cases(killed)
    for case in table:
        judge_log(killed, case, tmp_path / "damaged")
    assert len(table) > 120
    record_property("count:log damages", len(table))


@pytest.mark.parametrize("stride", [ENGINES, pytest.param(1, marks=pytest.mark.nightly)])
def test_the_table_of_damages_in_an_engine(
    killed: Recorded,
    tmp_path: Path,
    stride: int,
    record_property: Callable[[str, object], None],
) -> None:
    """Its rows, what a check names, and what statistics report."""
    table = cases(killed)[::stride]
    for case in table:
        judge_engine(killed, case, tmp_path / "damaged")
    record_property("count:log damages", len(table))


def test_a_start_says_that_its_log_is_damaged(
    killed: Recorded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    case = next(case for case in cases(killed) if case.name == "middle segment: checksum")
    judge_engine(killed, case, tmp_path / "damaged")
    assert "damaged in 1 places, 1 records are lost" in caplog.text
    caplog.clear()
    judge_engine(killed, Case("no damage", killed.segments, seen=False), tmp_path / "whole")
    assert caplog.text == ""


def test_a_segment_of_another_node_is_refused(killed: Recorded, tmp_path: Path) -> None:
    judge_foreign(killed, tmp_path / "damaged")


@pytest.fixture(scope="module")
def segments(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The segments of a killed process: 40 records in several files."""
    root = tmp_path_factory.mktemp("source")
    log = open_log(root)
    log.start(lambda _: None)
    for number, size in enumerate(SIZES):
        log.append(RecordKind.PTS, [payload_for(number + 1, size)])
        log.barrier()
    files = {path.name: path.read_bytes() for path in (root / "log").iterdir()}
    log.close()
    assert len(files) > 3
    return files


@st.composite
def damages(draw: st.DrawFn, files: dict[str, bytes]) -> tuple[str, dict[str, bytes]]:
    """One kind of damage to one file."""
    name = draw(st.sampled_from(sorted(files)))
    data = bytearray(files[name])
    kind = draw(st.sampled_from(["flip", "sector", "noise", "cut", "swap", "grow", "remove"]))
    place = draw(st.integers(0, len(data) - 1))
    if kind == "flip":
        data[place] ^= 1 << draw(st.integers(0, 7))
    elif kind == "sector":
        start = place - place % 512
        data[start : start + 512] = bytes(len(data[start : start + 512]))
    elif kind == "noise":
        noise = draw(st.binary(min_size=1, max_size=80))
        data[place : place + len(noise)] = noise[: len(data) - place]
    elif kind == "cut":
        del data[place:]
    elif kind == "swap":
        first, second = data[64:264], data[264:464]
        data[64:464] = second + first
    elif kind == "grow":
        data += draw(st.binary(min_size=1, max_size=80))
    changed = dict(files)
    if kind == "remove":
        del changed[name]
    else:
        changed[name] = bytes(data)
    return f"{kind} {name} at {place}", changed


def test_random_damage(
    segments: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    last = max(segments)

    @settings(max_examples=150, deadline=None)
    @given(damages(segments))
    def check(damage: tuple[str, dict[str, bytes]]) -> None:
        _, files = damage
        root = tmp_path_factory.mktemp("damaged")
        (root / "log").mkdir()
        for name, data in files.items():
            (root / "log" / name).write_bytes(data)
        log = open_log(root)
        found = {record.lsn: bytes(record.payload) for record in log.read(1)}
        assert all(payload_for(lsn, SIZES[lsn - 1]) == data for lsn, data in found.items())
        expected = range(log.first_lsn, log.appended_lsn + 1)
        assert len(found) + log.recovery.lost_records == len(expected)
        if last in files and files[last] == segments[last]:
            assert log.appended_lsn == RECORDS
        log.start(lambda _: None)
        lsn = log.append(RecordKind.PTS, [b"after"])
        assert log.barrier() == lsn not in found
        log.close()
        # The second start finds the same, and nothing more to repair.
        again = open_log(root)
        assert {r.lsn: bytes(r.payload) for r in again.read(1)} == found | {lsn: b"after"}
        assert again.recovery.lost_records == log.recovery.lost_records
        assert again.recovery.torn_bytes == again.recovery.carried_records == 0
        again.close()

    check()


WORKLOAD = """
import pathlib, sys
from mainstem_engine.filesystem import Filesystem
from mainstem_engine.log.log import Log
from mainstem_engine.log.records import RecordKind
from mainstem_engine.options import Durability
from mainstem_engine.testing.recorder import NODE_UUID, payload_for
log = Log.open(pathlib.Path(sys.argv[1]), fs=Filesystem(), node_uuid=NODE_UUID,
               durability=Durability.parse("always"), segment_bytes_max=20000)
log.start(lambda entries: print(entries[-1][0].lsn, flush=True))
while True:
    log.append(RecordKind.PTS, [payload_for(log.appended_lsn + 1)])
"""


@pytest.mark.crash
@pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")
def test_kill_loses_nothing_that_was_reported(tmp_path: Path) -> None:
    """Three lives of a process that is killed while it appends as fast as it can."""
    directory = tmp_path / "log"
    before = 0
    for _ in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", WORKLOAD, str(directory)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        with process:
            assert process.stdout is not None
            reported = before
            while reported < before + 2000:
                reported = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split()
        reported = int(rest[-1]) if len(rest) > 1 else reported
        log = open_log(tmp_path, Filesystem())
        records = [(record.lsn, bytes(record.payload)) for record in log.read(1)]
        assert records == [(n, payload_for(n)) for n in range(1, len(records) + 1)]
        assert len(records) >= reported
        assert log.recovery.damages == ()
        before = log.appended_lsn
        log.close()
