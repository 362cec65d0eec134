"""Columns for a chart, thinned on the server.

1. [from, to) is cut into buckets, two points each: the smallest and the largest value, at their own
   times and in their order. So no peak is lost, and the answer has at most ``points`` points.
2. A signal with fewer rows than points is given as it is.
3. The range is read in pieces, so that a long one does not need its rows in memory at once.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from aiohttp import web

from mainstem_node.api.route import Route, json_response, query_int
from mainstem_node.api.times import NS_PER_MS, query_time_ns
from mainstem_node.auth import READ, Principal
from mainstem_node.errors import BadRequestError
from mainstem_node.plain import plain_value
from mainstem_node.runtime import Runtime
from mainstem_node.signals import Signal, find_signals

POINTS_MAX = 20_000
"""More than any screen is wide."""
RANGE_DEFAULT_NS = 3600 * 1_000_000_000
PIECES = 32
"""Steps in which the range is read."""

Times = npt.NDArray[np.int64]
Values = npt.NDArray[Any]


async def series(runtime: Runtime, request: web.Request, caller: Principal) -> web.Response:
    text = request.query.get("signals", "")
    if not text:
        raise BadRequestError(
            "signals is missing", field="signals", hint="signals=root.plant.press.temperature,..."
        )
    signals = find_signals(runtime.engine, text.split(","))
    for signal in signals:
        if signal.measurement.type.is_variable:
            raise BadRequestError(
                f"{signal.text} is {signal.measurement.type.name}, which has no chart",
                field="signals",
                hint="use SQL",
            )
    points = query_int(request, "points", 1000, low=2, high=POINTS_MAX)
    end_ns = query_time_ns(request, "to")
    end_ns = runtime.clock_ns() if end_ns is None else end_ns
    start_ns = query_time_ns(request, "from")
    start_ns = end_ns - RANGE_DEFAULT_NS if start_ns is None else start_ns
    if start_ns >= end_ns:
        raise BadRequestError("from is not before to", field="from")
    found = [
        await runtime.io_workers.run(_one, runtime, signal, start_ns, end_ns, points)
        for signal in signals
    ]
    body = {"from": start_ns // NS_PER_MS, "to": end_ns // NS_PER_MS, "series": found}
    return json_response(body)


def _one(
    runtime: Runtime, signal: Signal, start_ns: int, end_ns: int, points: int
) -> dict[str, Any]:
    buckets = max(1, points // 2)
    # Every piece is a whole number of buckets, so that no bucket is cut in two.
    step_ns = -(-(end_ns - start_ns) // buckets)
    piece_ns = step_ns * -(-buckets // PIECES)
    devices = np.array([signal.device], np.uint32)
    rows = 0
    raw: list[tuple[Times, Values]] | None = []
    thinned: list[tuple[Times, Values]] = []
    for piece in range(start_ns, end_ns, piece_ns):
        read = runtime.engine.scan_rows(
            signal.template,
            devices=devices,
            start_ns=piece,
            end_ns=min(piece + piece_ns, end_ns),
            measurement_ids=[signal.measurement.id],
        )
        column = read.columns.get(signal.measurement.id)
        if column is None or not len(read):
            continue
        time, value = read.time, column.values
        if column.valid is not None:
            time, value = time[column.valid], value[column.valid]
        rows += len(time)
        if raw is not None:
            raw.append((time, value))
            if rows > points:
                raw = None
        thinned.append(min_max(time, value, (time - start_ns) // step_ns))
    chosen = thinned if raw is None else raw
    time = np.concatenate([t for t, _ in chosen]) if chosen else np.empty(0, np.int64)
    value = np.concatenate([v for _, v in chosen]) if chosen else np.empty(0, np.float64)
    return {
        "signal": signal.text,
        "unit": signal.measurement.unit,
        "rows": rows,
        "downsampled": raw is None,
        "time": _milliseconds(time, runtime.engine.precision_ns(signal.template)),
        "value": [plain_value(v) for v in value.astype(_shown(value.dtype)).tolist()],
    }


def min_max(time: Times, value: Values, bucket: Times) -> tuple[Times, Values]:
    """Per bucket the rows of the smallest and the largest value, in order of time; one row when
    they are the same. NaN counts as neither unless a bucket has nothing else."""
    if not len(time):
        return time, value
    number = value.astype(np.float64)
    first = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1]))
    group = np.cumsum(np.append(False, bucket[1:] != bucket[:-1]))
    rank_low = np.where(np.isnan(number), np.inf, number)
    rank_high = np.where(np.isnan(number), -np.inf, number)
    low = np.minimum.reduceat(rank_low, first)[group]
    high = np.maximum.reduceat(rank_high, first)[group]
    places = np.arange(len(time))
    at_low = np.minimum.reduceat(np.where(rank_low == low, places, len(time)), first)
    at_high = np.minimum.reduceat(np.where(rank_high == high, places, len(time)), first)
    kept = np.unique(np.concatenate([at_low, at_high]))
    return time[kept], value[kept]


def _shown(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Booleans are drawn as 0 and 1."""
    return np.dtype(np.int8) if dtype == np.bool_ else dtype


def _milliseconds(time: Times, precision_ns: int) -> list[Any]:
    """Integers where the table counts ms, else fractions of ms."""
    if precision_ns >= NS_PER_MS:
        return list((time // NS_PER_MS).tolist())
    return [stamp / NS_PER_MS for stamp in time.tolist()]


ROUTES = (
    Route(
        "GET", "/api/v1/series", series, READ,
        "Columns for a chart: signals, from, to (ms or RFC 3339), points.",
    ),
)  # fmt: skip
