"""What simulations of the wider world found, each in its shortest form."""

from __future__ import annotations

import numpy as np

from mainstem_engine.model import ColumnType
from mainstem_sync.origins.definition_log import DefinitionLog
from mainstem_sync.origins.origin_state import (
    CONFLICT,
    MeasurementMap,
    OriginMaps,
    Origins,
    TableMap,
)
from mainstem_sync.slices.loss import EXPIRED, Loss, LostTable
from mainstem_sync.slices.manifest import SLICE_NS, Manifest
from mainstem_sync.slices.slice_states import SliceState
from mainstem_sync.slices.watch import TableWatch
from mainstem_sync.testing.script import Entry
from mainstem_sync.testing.simulation import simulate
from mainstem_sync.testing.tampering import tamper, without
from mainstem_sync.testing.tiers import START_MS, Tiers
from mainstem_sync.wire.messages import OriginKey
from mainstem_sync.wire.ranges import RangeSet

MS = 1_000_000


def test_a_conflict_that_was_mended_is_none_again_after_a_fork() -> None:
    """What somebody maps anew belongs to no record of the origin; so it is older than all."""

    def mapped(local: int) -> TableMap:
        column = MeasurementMap(local, int(ColumnType.TEXT), "c")
        return TableMap("t", "t", SLICE_NS, {2: column}, 1, {})

    log = DefinitionLog()
    log.note([[3, mapped(CONFLICT).to_plain()]], [], 9)
    log.note([[0, mapped(4).to_plain()]], [], 9)
    found = OriginMaps().only(log.until(5)).known_table("t")
    assert found.measurements[2].local == 4


def test_a_relay_compares_what_it_was_told_anew_before_it_answers(tiers: Tiers) -> None:
    """The owner has stated the slice again, and the relay has not looked since: what changed there
    behind the engine's back does not spread."""
    tiers.run(1)
    tiers.write(rows=4)
    tiers.run(2)
    tiers.close(3)
    tamper(tiers.plant.engine, "meters", without(1))
    key = START_MS * MS // SLICE_NS
    tiers.edge.federation._follower.manifests.restate("meters", key, key + 1)
    tiers.edge.federation.run_manifests(tiers.clock.now_ns)
    tiers.run(2)
    (origin,) = [s.key for s in tiers.group.federation._follower.origins if s.key.name == "edge"]
    tiers.group.federation.exchange.repair.want(origin, "meters", [key])
    for _ in range(20):
        tiers.run(1)
        assert len(tiers.values(tiers.group)) == 4
    tiers.plant.federation.run_verification()
    tiers.run(10)
    assert len(tiers.values(tiers.plant)) == 4, "and it is mended"


def test_who_goes_on_answering_is_told_again_that_nothing_is_wanted(tiers: Tiers) -> None:
    """Two replies passed each other: the child has kept what the older one wanted."""
    tiers.write(rows=1)
    tiers.run(2)
    plant = tiers.plant.federation
    (state,) = [s for s in plant._follower.origins if s.key.name == "edge"]
    frames = plant.exchange.repair.frames
    frames("edge")
    assert frames("edge") == b""
    state.repairs.answered("meters", 0, 0, 1, 0.0)
    assert frames("edge") != b""
    assert frames("edge") == b""


def test_to_equal_a_statement_that_is_older_than_what_was_lost_is_not_enough() -> None:
    """The owner has given up a slice that was touched once more; its last statement, or the record
    that touched it, never came."""
    one = np.ones(1, np.int64)
    key, digest, lsn = one * 30_000_000, np.array([10], np.uint64), np.array([7], np.uint64)
    said = Manifest(
        "t", SLICE_NS, int(key[0]) * SLICE_NS, int(key[0] + 1) * SLICE_NS, 0, 0, key * SLICE_NS,
        np.ones(1, np.uint32), one, digest, digest, lsn,
    )  # fmt: skip
    for touched, state in ((7, SliceState.VERIFIED), (8, SliceState.LOST)):
        loss = Loss(EXPIRED, tables=(LostTable("t", SLICE_NS, key, one, one * touched),))
        (table,) = Loss.from_header(loss.to_header()).tables
        watch = TableWatch(SLICE_NS)
        watch.manifest_applied(said, 9)
        watch.lost(table.keys, table.rows, None, None, EXPIRED)
        watch.lost_up_to(table.keys, table.newest)
        watch = TableWatch.restore(watch.snapshot())
        watch.judged(watch.candidates(RangeSet([(1, 12)])), one, digest, digest)
        assert watch.state_of(int(key[0]), 12)[0] is state


def test_a_row_whose_values_are_all_put_aside_is_kept_when_its_owner_lost_it() -> None:
    """It adds nothing to the sums, only to the number of rows."""
    one = np.ones(1, np.int64)
    key, digest, lsn = one * 30_000_000, np.array([10], np.uint64), np.array([7], np.uint64)
    start = int(key[0])
    said = Manifest(
        "t", SLICE_NS, start * SLICE_NS, (start + 1) * SLICE_NS, 0, 0, key * SLICE_NS,
        np.ones(1, np.uint32), one * 2, digest, digest, lsn,
    )  # fmt: skip
    for rows, state in ((1, SliceState.LOST), (0, SliceState.MISMATCH)):
        watch = TableWatch(SLICE_NS)
        watch.manifest_applied(said, 9)
        watch.keeps([[start, rows, 0, 0]])
        watch.judged(watch.candidates(RangeSet([(1, 12)])), one * 3, digest, digest)
        assert watch.state_of(start, 12)[0] is state
        assert watch.kept(start, start + 1) == [[start, rows, 0, 0]][:rows]


def test_a_run_settles_after_the_last_restore_that_was_put_off() -> None:
    """Else the plant was told to state its slices while it was down: "the log is closed"."""
    assert simulate(71, wide=True, kinds=["late_restore"]).error is None


def test_a_child_that_came_is_not_among_those_that_did_not() -> None:
    """A start, which hears of both at once, has no such list."""
    come, begun = Origins(), Origins()
    come.open(OriginKey("u", 0, "edge"), "")
    for origins in (come, begun):
        origins.open(OriginKey("u", 0, "edge"), "edge")
    assert list(come._behind) == list(begun._behind) == ["edge"]


def test_what_was_changed_before_its_slice_was_stated_is_handed_on_and_mended() -> None:
    """A group with an empty disk asks the plant for images: what somebody put in there the plant
    cannot tell from what it got, until the edge has said what there is."""
    script = [
        Entry(53.0, "write", 7795348426830242389),
        Entry(60.2, "write", 16080495766151027003),
        Entry(286.7, "write", 13075065470012445977),
        Entry(650.4, "tamper", 11989274797981039363),
        Entry(667.6, "wipe_group", 457605013726938506),
        Entry(872.8, "state", 432650686182054913),
        Entry(968.3, "check", 16372111947390797306),
    ]
    assert simulate(9, script, wide=True).error is None


def test_an_older_epoch_that_came_as_slices_keeps_the_columns_of_the_line() -> None:
    """The group is from before a new name, which it hears of twice. What the plant's ended epoch
    defines up to the fork is the line's: by another column of that name the rows of one line would
    lie in two."""
    assert simulate(11959).error is None


def test_a_power_cut_in_the_first_seconds_takes_the_template_too() -> None:
    assert simulate(11508).error is None


def test_rows_that_an_ended_epoch_brought_as_an_image_are_of_the_line() -> None:
    """A node was restored three times to one LSN. The plant has rows from before it by an image of
    the first epoch that began there, and leaves none of them out of what it tells the group."""
    assert simulate(12492).error is None
