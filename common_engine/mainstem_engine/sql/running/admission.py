"""What the executing database may run, told from its own reading of a text.

guard.py looks at the tree of our parser, where it can say what is wrong with what the user wrote.
This is the second check, of the text that is about to run and as DuckDB itself reads it: what one
parser takes for a name and another for a call ends here.

1. The text is one SELECT.
2. Every function, operators included, is on the list (function_list.py).
3. Every table has a plain name, which is not one of DuckDB's own; what FROM calls is on the list.

A text that was admitted is not looked at again; the newest ``TEXTS_MAX`` are remembered.
"""

from __future__ import annotations

import difflib
import json
import threading
from collections import OrderedDict
from typing import Any

from mainstem_engine.errors import SqlError, SqlLimitError, SqlUnsupportedError
from mainstem_engine.sql.running.translation import GENERAL_HINT
from mainstem_engine.sql.select.function_list import (
    ALLOWED,
    PLACE,
    SYSTEM_TABLE_PREFIXES,
    TABLE_FUNCTIONS,
    is_refused,
)

TEXTS_MAX = 256
"""Reading one takes about a millisecond, and dashboards ask the same again."""
TEXT_CHARACTERS_MAX = 20_000
"""Longer ones are read again each time: they would take the memory of the others."""

_SERIALIZE = (
    "SELECT json_serialize_sql($1, skip_null := true, skip_empty := true, skip_default := true)"
)
_TABLES = frozenset({"BASE_TABLE", "TABLE_FUNCTION", "SHOW_REF", "PIVOT", "COLUMN_DATA"})


class Admission:
    """The check, with the functions that may be called. Thread-safe."""

    def __init__(self, functions: frozenset[str] = ALLOWED) -> None:
        self._functions = functions
        self._lock = threading.Lock()
        self._admitted: OrderedDict[str, None] = OrderedDict()

    def check(self, cursor: Any, sql: str) -> None:
        """Raises SqlUnsupportedError when ``sql`` is not what may run, SqlError when it is not SQL.

        ``cursor``: of DuckDB; what it raises goes through.
        """
        with self._lock:
            if sql in self._admitted:
                self._admitted.move_to_end(sql)
                return
        # On a cursor of its own: the statement's may be in the middle of an answer.
        with cursor.cursor() as reading:
            (text,) = reading.execute(_SERIALIZE, [sql]).fetchone()
        try:
            read = json.loads(text)
        except RecursionError:
            raise SqlLimitError(
                "the statement is nested too deeply", hint="split it with WITH clauses"
            ) from None
        _check_statements(read, self._functions)
        if len(sql) > TEXT_CHARACTERS_MAX:
            return
        with self._lock:
            self._admitted[sql] = None
            if len(self._admitted) > TEXTS_MAX:
                self._admitted.popitem(last=False)


def _check_statements(read: dict[str, Any], functions: frozenset[str]) -> None:
    if read.get("error"):
        message = str(read.get("error_message", "the statement cannot be read"))
        if read.get("error_type") == "parser":
            raise SqlError(message.split("\n")[0], hint=GENERAL_HINT)
        raise SqlUnsupportedError(message, hint=PLACE)
    if len(read["statements"]) != 1:
        raise SqlUnsupportedError("several statements in one", hint="ask one after the other")
    # A stack of ours: a deep statement must not exhaust Python's.
    waiting: list[Any] = [read["statements"]]
    while waiting:
        node = waiting.pop()
        if isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            _check_table(node)
            _check_call(node, functions)
            waiting += node.values()


def _check_table(node: dict[str, Any]) -> None:
    kind = node.get("type")
    if kind == "TABLE_FUNCTION":
        called = node.get("function", {}).get("function_name", "")
        if called.lower() not in TABLE_FUNCTIONS:
            raise SqlUnsupportedError(f"table function {called} is not available", hint=PLACE)
    elif kind == "BASE_TABLE":
        name = str(node.get("table_name", ""))
        is_qualified = node.get("schema_name") or node.get("catalog_name")
        if is_qualified or name.lower().startswith(SYSTEM_TABLE_PREFIXES):
            raise SqlUnsupportedError(f"table {name} is not available", hint=PLACE)
    elif isinstance(kind, str) and kind in _TABLES:  # of a value it is a map
        raise SqlUnsupportedError(f"{str(kind).lower()} in FROM is not available", hint=PLACE)


def _check_call(node: dict[str, Any], functions: frozenset[str]) -> None:
    if "function_name" not in node:
        return
    called = str(node["function_name"]).lower()
    if node.get("schema") or node.get("catalog"):
        raise SqlUnsupportedError(f"function {called} of a schema is not available", hint=PLACE)
    if called not in functions:
        if is_refused(called) or called in ALLOWED:
            raise SqlUnsupportedError(f"function {called} is not available", hint=PLACE)
        near = difflib.get_close_matches(called, ALLOWED, 1)
        hint = f"did you mean {near[0]}" if near else "docs/sql-functions.md lists what there is"
        raise SqlUnsupportedError(f"function {called} is not known", hint=hint)
