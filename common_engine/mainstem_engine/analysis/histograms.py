"""HISTOGRAM of windows: how many values lie in each of some bins, as one text per window.

1. Bins are written as edges (``user_input``, ``[1, 3, 5]``), as equal ones (``linear_bin``,
   ``{"start": 0, "width": 5, "count": 4, "infinity": true}``) or as growing ones (``log_bin``, with
   ``factor`` in place of ``width``). ``count`` bins have one edge more; with ``infinity`` two more
   bins hold what is beyond both ends.
2. A value lies in the bin of which it is above the lower edge and not above the upper one. What
   lies in no bin, and NaN, is not counted.
3. ``normalized``: counts are divided by what all bins of the window hold together.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mainstem_engine.analysis.function import Kind, Options, Parameter, WindowFunction
from mainstem_engine.analysis.measured import measured
from mainstem_engine.analysis.rows import Signal, Timeline, Windows, positions
from mainstem_engine.errors import SqlError, SqlLimitError

EDGES, LINEAR, LOG = BIN_TYPES = ("user_input", "linear_bin", "log_bin")
BINS_MAX = 1_000
"""Of one histogram: a text of some 60 kB."""
CELLS_MAX = 1 << 22
"""Bins of all windows together: some 200 MB of texts."""
SHOWN_MAX = 100
"""Characters of a wrong text in the message about it."""
_HINTS = {
    EDGES: "ascending numbers such as '[1, 3, 5]'",
    LINEAR: """such as '{"start": 0, "width": 5, "count": 4, "infinity": true}'""",
    LOG: """such as '{"start": 1, "factor": 2, "count": 4, "infinity": true}'""",
}

Edges = npt.NDArray[np.float64]


def histogram(
    timeline: Timeline, signals: Sequence[Signal], windows: Windows, options: Options
) -> Signal:
    """A text per window: a JSON list of ``{"lower_bin", "upper_bin", "count"}``, infinite edges as
    texts. Raises SqlError for bins that are none, SqlLimitError for too many."""
    edges = edges_of(options["bin_type"], options["bins"])
    bins, count = len(edges) - 1, len(windows)
    if bins * count > CELLS_MAX:
        raise SqlLimitError(
            f"histogram: {count} windows of {bins} bins are more than {CELLS_MAX} bins",
            field="histogram",
            hint="use fewer bins, or longer windows",
        )
    found = measured(timeline, signals[0], windows)
    numbers = found.numbers[positions(found.begin, found.end)]
    window = np.repeat(np.arange(count), found.counts())
    place = np.searchsorted(edges, numbers, side="left") - 1
    inside = (place >= 0) & (place < bins)
    cells = window[inside] * bins + place[inside]
    counts = np.bincount(cells, minlength=bins * count).reshape(count, bins)
    shown: list[list[Any]] = counts.tolist()
    if options["normalized"]:
        shown = (counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)).tolist()
    names = [_edge(edge) for edge in edges.tolist()]
    heads = [
        f'{{"lower_bin":{low}, "upper_bin":{high}, "count":'
        for low, high in itertools.pairwise(names)
    ]
    texts = np.full(count, "", object)
    for i, row in enumerate(shown):  # one text per window
        texts[i] = f"[{', '.join(f'{h}{n}}}' for h, n in zip(heads, row, strict=True))}]"
    return Signal(texts)


def edges_of(bin_type: str, text: str) -> Edges:
    """float64[bins + 1], ascending. Raises SqlError."""
    try:
        written = json.loads(text)
        edges = _listed(written) if bin_type == EDGES else _made(bin_type, written)
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        edges = np.empty(0, np.float64)
    if len(edges) < 2 or not bool((np.diff(edges) > 0).all()):
        raise SqlError(
            f"histogram: {text[:SHOWN_MAX]!r} are no bins of {bin_type}",
            field="histogram",
            hint=f"{_HINTS[bin_type]}, at most {BINS_MAX} bins",
        )
    return edges


def _listed(written: Any) -> Edges:
    if not isinstance(written, list) or len(written) > BINS_MAX + 1:
        raise ValueError("no list of edges")
    return np.array([_number(edge) for edge in written], np.float64)


def _made(bin_type: str, written: Any) -> Edges:
    """Unknown keys are refused: they would be misspelt."""
    growth = "width" if bin_type == LINEAR else "factor"
    if not isinstance(written, dict) or set(written) - {"start", growth, "count", "infinity"}:
        raise ValueError("no bins")
    start, grows = _number(written["start"]), _number(written[growth])
    count, infinity = written["count"], written.get("infinity", True)
    if type(count) is not int or not 1 <= count <= BINS_MAX - 2 or type(infinity) is not bool:
        raise ValueError("no count of bins")
    if grows <= 0:
        raise ValueError("edges do not ascend")
    steps = np.arange(count + 1)
    with np.errstate(over="ignore", invalid="ignore"):
        made = start + grows * steps if bin_type == LINEAR else start * np.power(grows, steps)
    edges: Edges = np.sort(made.astype(np.float64))
    if not np.isfinite(edges).all():
        raise ValueError("edges are infinite")
    return np.concatenate(([-math.inf], edges, [math.inf])) if infinity else edges


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("no number")
    return float(value)


def _edge(edge: float) -> str:
    return f'"{edge}"' if math.isinf(edge) else f"{edge:.15g}"


FUNCTIONS = (
    WindowFunction(
        "histogram",
        histogram,
        parameters=(
            Parameter("bin_type", Kind.TEXT, choices=BIN_TYPES),
            Parameter("bins", Kind.TEXT, aliases=("bin_description",)),
            Parameter("normalized", Kind.FLAG, False),
        ),
    ),
)
