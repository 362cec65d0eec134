"""Who still needs the log, and what a byte cap takes from them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from mainstem_engine import ColumnType, Engine, Measurement, Template

T = Template("t", (Measurement(0, "x", ColumnType.INT64),))


def filled(open_engine: Any, **options: Any) -> Engine:
    engine: Engine = open_engine(log_segment_bytes=1, **options)
    engine.create_template(T)
    for time in range(40):
        engine.write("t", "root.a.d", np.array([time]), {"x": [time]}).wait()
    return engine


def test_a_cap_takes_the_oldest_segments_and_says_so(
    open_engine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    engine = filled(open_engine, log_bytes_max=4000)
    gone: list[tuple[int, int]] = []
    engine.add_hold("parent", lambda: 5)
    engine.on_log_released(lambda first, last: gone.append((first, last)))
    with caplog.at_level(logging.WARNING):
        engine.flush()
        for time in range(40, 60):
            engine.write("t", "root.a.d", np.array([time]), {"x": [time]}).wait()
        engine.flush()
    assert gone[0][0] == 6
    assert gone[1][0] == gone[0][1] + 1
    assert engine.log.first_lsn == gone[-1][1] + 1
    statistics = engine.statistics().log
    assert statistics.bytes <= 4000
    assert statistics.capped_records == gone[-1][1] - gone[0][0] + 1
    assert caplog.text.count("larger than 4000 bytes") == 1
    engine.close()
    again: Engine = open_engine()
    assert again.scan("t").read_all().num_rows == 60


def test_what_is_in_no_part_never_goes(open_engine: Any) -> None:
    engine = filled(open_engine, log_bytes_max=100)
    engine.add_hold("parent", lambda: 0)
    first = engine.log.first_lsn
    engine._store.release_log()
    assert engine.log.first_lsn == first
    engine.abandon()
    assert open_engine().scan("t").read_all().num_rows == 40


def test_a_firm_hold_is_stronger_than_the_cap(open_engine: Any) -> None:
    engine = filled(open_engine, log_bytes_max=100)
    holds = engine._store.holds
    holds.add("backup", lambda: 0, firm=True)
    engine.flush()
    assert engine.log.first_lsn == 1
    holds.remove("backup")
    assert holds.names == []
    holds.add("parent", lambda: 0)
    engine._store.release_log()
    assert engine.log.first_lsn == engine.log.appended_lsn + 1


def test_without_a_cap_a_hold_keeps_everything(open_engine: Any) -> None:
    engine = filled(open_engine)
    engine.add_hold("parent", lambda: 0)
    engine.flush()
    assert engine.log.first_lsn == 1
    assert engine.statistics().log.capped_records == 0
