"""Case 24: parts are joined and log segments go at the edge while its backlog is sent: no file that
somebody still reads vanishes."""

from __future__ import annotations

from pathlib import Path

import pytest

from mainstem_engine.model import VersionedRows
from mainstem_engine.scan import Selection, read_rows
from mainstem_engine.view import TableView

from .outages import SMALL_LOG, MakeTiers, assert_whole, outage, restored


def test_case_24_compaction_during_the_drain(make_tiers: MakeTiers) -> None:
    tiers = make_tiers(edge_options=SMALL_LOG)
    tiers.write(rows=5)
    tiers.run()
    tiers.up.cut()
    outage(tiers)
    tiers.up.restore()
    for _ in range(40):
        tiers.clock.advance(0.12)
        for link in tiers.links:
            link.step()
        tiers.edge.engine.compact()
        tiers.edge.engine.flush()
        tiers.plant.engine.compact()
    restored(tiers)
    assert_whole(tiers)


def test_case_24_files_go_between_the_look_and_the_read(
    make_tiers: MakeTiers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As soon as an image knows its files they are joined with others, and removed."""
    tiers = make_tiers(edge_options=SMALL_LOG)
    tiers.write(rows=5)
    tiers.run()
    tiers.up.cut()
    outage(tiers)
    engine = tiers.edge.engine
    gone: set[Path] = set()

    def read_later(view: TableView, selection: Selection) -> VersionedRows:
        before = set(tiers.edge.directory.rglob("*.part"))
        # A row of its own time: an image is as of a moment before it.
        tiers.write(start_s=2000 + len(gone), rows=1)
        engine.flush()
        engine.compact()
        gone.update(before - set(tiers.edge.directory.rglob("*.part")))
        return read_rows(view, selection)

    monkeypatch.setattr("mainstem_engine.imaging.read_rows", read_later)
    tiers.up.restore()
    tiers.run(6)
    monkeypatch.undo()
    assert len(gone) > 10
    restored(tiers)
    tiers.close(40)
    assert_whole(tiers)
