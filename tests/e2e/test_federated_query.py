"""A group asks six edges below two platforms for what only they have: real processes.

Below plant_a a rollup of an hour goes up, below plant_b nothing does. What the group answers is
compared with one store of the same rows.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from federated import (
    COLUMNS,
    EDGES,
    PLANTS,
    RAW,
    beyond,
    central_engine,
    fill,
    require_equal,
    statements,
    travelled,
)
from processes import PATIENCE_S, Processes, section
from whole_river import wait_for

from mainstem_engine.engine import Engine

pytestmark = [pytest.mark.slow]

ROWS = 1_000_000 if os.environ.get("MAINSTEM_NIGHTLY") else 40_000
"""Of each edge."""

AWAY = "edge_b2"
ARROW = "application/vnd.apache.arrow.stream"
BEYOND = beyond(ROWS, 0)


def sections() -> list[dict[str, Any]]:
    rolled = [{"template": RAW, "mode": "rollup", "every": "1h"}]
    exports: dict[str, list[dict[str, Any]]] = {"plant_a": rolled, "plant_b": []}
    return [
        section("group", "group"),
        *(section(plant, "platform", "group", export=exports[plant]) for plant in PLANTS),
        *(
            section(
                edge, "edge", plant, export=exports[plant], paths=[f"root.{plant}.{edge}"],
                rollups=[{"template": RAW, "every": "1h"}],
            )
            for edge, plant in EDGES.items()
        ),
    ]  # fmt: skip


class Federation(Processes):
    """Nine processes, and one store that has all rows."""

    def __init__(self, place: Path) -> None:
        super().__init__(place, "federated", {RAW: COLUMNS}, sections())
        self.central: Engine = central_engine(place / "central")
        self.raw_bytes = 0

    def start(self) -> None:
        super().start()

        def writer(edge: str) -> Callable[[bytes], Any]:
            return lambda body: self[edge].post(f"/api/v1/write?template={RAW}", body, ARROW)

        self.raw_bytes = fill({edge: writer(edge) for edge in EDGES}, self.central, ROWS)
        self.wait_answering(set(EDGES))

    def stop(self) -> None:
        super().stop()
        self.central.close()

    def ask(self, sql: str, on_incomplete: str = "fetch") -> dict[str, Any]:
        body = {"sql": sql, "on_incomplete": on_incomplete, "timeout_ms": 60_000}
        found: dict[str, Any] = self["group"].request("/api/v1/sql", body)
        return found

    def wait_answering(self, edges: set[str]) -> None:
        """Until these edges answer, and the group knows of all, without asking, that they hold rows
        and through when they are complete."""

        def is_answering() -> bool:
            known = self.ask(f"SELECT count(*) FROM {RAW}", "return")["completeness"]
            closed = {c["node"] for c in known if c["held_at"] and c["complete_through"]}
            found = self.ask(f"SELECT count(*) FROM {RAW}")
            silent = {edge for edge in edges for text in found["warnings"] if edge in text}
            return closed >= set(EDGES) and not silent

        wait_for(is_answering, PATIENCE_S, f"{', '.join(sorted(edges))} answer")

    def truth(self, sql: str) -> list[list[Any]]:
        return self.central.sql(sql).rows()


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Federation]:
    """One for all tests of this file: nine processes take a while to start."""
    with Federation(tmp_path_factory.mktemp("federated")) as found:
        yield found


def test_the_group_says_of_raw_rows_what_one_store_says(federation: Federation) -> None:
    for name, text in statements(ROWS).items():
        sql = text.format(beyond=BEYOND)
        found = federation.ask(sql)
        truth = federation.truth(sql)
        assert len(truth) > 1
        require_equal(found["rows"], truth, name)
        assert found["warnings"] == []
        assert {c["node"]: c["state"] for c in found["completeness"]} == dict.fromkeys(
            EDGES, "complete"
        )
    # Nothing of it is at the tiers above.
    for name in ("group", *PLANTS):
        assert federation[name].sql(f"SELECT count(*) FROM {RAW}") == [[0]]


def test_a_hundredth_of_the_bytes_travels_at_most(federation: Federation) -> None:
    for name, text in statements(ROWS).items():
        plan = federation.ask("EXPLAIN ANALYZE " + text.format(beyond=BEYOND + 1))
        lines = [row[0] for row in plan["rows"]]
        asked = [line for line in lines if line.lstrip().startswith("asked ")]
        assert len(asked) == len(PLANTS) + len(EDGES), lines
        assert 0 < travelled(lines) <= federation.raw_bytes / 100, name


def test_an_edge_that_is_away_is_named_and_never_guessed(federation: Federation) -> None:
    texts = {
        "hours": statements(ROWS)["hours of all rows"].format(beyond=BEYOND),
        "devices": f"SELECT device, count(*), max(flow) FROM {RAW} GROUP BY 1 ORDER BY 1",
    }
    there = f"device NOT LIKE '%.{AWAY}.%' AND"
    federation[AWAY].kill()
    for name, sql in texts.items():
        found = federation.ask(sql)
        without = (
            sql.replace("WHERE", f"WHERE {there}")
            if "WHERE" in sql
            else sql.replace("GROUP BY", f"WHERE {there} true GROUP BY")
        )
        require_equal(found["rows"], federation.truth(without), name)
        assert [text for text in found["warnings"] if AWAY in text]
        assert not [e for e in EDGES if e != AWAY for text in found["warnings"] if e in text]
        items = {item["node"]: item for item in found["completeness"]}
        assert (items[AWAY]["state"], items[AWAY]["held_at"]) == ("not_held", AWAY)
        assert items[AWAY]["complete_through"] is not None
        assert {items[edge]["state"] for edge in EDGES if edge != AWAY} == {"complete"}
    federation[AWAY].start()
    federation[AWAY].wait_ready()
    federation.wait_answering({AWAY})
    for name, sql in texts.items():
        require_equal(federation.ask(sql)["rows"], federation.truth(sql), name)
