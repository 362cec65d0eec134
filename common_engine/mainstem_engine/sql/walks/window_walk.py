"""Windows over the rows of a table: which rows are in which, and functions of each.

1. The clause makes windows of the rows (analysis); rows that no window may hold are left out.
2. ``windows`` has a row per window, in order of partition, then time: its number ``#g``, its
   partition ``#s`` with the keys, its times, and what window functions say of it (``#f0`` ...).
3. ``rows`` has the rows of every window with its number; rows of windows that overlap come
   several times. Where ``with_empty`` is said, a window without rows has one row of nulls, so that
   aggregates see it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.analysis import library
from mainstem_engine.analysis.row_windows import (
    Assigned,
    condition_windows,
    count_windows,
    event_windows,
    lasting_windows,
    session_windows,
    state_windows,
    variation_windows,
)
from mainstem_engine.analysis.rows import Positions, Signal, Timeline, Windows
from mainstem_engine.analysis.time_windows import interval_windows, range_windows
from mainstem_engine.arrow_arrays import number_array
from mainstem_engine.errors import SqlError, SqlLimitError
from mainstem_engine.sql.times import parse_zone
from mainstem_engine.sql.walks.timelines import (
    TIME,
    array_of,
    key_name,
    signal_of,
    time_array,
    timeline_of,
)

if TYPE_CHECKING:
    import pyarrow as pa

ROWS_MAX = 20_000_000
"""Rows of all windows that overlap: functions of windows go through them in some seconds."""


@dataclass(frozen=True, slots=True)
class _Rows:
    """What windows are made of: the rows with the controls of the clause beside them."""

    timeline: Timeline
    controls: list[Signal]
    span: tuple[int | None, int | None]
    zone: str
    precision_ns: int


def run(table: pa.Table, arguments: dict[str, Any]) -> dict[str, pa.Table]:
    """``arguments``: ``keys`` their number; ``window`` the clause, see ``_KINDS``; ``controls``
    names of its columns; ``expected`` keys of partitions that are there without rows too, or None;
    ``functions`` {name, columns, options, output} each; ``columns`` of the
    rows that aggregates read, None when there are none; ``with_empty``; ``span`` the first and last
    moment asked for, or None each; ``zone``; ``precision_ns``."""
    timeline, names = _with_expected(table, arguments)
    controls = [signal_of(table.column(name)) for name in arguments["controls"]]
    first, last = arguments["span"]
    rows = _Rows(timeline, controls, (first, last), arguments["zone"], arguments["precision_ns"])
    window = dict(arguments["window"])
    found = _KINDS[window.pop("kind")](rows, **window)
    if found.rows is not None:
        table = table.take(number_array(found.rows, _int64()))
    windows = found.windows
    if arguments["functions"] or arguments["columns"] is not None:
        _check_rows(windows)
    signals = [
        (call["output"], run_window_function(call, table, found.timeline, windows))
        for call in arguments["functions"]
    ]
    made = {"windows": _window_table(table, found, arguments, signals, names)}
    if arguments["columns"] is not None:
        read = table.select([TIME, *arguments["columns"]])
        _check_bytes(read, windows, arguments["bytes_max"])
        made["rows"] = _row_table(read, windows, with_empty=arguments["with_empty"])
    return made


def _with_expected(table: pa.Table, arguments: dict[str, Any]) -> tuple[Timeline, list[Any] | None]:
    """The rows of a table with the partitions that are expected among them; the key of each."""
    timeline, expected = timeline_of(table, arguments["keys"]), arguments["expected"]
    if expected is None:
        return timeline, None
    begins = number_array(timeline.bounds[:-1], _int64())
    present = table.column(key_name(0)).take(begins).to_pylist()
    missing = set(expected).difference(present)
    if not missing:
        return timeline, None
    rows = dict(zip(present, np.diff(timeline.bounds).tolist(), strict=True))
    names = sorted([*present, *missing], key=lambda name: (name is not None, name or ""))
    lengths = [rows.get(name, 0) for name in names]
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return Timeline(timeline.times, bounds), names


def run_window_function(
    call: dict[str, Any], table: pa.Table, timeline: Timeline, windows: Windows
) -> Signal:
    """One value per window. Raises SqlError for columns that the function cannot take."""
    function = library.window_function(call["name"])
    assert function is not None, call["name"]  # the planner found it
    signals = [signal_of(table.column(name)) for name in call["columns"]]
    check_signals(function.name, signals, takes_text=function.takes_text)
    check_span(timeline)
    return function.run(timeline, signals, windows, call["options"])


def check_span(timeline: Timeline) -> None:
    """Functions subtract times, in 64 bits. Raises SqlError where that cannot be."""
    times = timeline.times
    if len(times) and int(times.max()) - int(times.min()) >= 2**63:
        raise SqlError(
            "the rows span more than 292 years",
            field="time",
            hint="narrow the statement by time",
        )


def check_signals(name: str, signals: list[Signal], *, takes_text: bool) -> None:
    """Raises SqlError when a function of numbers is given text."""
    for signal in signals:
        if signal.values.dtype == object and not takes_text:
            raise SqlError(
                f"{name} takes numbers, not text",
                field=name,
                hint="name a column of numbers, or cast it",
            )


def _check_rows(windows: Windows) -> None:
    """Functions and aggregates go through the rows of every window."""
    # Summed as floats: an integer that wraps would look small.
    if float((windows.end - windows.begin).sum(dtype=np.float64)) > ROWS_MAX:
        raise SqlLimitError(
            f"windows that overlap hold more than {ROWS_MAX} rows together",
            hint="use a longer step, or narrow the statement by time or device",
        )


def _check_bytes(table: pa.Table, windows: Windows, bytes_max: int) -> None:
    """Rows of windows that overlap are copied for each: seen before it is done."""
    rows = float((windows.end - windows.begin).sum(dtype=np.float64))
    row_bytes = table.nbytes / max(table.num_rows, 1) + 8
    if rows > table.num_rows and rows * row_bytes > bytes_max:
        raise SqlLimitError(
            f"windows that overlap need more than {bytes_max >> 20} MiB for {rows:.0f} rows",
            hint="use a longer step, or narrow the statement by time or device",
        )


def _int64() -> pa.DataType:
    import pyarrow as pa

    return pa.int64()


def _window_table(
    table: pa.Table,
    found: Assigned,
    arguments: dict[str, Any],
    signals: list[tuple[str, Signal]],
    names: list[Any] | None,
) -> pa.Table:
    import pyarrow as pa

    windows, precision_ns = found.windows, arguments["precision_ns"]
    moment = table.schema.field(TIME).type
    int64 = pa.int64()
    arrays: dict[str, Any] = {
        "#g": number_array(np.arange(len(windows), dtype=np.int64), int64),
        "#s": number_array(windows.partition.astype(np.int64), int64),
    }
    # Partitions are numbered in the order of their rows; each has some, but the one without keys,
    # and those that are expected.
    if names is not None:
        arrays[key_name(0)] = pa.array(names).take(arrays["#s"])
    else:
        first_rows = number_array(found.timeline.bounds[:-1][windows.partition], int64)
        for number in range(arguments["keys"]):
            name = key_name(number)
            arrays[name] = table.column(name).take(first_rows)
    inclusive = windows.end_ns - precision_ns if windows.is_exclusive else windows.end_ns
    arrays["#label"] = time_array(windows.label_ns, moment)
    arrays["#start"] = time_array(windows.start_ns, moment)
    arrays["#end"] = time_array(windows.end_ns, moment)
    arrays["#last"] = time_array(inclusive, moment)
    width = (windows.end_ns - windows.start_ns) // precision_ns
    arrays["#width"] = number_array(width, int64)
    for name, value in zip(("#qstart", "#qend"), arguments["span"], strict=True):
        times = np.full(len(windows), 0 if value is None else value, np.int64)
        missing = np.full(len(windows), value is None)
        arrays[name] = time_array(times, moment, missing)
    for name, signal in signals:
        arrays[name] = array_of(signal, moment)
    return pa.table(arrays)


def _row_table(table: pa.Table, windows: Windows, *, with_empty: bool) -> pa.Table:
    import pyarrow as pa

    lengths = windows.end - windows.begin
    rows, numbers = windows.rows(), windows.window_of_rows()
    if len(rows) != table.num_rows or not _is_all(windows, table.num_rows):
        table = table.take(number_array(rows, pa.int64()))
    empty = np.flatnonzero(lengths <= 0)
    table = table.append_column("#g", number_array(numbers, pa.int64()))
    if len(empty) == 0 or not with_empty:
        return table
    none = {field.name: pa.nulls(len(empty), field.type) for field in table.schema}
    none["#g"] = number_array(empty.astype(np.int64), pa.int64())
    return pa.concat_tables([table, pa.table(none, schema=table.schema)])


def _is_all(windows: Windows, count: int) -> bool:
    """True when the windows are the rows one after the other."""
    ends = windows.end
    touches = bool((windows.begin[1:] == ends[:-1]).all())
    return len(windows) > 0 and touches and windows.begin[0] == 0 and ends[-1] == count


# The clauses


def _whole(rows: _Rows) -> Assigned:
    """A window per partition; one also when there is no row."""
    bounds, times = rows.timeline.bounds, rows.timeline.times
    begin, end = bounds[:-1], bounds[1:]
    if len(times) == 0:
        none = np.zeros(len(begin), np.int64)
        return _assigned(rows, Windows(begin, end, np.arange(len(begin)), none, none, none))
    start_ns, end_ns = times[begin], times[end - 1]
    partition: Positions = np.arange(len(begin), dtype=np.int64)
    return _assigned(rows, Windows(begin, end, partition, start_ns, start_ns, end_ns))


def _assigned(rows: _Rows, windows: Windows) -> Assigned:
    return Assigned(rows.timeline, windows)


def _range(
    rows: _Rows,
    start_ns: int,
    end_ns: int,
    interval: tuple[int, int],
    step: tuple[int, int] | None,
    is_right_closed: bool,
) -> Assigned:
    windows = range_windows(
        rows.timeline,
        start_ns,
        end_ns,
        interval,
        step,
        zone=parse_zone(rows.zone),
        is_right_closed=is_right_closed,
    )
    return _assigned(rows, windows)


def _interval(
    rows: _Rows,
    interval: tuple[int, int],
    offset: tuple[int, int] | None,
    is_auto: bool,
    sliding: tuple[int, int] | None,
    is_dense: bool,
    is_forced: bool,
) -> Assigned:
    # Without any row there is nothing to fill, unless it is asked for.
    is_dense = is_dense and (is_forced or len(rows.timeline) > 0)
    windows = interval_windows(
        rows.timeline,
        interval,
        sliding=sliding,
        offset=offset or (0, 0),
        auto_ns=rows.span[0] if is_auto else None,
        zone=parse_zone(rows.zone),
        is_dense=is_dense,
        span=rows.span,
    )
    return _assigned(rows, windows)


def _session(rows: _Rows, gap_ns: int) -> Assigned:
    return _assigned(rows, session_windows(rows.timeline, gap_ns))


def _state(
    rows: _Rows, extend: int, states: int, lasting: tuple[int | None, int | None, bool] | None
) -> Assigned:
    windows = state_windows(
        rows.timeline,
        *rows.controls[:states],
        extend=extend,
        tick_ns=rows.precision_ns,
        left_out=rows.controls[states] if len(rows.controls) > states else None,
    )
    return _assigned(rows, _lasting(windows, lasting))


def _event(rows: _Rows, lasting: tuple[int | None, int | None, bool] | None) -> Assigned:
    windows = event_windows(rows.timeline, rows.controls[0], rows.controls[1])
    return _assigned(rows, _lasting(windows, lasting))


def _lasting(windows: Windows, lasting: tuple[int | None, int | None, bool] | None) -> Windows:
    """TRUE_FOR: (least length, least rows, one of both is enough)."""
    if lasting is None:
        return windows
    length_ns, least, is_either = lasting
    return lasting_windows(windows, length_ns, least, any_of=is_either)


def _count(rows: _Rows, size: int, slide: int | None, keeps_tail: bool) -> Assigned:
    return count_windows(rows.timeline, size, slide, columns=rows.controls, keeps_tail=keeps_tail)


def _variation(rows: _Rows, delta: float, ignores_null: bool) -> Assigned:
    return variation_windows(rows.timeline, rows.controls[0], delta, ignores_null=ignores_null)


def _condition(rows: _Rows, operator: str, keep: int, ignores_null: bool) -> Assigned:
    return condition_windows(
        rows.timeline, rows.controls[0], (operator, keep), ignores_null=ignores_null
    )


_KINDS: dict[str, Any] = {
    "whole": _whole,
    "range": _range,
    "interval": _interval,
    "session": _session,
    "state": _state,
    "event": _event,
    "count": _count,
    "variation": _variation,
    "condition": _condition,
}
"""What makes the windows of a clause; its arguments are those of the map ``window``."""
