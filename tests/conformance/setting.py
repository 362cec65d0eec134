"""Writes the rows of a case through SQL, as a user of the peer would."""

from __future__ import annotations

from typing import Any

from mainstem_engine import Engine

TYPES = {bool: "BOOLEAN", int: "INT64", float: "DOUBLE", str: "TEXT"}
METERS = (
    "CREATE STABLE meters (ts TIMESTAMP, current FLOAT, voltage INT, phase FLOAT)"
    " TAGS (location BINARY(64), groupId INT)"
)
ROWS_PER_INSERT = 500


def column_types(step: dict[str, Any]) -> list[str]:
    """The type of each column, of its values unless the case names it."""
    given = step.get("types") or {}
    types = []
    for position, name in enumerate(step["columns"]):
        values = [row[position + 1] for row in step["rows"]]
        kinds = {type(value) for value in values if value is not None and value != "NaN"}
        if float in kinds or "NaN" in values or not kinds:
            kinds = {float}
        types.append(given.get(name) or TYPES[next(iter(kinds))])
    return types


class Setting:
    """An engine with the tables and rows of one case."""

    def __init__(self, engine: Engine, case: dict[str, Any], super_table: str | None) -> None:
        self.engine = engine
        self._is_iotdb = case["system"] == "iotdb"
        self._super_table = super_table
        self._columns: dict[str, dict[str, str]] = {}
        for step in case["setup_rows"]:
            if "device" in step:
                known = self._columns.setdefault(step["device"], {})
                for name, kind in zip(step["columns"], column_types(step), strict=True):
                    known.setdefault(name, kind)

    def write(self, step: dict[str, Any]) -> None:
        """Creates the device of a step, if it is the first, and writes its rows."""
        self._create(step)
        names = ", ".join(["time" if self._is_iotdb else "ts", *step["columns"]])
        for start in range(0, len(step["rows"]), ROWS_PER_INSERT):
            rows = step["rows"][start : start + ROWS_PER_INSERT]
            marks = ", ".join(f"({', '.join('?' * len(row))})" for row in rows)
            values = [_plain(value) for row in rows for value in row]
            self.engine.sql(f"INSERT INTO {step['device']}({names}) VALUES {marks}", values)
        if step.get("then") == "flush":
            self.engine.flush()

    def _create(self, step: dict[str, Any]) -> None:
        columns = self._columns.pop(step["device"], None)
        if columns is None:
            return
        definition = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        tags, stable = step.get("tags") or {}, step.get("stable") or self._super_table
        if self._is_iotdb and not tags:
            self.engine.sql(f"CREATE ALIGNED TIMESERIES {step['device']}({definition})")
            return
        if stable is None and not tags:
            self.engine.sql(f"CREATE TABLE {step['device']} (ts TIMESTAMP, {definition})")
            return
        stable = stable or "tagged"
        values = list(tags.values()) or [0]
        kinds = [TYPES[type(value)] for value in values]
        names = list(tags) or ["number"]
        if self._is_iotdb:
            names, kinds = ["k1", "k2"], ["TEXT", "TEXT"]
            values = [tags.get(name) for name in names]
        tag_list = ", ".join(f"{n} {k}" for n, k in zip(names, kinds, strict=True))
        self.engine.sql(
            f"CREATE STABLE IF NOT EXISTS {stable} (ts TIMESTAMP, {definition}) TAGS ({tag_list})"
        )
        marks = ", ".join("?" * len(values))
        self.engine.sql(
            f"CREATE TABLE {step['device']} USING {stable} ({', '.join(names)}) TAGS ({marks})",
            values,
        )


def _plain(value: Any) -> Any:
    return float("nan") if value == "NaN" else value
