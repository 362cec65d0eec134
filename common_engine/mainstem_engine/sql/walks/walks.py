"""Operations that go through rows in order of time, over the tables of a program.

An operation takes the table of its source and its arguments, and makes tables by name. Times in
arguments are nanoseconds. Operations know nothing of SQL; what they compute is in ``analysis``.
Their modules are imported when a program first uses them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.errors import SqlError
from mainstem_engine.sql.program import WalkStep

if TYPE_CHECKING:
    import pyarrow as pa

Operation = Callable[["pa.Table", dict[str, Any]], "dict[str, pa.Table]"]

ROWS = "rows"
"""The output of operations that make one table."""
_MODULES = {
    "windows": "window_walk",
    "points": "point_walk",
    "fill": "fill_walk",
    "interpolate": "interpolation_walk",
    "align": "alignment_walk",
}
"""The module of each operation, whose function ``run`` it is."""


def walk(step: WalkStep, source: pa.Table, bytes_max: int) -> dict[str, pa.Table]:
    """Runs one step. ``bytes_max``: what it makes is refused above that; operations that can tell
    before they make it find it among their arguments. Raises SqlError for values that its functions
    cannot take."""
    operation: Operation = importlib.import_module(
        f"mainstem_engine.sql.walks.{_MODULES[step.operation]}"
    ).run
    try:
        with np.errstate(all="ignore"):  # overflows and quotients of zeros follow IEEE 754
            return operation(source, {**step.arguments, "bytes_max": bytes_max})
    except SqlError:
        raise
    except (TypeError, ValueError, ArithmeticError) as error:
        # Functions of numbers are given text, or numbers at the end of their range: whose, the
        # operation says itself where it can.
        raise SqlError(
            f"{step.operation}: {error}",
            field=step.operation,
            hint="narrow the statement by time, or cast its columns to DOUBLE",
        ) from error
