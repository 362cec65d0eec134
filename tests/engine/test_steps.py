"""How large answers are cut: by what their rows hold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from mainstem_engine import Engine, EngineOptions
from mainstem_engine.memory import MemoryBudget
from mainstem_engine.scan import TEXT_ROWS_MIN, Selection, iterate_rows
from mainstem_engine.sources import find_blocks
from mainstem_engine.steps import TEXT_OBJECT_BYTES, text_row_bytes

MIB = 1 << 20
ROWS = 4_000
CHARS = 1_000


@pytest.mark.parametrize("compression", ["UNCOMPRESSED", "ZSTD"])
def test_texts_count_what_they_hold(tmp_path: Path, compression: str) -> None:
    options = EngineOptions(durability="os", background=False, block_rows=100)
    with Engine.open(tmp_path, options) as engine:
        engine.sql(f"CREATE SCHEMA TEMPLATE m (note TEXT COMPRESSOR={compression}, n INT64)")
        rng = np.random.default_rng(1)
        letters = rng.integers(97, 123, (ROWS, CHARS), np.uint8)
        notes = [row.tobytes().decode() for row in letters]
        for device in range(4):
            some = slice(device * 1_000, device * 1_000 + 1_000)
            columns = {"note": notes[some], "n": np.arange(1_000)}
            engine.write("m", f"root.x.d{device}", np.arange(1_000), columns).wait()
        engine.flush()
        view = engine._store.current("m")[1]
        found = find_blocks(view, None, -(2**62), 2**62)
        measured = text_row_bytes(found, view.types)
        assert CHARS + TEXT_OBJECT_BYTES <= measured <= CHARS + TEXT_OBJECT_BYTES + 16
        assert text_row_bytes(found, [1]) == 0

        small = dataclasses.replace(view, memory=MemoryBudget(13 * MIB))
        assert small.memory is not None
        share = small.memory.limit_of("scan")
        steps = list(iterate_rows(small, Selection()))
        assert [note for rows in steps for note in rows.columns[0].values] == notes
        # A step may go over by a block and by what a device's cut is off.
        assert max(len(rows) for rows in steps) * measured <= 1.5 * share
        assert min(len(rows) for rows in steps) >= TEXT_ROWS_MIN
        assert len(list(iterate_rows(small, Selection(measurement_ids=(1,))))) == 1
