"""What the line of a node defines: also where a backup was taken before it was said again.

Found by simulations, each in its shortest form.
"""

from __future__ import annotations

import numpy as np

from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.origins.definition_log import DefinitionLog
from mainstem_sync.origins.origin_state import (
    UNMAPPED,
    Kin,
    MeasurementMap,
    OriginMaps,
    Origins,
    TableMap,
)
from mainstem_sync.receiving.definitions import with_kin
from mainstem_sync.slices.manifest import SLICE_NS
from mainstem_sync.testing.tiers import START_MS, Tiers
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import LSN_MAX

from .survives.copies import epoch_of, roll_back, snapshot, wait

UUID = "e" * 32


def test_what_is_stated_of_a_table_defined_beyond_a_fork_is_proven(tiers: Tiers) -> None:
    """The plant's rows are of a child's template. The group asked what it is, the plant said so
    once more, and goes on from a backup of just before."""
    tiers.write()
    tiers.run()
    tiers.up2.cut()
    tiers.write("root.p.q.d1", rows=2, node=tiers.plant)
    copy = snapshot(tiers.plant)
    tiers.up2.restore()
    tiers.until(lambda: received_of_plant(tiers) == 2, "rows of the plant are at the group")
    roll_back(tiers.plant, copy)
    wait(tiers)
    assert epoch_of(tiers.plant) == 1
    tiers.close()
    tiers.until(
        lambda: tiers.state(tiers.group, origin="plant")["state"] == "complete",
        "the rows of the plant are proven",
        verify=True,
    )
    assert received_of_plant(tiers) == 2


def test_columns_that_a_relay_said_after_their_rows_are_of_the_line(tiers: Tiers) -> None:
    """As before, but the table was known, and a column of it was not."""
    tiers.write()
    tiers.run()
    tiers.write("root.p.q.d1", rows=2, node=tiers.plant)
    tiers.until(lambda: received_of_plant(tiers) == 2, "rows of the plant are at the group")
    column = Measurement(-1, "power", ColumnType.DOUBLE)
    tiers.edge.engine.alter_template("meters", add=[column])
    known = tiers.plant.engine.catalog
    tiers.until(
        lambda: known.table("meters").measurement("power") is not None, "the plant has the column"
    )
    tiers.up2.cut()
    engine = tiers.plant.engine
    ids = engine.device_ids("meters", ["root.p.q.d1"], {"line": ["a"]}, create=True)
    engine.write("meters", ids, [START_MS + 50_000], {"power": [1.5]}).wait()
    copy = snapshot(tiers.plant)
    tiers.up2.restore()
    tiers.until(lambda: received_of_plant(tiers) == 3, "the row is at the group")
    roll_back(tiers.plant, copy)
    wait(tiers)
    assert epoch_of(tiers.plant) == 1
    tiers.close()
    assert list(tiers.group.federation._proof.damaged_slices()) == []
    tiers.until(
        lambda: tiers.state(tiers.group, origin="plant")["state"] == "complete",
        "the rows of the plant are proven",
        verify=True,
    )
    assert list(tiers.group.federation._proof.damaged_slices()) == []
    assert received_of_plant(tiers) == 3


def received_of_plant(tiers: Tiers) -> int:
    return [row[0] for row in tiers.values(tiers.group)].count("root.p.q.d1")


def test_a_column_that_a_backup_calls_as_before_is_the_one_that_was_renamed() -> None:
    """Of the line that was given up the id was called so once; its column has a new name here."""
    first = TableMap("meters", "meters", SLICE_NS, {0: MeasurementMap(0, 4, "a")}, 1)
    renamed = TableMap("meters", "meters", SLICE_NS, {0: MeasurementMap(0, 4, "a63")}, 2)
    log, maps = DefinitionLog(), OriginMaps()
    for lsn, table in ((3, first), (9, renamed)):
        log.note([(lsn, table.to_plain())], [], LSN_MAX)
        maps.put_table(table)
    found = Kin([maps], None, 0, [log]).tables("METERS")
    assert [table.measurements[0].name for table in found] == ["a63", "a63", "a"]
    for name, local in (("a", 0), ("a63", 0), ("other", None)):
        theirs = Template("meters", (Measurement(0, name, ColumnType.DOUBLE),))
        known = with_kin(theirs, None, found, None)
        mapped = None if known is None else known.measurements.get(0)
        assert (None if mapped is None else mapped.local) == local, name


def test_what_records_of_an_ended_epoch_define_is_of_the_line_up_to_its_end() -> None:
    """They may come after a restored parent has heard of the next epoch, which lacks it then. What
    they define beyond the end is not of the line, columns excepted."""
    origins, forks = Origins(), EpochTable(((1, 20),))
    before = origins.open(OriginKey(UUID, 0, "edge"), "edge")
    origins.begin_epoch(UUID, "edge", "edge", forks, 20)
    table = TableMap("meters", "meters", SLICE_NS, {0: MeasurementMap(0, 4, "a")}, 1)
    before.maps.put_table(table)
    before.maps.devices = np.array([10, 11, 12, 13])
    before.definitions.note([(3, table.to_plain())], [], LSN_MAX)
    for lsn, ids in ((5, [0, 1]), (18, [2]), (25, [3])):
        before.definitions.note([], [(lsn, ids, ids)], LSN_MAX)
    # But a relay may say what a column is after rows that use it.
    columns = {0: MeasurementMap(0, 4, "a"), 1: MeasurementMap(1, 4, "b")}
    wider = TableMap("meters", "meters", SLICE_NS, columns, 2)
    before.maps.put_table(wider)
    before.definitions.note([(25, wider.to_plain())], [], LSN_MAX)
    line = origins.line(UUID)
    assert line is not None
    assert line.key.epoch == 1
    line.maps.devices = np.array([UNMAPPED, 11])
    found = line.line_maps(forks)
    assert found.devices.tolist() == [10, 11, 12]
    mapped = found.stored_as("meters")
    assert mapped is not None
    assert mapped.measurements == columns
    assert line.maps.devices.tolist() == [UNMAPPED, 11], "its own are as they were"
