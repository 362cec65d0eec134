"""Rows for which somebody waits: before a backlog, over a relay, counted and proven as all."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np

from mainstem_engine.model import ColumnType, Measurement, Template
from mainstem_sync.state.exports import Export, ExportPolicy
from mainstem_sync.testing.agenda import START_NS, Agenda
from mainstem_sync.testing.memory_nodes import MemoryNode
from mainstem_sync.testing.thin_line import ThinLine
from mainstem_sync.testing.tiers import START_MS, Tiers

MakeTiers = Callable[..., Tiers]
ALARMS = Template("alarms", (Measurement(0, "raised", ColumnType.BOOLEAN),))
EXPORTS = (Export("meters"), Export("alarms", urgent=True))
RECORDS, ROWS = 60, 500


def raise_alarm(tiers: Tiers, number: int = 0) -> None:
    engine = tiers.edge.engine
    engine.create_template(ALARMS, if_not_exists=True)
    ids = engine.device_ids("alarms", ["root.p.e.d1.alarms.hot"], create=True)
    engine.write("alarms", ids, [START_MS + number], {"raised": [True]}).wait()


def alarms_at(tiers: Tiers, tier: str) -> int:
    engine = getattr(tiers, tier).engine
    known = engine.catalog.templates.get("alarms")
    return 0 if known is None else engine.scan("alarms").read_all().num_rows


def test_an_alarm_of_an_outage_comes_before_the_backlog_of_it() -> None:
    """On a line of 1 Mbit/s on which the backlog takes long."""
    agenda = Agenda()
    edge = MemoryNode(
        "edge", agenda, random.Random(1), exports=EXPORTS, parent=True, paths=["root.p"]
    )
    plant = MemoryNode("plant", agenda, random.Random(2))
    for node in (edge, plant):
        node.start()
    edge.engine.create_template(Template("meters", (Measurement(0, "a", ColumnType.DOUBLE),)))
    edge.engine.create_template(ALARMS)
    noise = np.random.default_rng(3)
    for number in range(RECORDS):
        ids = edge.engine.device_ids("meters", ["root.p.a"], create=True)
        times = START_NS // 10**6 + np.arange(number * ROWS, (number + 1) * ROWS)
        edge.engine.write("meters", np.repeat(ids, ROWS), times, {"a": noise.random(ROWS)})
        edge.commit()
        if number % 20 == 19:
            ids = edge.engine.device_ids("alarms", ["root.p.a.alarms.hot"], create=True)
            edge.engine.write("alarms", ids, [number], {"raised": [True]})
            edge.commit()

    def held(table: str) -> int:
        sums = plant.federation.accounting().get(table, {})
        return int(sums.get("log", {}).get("from_children", 0))

    ThinLine(agenda, edge, plant, 125_000.0, 0.15)
    while held("alarms") < 3:
        agenda.run_until(agenda.now_s + 0.02)
        assert agenda.now_s < 60
    assert held("meters") < RECORDS * ROWS / 20
    while held("meters") < RECORDS * ROWS:
        agenda.run_until(agenda.now_s + 0.02)
        assert agenda.now_s < 60
    assert held("alarms") == 3


def test_a_relay_sends_them_before_its_backlog_too(make_tiers: MakeTiers) -> None:
    """It knows them by the queue that they came in, whatever its own rules call urgent."""
    tiers = make_tiers(edge_exports=EXPORTS, plant_exports=(Export("meters"), Export("alarms")))
    tiers.run(1)
    tiers.up2.cut()
    tiers.write(rows=20)
    raise_alarm(tiers)
    tiers.until(lambda: alarms_at(tiers, "plant") == 1, "the plant has the alarm")
    forward = tiers.plant.federation._follower.forward
    assert forward is not None
    waiting = [
        forward.classifier.content(record)
        for first, last in forward.control
        for record in tiers.plant.engine.log.read(first, last)
    ]
    assert [c.sent for c in waiting if c.sent] == [{"alarms": 1}]
    tiers.up2.restore()
    tiers.until(lambda: alarms_at(tiers, "group") == 1, "the group has it, too")
    tiers.until(lambda: tiers.forward(tiers.plant)["pending"] == 0, "and all else")
    sums = tiers.plant.federation.accounting()["alarms"]["forward"]
    assert (sums["logged"], sums["delivered"], sums["pending"]) == (1, 1, 0)


def test_they_are_counted_and_proven_as_other_rows(make_tiers: MakeTiers) -> None:
    """Over restarts, lost answers, and a parent that has none of their definitions."""
    tiers = make_tiers(edge_exports=EXPORTS, plant_exports=EXPORTS)
    tiers.up.cut()
    for number in range(5):
        tiers.write(start_s=number, rows=1)
        raise_alarm(tiers, number)
    tiers.edge.engine.flush()
    tiers.edge.restart()
    tiers.up.restore()
    tiers.clock.advance(40)
    tiers.until(lambda: alarms_at(tiers, "plant") == 5, "the plant has all alarms")
    tiers.plant.restart()
    tiers.close()
    for tier in ("plant", "group"):
        tiers.until(lambda tier=tier: alarms_at(tiers, tier) == 5, f"the {tier} has them")  # type: ignore[misc]
    for node in (tiers.plant, tiers.group):
        tiers.until(
            lambda node=node: tiers.state(node, "alarms")["state"] == "complete",  # type: ignore[misc]
            "proven", verify=True,
        )  # fmt: skip
    tiers.check()


def test_what_is_urgent_is_no_other_rule() -> None:
    """Rules that differ in nothing else are the same: nothing is judged anew."""
    plain, urgent = (ExportPolicy([Export("Alarms", urgent=on)]) for on in (False, True))
    assert plain.fingerprint == urgent.fingerprint
    assert (plain.is_urgent("alarms"), urgent.is_urgent("alarms")) == (False, True)
