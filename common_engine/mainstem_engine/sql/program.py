"""A program: the steps that answer a statement, in order. Each makes tables that later ones read.

1. A SQL step is one query over inputs and earlier tables. A walk step hands one earlier table to an
   operation of walks.py, which goes through its rows in order of time, and makes one or two tables
   of it. The last step is the program's own query, whose rows are the answer.
2. A program is plain values: it crosses to a worker as a map.
3. What steps make is held until the answer is complete, within ``input_bytes_max`` together with
   the inputs that are held.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

WALKED = b"mainstem.walked_s"
"""Metadata of the schema of an answer: how long its walks took, in seconds."""
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class SqlLimits:
    """Bounds of one statement. Each answers with an error that names the remedy."""

    timeout_s: float = 30.0
    """Wall-clock time of the statement, waiting for a worker included."""

    row_limit: int = 1_000_000
    """Rows of the result."""

    result_bytes_max: int = 256 * MIB
    """Size of the result as Arrow."""

    input_bytes_max: int = 512 * MIB
    """Rows of tables that are read more than once (joins, sub-queries, windows) and so must be
    held, and of what steps make of them."""

    memory_limit_bytes: int = 512 * MIB
    """What DuckDB may allocate for sorting, grouping and joining."""

    threads: int = 1
    """Threads of DuckDB. One keeps a statement from starving what takes in data."""


@dataclass(frozen=True, slots=True)
class SqlStep:
    """Makes the table ``name`` of a query."""

    name: str
    sql: str
    params: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class WalkStep:
    """Makes the tables ``<name>:<output>`` of the table ``source``. ``operation``: a name of
    walks.py; ``arguments``: None, bool, int, float, str, and lists and maps of them."""

    name: str
    source: str
    operation: str
    arguments: dict[str, Any]


Step = SqlStep | WalkStep


@dataclass(frozen=True, slots=True)
class Program:
    """What the executing database runs over named inputs. ``is_single_pass``: the one input is
    read by one step, once, so that it may be streamed."""

    sql: str
    params: tuple[Any, ...]
    time_zone: str
    inputs: tuple[str, ...]
    is_single_pass: bool
    limits: SqlLimits
    steps: tuple[Step, ...] = ()

    def to_map(self) -> dict[str, Any]:
        """As it crosses to another process."""
        return {**asdict(self), "steps": [asdict(step) for step in self.steps]}

    @classmethod
    def from_map(cls, data: dict[str, Any]) -> Program:
        return cls(
            sql=data["sql"],
            params=tuple(data["params"]),
            time_zone=data["time_zone"],
            inputs=tuple(data["inputs"]),
            is_single_pass=data["is_single_pass"],
            limits=SqlLimits(**data["limits"]),
            steps=tuple(_step(step) for step in data["steps"]),
        )


def _step(data: dict[str, Any]) -> Step:
    if "operation" in data:
        return WalkStep(**data)
    return SqlStep(data["name"], data["sql"], tuple(data["params"]))
