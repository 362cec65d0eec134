"""Configurations that come from above, with real nodes in one process.

Case 18 of what the protocol must survive is here: a bad configuration that cuts the link.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from mainstem_node.desired.agent import STATEMENT
from mainstem_sync.wire.order import State

from .pair import DEADLINE_S, Pair


def keep_longer(document: dict[str, Any]) -> None:
    document["templates"]["pump"]["measurements"]["pressure"] = {"type": "DOUBLE"}


async def test_a_new_configuration_is_applied_and_stated_above(pair: Pair) -> None:
    found = await pair.end_of(await pair.give(keep_longer, base=1))
    assert found.state is State.DONE
    assert found.word is not None
    assert found.word.result["rev"] == 2
    names = [m.name for m in pair.edge().engine.catalog.table("pump").template.measurements]
    assert names == ["flow", "pressure"]
    plant = pair.hosts["plant"].node
    assert plant is not None
    said = plant.federation.down.orders.statement("edge", STATEMENT)
    assert said is not None
    assert (said.result["rev"], said.result["by"]) == (2, "ann")
    assert pair.edge().runtime.status()["config_rev"] == 2


async def test_a_restart_goes_on_with_it_until_the_file_changes(pair: Pair) -> None:
    await pair.end_of(await pair.give(keep_longer))
    await pair.hosts["edge"].stop()
    await pair.start("edge")
    assert [r.rev for r in pair.hosts["edge"].revisions.all] == [1, 2]
    assert "pressure" in str(pair.hosts["edge"].document)
    await pair.hosts["edge"].stop()
    pair.document["nodes"][1]["hold"] = "durable@parent"
    await pair.start("edge")
    current = pair.hosts["edge"].revisions.current
    assert current is not None
    assert (current.rev, current.by) == (3, "file")
    assert pair.edge().config.hold == "durable@parent"


async def test_a_rollback_brings_the_one_before_back(pair: Pair) -> None:
    await pair.end_of(await pair.give(lambda d: d["nodes"][0].update(hold="durable@parent")))
    assert pair.edge().config.hold == "durable@parent"
    found = await pair.end_of(await pair.order({"rollback": "before"}))
    assert found.state is State.DONE
    assert pair.edge().config.hold == "verified@parent"
    found = await pair.end_of(await pair.order({"rollback": 2}))
    assert found.state is State.DONE
    assert pair.edge().config.hold == "durable@parent"
    found = await pair.end_of(await pair.order({"rollback": 77}))
    assert found.state is State.FAILED


async def test_whoever_planned_for_another_revision_is_refused(pair: Pair) -> None:
    await pair.end_of(await pair.give(keep_longer, base=1))
    found = await pair.end_of(await pair.give(lambda d: None, base=1))
    assert found.state is State.FAILED
    assert found.word is not None
    assert "config_moved_on" in found.word.error


async def test_what_is_wrong_is_said_with_its_key_and_changes_nothing(pair: Pair) -> None:
    before = pair.edge()
    found = await pair.end_of(
        await pair.give(lambda d: d["nodes"][0].update(hold="someday", exprot=[]))
    )
    assert found.state is State.FAILED
    assert found.word is not None
    assert "nodes[0].hold" in found.word.error
    assert "did you mean 'export'" in found.word.error
    assert pair.edge() is before
    found = await pair.end_of(await pair.order({"document": b"nonsense"}))
    assert found.state is State.FAILED


async def test_the_same_again_is_done_without_a_restart(pair: Pair) -> None:
    before = pair.edge()
    found = await pair.end_of(await pair.give(lambda d: None))
    assert found.state is State.DONE
    assert pair.edge() is before


async def test_case_18_a_configuration_that_cuts_the_link_is_taken_back(
    pair: Pair, unused_tcp_port: int
) -> None:
    nowhere = f"http://127.0.0.1:{unused_tcp_port}"
    found = await pair.end_of(
        await pair.give(lambda d: d["nodes"][0]["parent"].update(url=[nowhere]))
    )
    assert found.state is State.FAILED
    assert found.word is not None
    assert found.word.result["rolled_back"] is True
    assert "not reached" in found.word.error
    current = pair.hosts["edge"].revisions.current
    assert current is not None
    assert current.rev == 1
    assert (await pair.end_of(await pair.give(keep_longer, base=1))).state is State.DONE
    current = pair.hosts["edge"].revisions.current
    assert current is not None
    assert current.rev == 3  # the number of the one that failed is used up


async def test_a_configuration_that_does_not_start_is_taken_back(pair: Pair) -> None:
    def use_the_plants_port(document: dict[str, Any]) -> None:
        document["nodes"][0]["listen"] = f"127.0.0.1:{pair.ports[0]}"
        document["nodes"][1]["listen"] = "127.0.0.1:1"

    found = await pair.end_of(await pair.give(use_the_plants_port))
    assert found.state is State.FAILED
    assert found.word is not None
    assert "did not start" in found.word.error
    assert pair.edge().port == pair.ports[1]


async def test_a_process_that_ends_while_it_tries_goes_on_with_the_one_before(pair: Pair) -> None:
    host = pair.hosts["edge"]
    monkey: list[int] = []
    host.switch = monkey.append  # type: ignore[method-assign, assignment]
    ident = await pair.give(lambda d: d["nodes"][0].update(hold="durable@parent"))
    deadline = time.monotonic() + DEADLINE_S
    while not monkey:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    await host.stop()  # instead of trying
    await pair.start("edge")
    found = await pair.end_of(ident)
    assert found.state is State.FAILED
    assert found.word is not None
    assert "ended" in found.word.error
    assert "durable@parent" not in str(pair.hosts["edge"].document)
