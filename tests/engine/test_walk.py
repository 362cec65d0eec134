"""Engine.write and Engine.scan stay short enough to be followed: they and what they call."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable
from typing import Any

from mainstem_engine import Engine
from mainstem_engine.arrow import ArrowLayout
from mainstem_engine.catalog.catalog import Catalog
from mainstem_engine.scan import iterate_rows
from mainstem_engine.selections import bound_ns
from mainstem_engine.single_rows import SingleRows
from mainstem_engine.store import Store

WALK: tuple[Callable[..., Any], ...] = (
    Engine.write,
    SingleRows.offer,
    Engine._checked,
    Engine.write_rows,
    Engine.scan,
    Catalog.precision_ns,
    Store.current,
    ArrowLayout.__init__,
    Engine._select_devices,
    bound_ns,
    iterate_rows,
    ArrowLayout.reader,
)
"""As docs/architecture.md walks through them."""

LINES_MAX = 150
"""What a stranger reads in one sitting."""


def code_lines(function: Callable[..., Any]) -> int:
    """Lines of a function without its docstring."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    assert isinstance(tree, ast.FunctionDef)
    first = tree.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    spoken = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
    return (tree.end_lineno or 0) - tree.lineno + 1 - spoken


def test_a_write_and_a_scan_can_be_followed() -> None:
    assert sum(map(code_lines, WALK)) <= LINES_MAX
