"""Errors of the executing database as ours: what is wrong, of which name, and what to do.

1. The text stays the database's, without its kind, the lists of all its functions, the place in
   the generated SQL, and names that planning made.
2. The first rule whose pattern is in the text gives the hint, and the name that is the field.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mainstem_engine.errors import SqlError, SqlLimitError, SqlTimeoutError, SqlUnsupportedError

_MESSAGE_CHARS_MAX = 500
_KIND = re.compile(r"^[A-Z]\w*(?: \w+)* (?:Error|Exception): ")
_IN_STREAMS = {
    "INTERRUPT Error": "InterruptException",
    "Out of Memory Error": "OutOfMemoryException",
    "Not implemented Error": "NotImplementedException",
    "Permission Error": "PermissionException",
}
"""The kinds that matter here, of errors that have no class: they came while rows were read."""
_NO_MEMORY = re.compile(
    r"bad[ _]alloc|(?:failed to|unable to|could not|cannot) (?:re)?allocate|malloc of size"
    r"|out of memory",
    re.IGNORECASE,
)
"""A library that gets no memory says so in its own way, whatever kind of error it becomes here."""
_OF_STATEMENTS = frozenset(
    {"BinderException", "CatalogException", "ConversionException", "ParserException"}
)
"""Errors that have a text of the statement or of a value in them."""
_PLACE = re.compile(r"\n+LINE \d+:.*", re.DOTALL)
_REST = re.compile(
    r"\s*(?:\n.*|Candidate (?:bindings|functions|tables).*|You might need to add .*"
    r"|, or SET \w+.*|Use TRY.*|In order to select one.*)",
    re.DOTALL,
)
_MADE = re.compile(r'"?(?:mainstem_\d+|#(?:[a-z]+\d*|\d+)(?::\w+)?)"?')
"""Names of tables and columns that planning makes."""

_WINDOW = r"_wstart|_wend|_wduration|_qstart|_qend|__endtime"
_MOMENT = r"_irowts|_irowts_origin|_isfilled"
GENERAL_HINT = "docs/sql.md has an example of every clause"


@dataclass(frozen=True, slots=True)
class _Rule:
    """``pattern``: its first group is the field."""

    pattern: re.Pattern[str]
    hint: str


def _rule(pattern: str, hint: str) -> _Rule:
    return _Rule(re.compile(pattern, re.IGNORECASE), hint)


_RULES = (
    _rule(
        rf'column "?({_WINDOW})"? not found',
        "it stands beside a window, such as INTERVAL(1m) or SESSION(ts, 10s)",
    ),
    _rule(rf'column "?({_MOMENT})"? not found', "it stands beside INTERP(x) and RANGE"),
    _rule(
        r'column "?([^"]+)"? (?:not found in FROM|must appear in the GROUP BY)|'
        r'not have a column named "([^"]+)"',
        "DESCRIBE lists the columns of a table",
    ),
    _rule(r'Referenced table "?([^"]+)"? not found', "name a table or alias of FROM"),
    _rule(r'Ambiguous reference to column name "([^"]+)"', "say of which table it is"),
    _rule(
        r"argument types '([^'(]+)\([^']*TIMESTAMP|Cannot compare values of type .*TIMESTAMP"
        r"|TIMESTAMP",
        "compare a time with an integer, a literal in quotes, or now() - 1h",
    ),
    _rule(
        r"argument types '([^'(]+)\(|for the function call \"([^\"(]+)\(",
        "add type casts, such as CAST(x AS DOUBLE)",
    ),
    _rule(r"Cannot compare values|Cannot mix values", "cast one side to the type of the other"),
    _rule(r"Could not convert|Conversion", "TRY_CAST has null where a value cannot be converted"),
    _rule(r"Overflow|out of range: ", "cast to DOUBLE or HUGEINT before computing"),
    _rule(r"Division by zero", "divide by nullif(x, 0)"),
    _rule(r"More than one row returned", "aggregate in the sub-query, or LIMIT 1"),
    _rule(r"WHERE clause cannot contain", "put conditions on aggregates into HAVING"),
    _rule(r"term out of range", "numbers in ORDER BY and GROUP BY are those of items, from 1"),
    _rule(r"same number of result columns", "select as many items on both sides"),
    _rule(r"without selection list|star expression|STAR expression", "name the items"),
    _rule(r"calls cannot be nested", "compute the inner one in a sub-query"),
    _rule(r"FROM clause is missing|without FROM clause", "say FROM which table"),
    _rule(r"n value must be", "ask for 1 value or more"),
    _rule(r"LIMIT|OFFSET", "write a whole number, zero or more"),
)
_GROUPED = re.compile(r'column "([^"]+)" must appear in the GROUP BY')


def translate_error(error: Exception) -> SqlError:
    """Our error for one of the executing database."""
    text = str(error)
    kind = _IN_STREAMS.get(text.partition(": ")[0], type(error).__name__)
    whole = _PLACE.sub("", str(error)).strip()
    shown = _REST.sub("", whole)
    message = _message(shown)
    if kind == "InterruptException":
        return SqlTimeoutError(
            "the statement was interrupted", hint="narrow it, or allow more time"
        )
    if kind == "OutOfMemoryException" or (
        kind not in _OF_STATEMENTS and _NO_MEMORY.search(whole) is not None
    ):
        return SqlLimitError(
            f"the statement needs too much memory: {message}",
            hint="narrow it by time or device, or aggregate in steps",
        )
    grouped = _GROUPED.search(whole)
    if grouped is not None:
        name = _MADE.sub("a column", grouped[1])
        return SqlError(
            f"{name} is neither aggregated nor a key",
            field=name,
            hint=f"use an aggregate such as last({name}), or GROUP BY {name}",
        )
    is_unsupported = kind in ("PermissionException", "NotImplementedException", "NotSupportedError")
    if kind == "CatalogException" and "Function with name" in whole:
        return SqlUnsupportedError(message, hint="use the functions that DuckDB has")
    field, hint = None, GENERAL_HINT
    for rule in _RULES:
        found = rule.pattern.search(shown)
        if found is not None:
            hint = rule.hint
            named = next((group for group in found.groups() if group), None)
            field = None if named is None or _MADE.search(named) else named
            break
    raised = SqlUnsupportedError if is_unsupported else SqlError
    return raised(message, field=field, hint=hint)


def _message(shown: str) -> str:
    text = _KIND.sub("", shown)
    text = text.replace("Values list ", "table ").replace(" in FROM clause!", "")
    text = _MADE.sub("an inner table or column", text).strip().rstrip(".!")
    return text[:_MESSAGE_CHARS_MAX] or "the statement cannot be run"
