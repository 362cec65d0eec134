"""Curves over a logarithmic axis as one self-contained SVG: a panel a figure, side by side.

Every point has its number beside it: nothing has to be read off an axis. The vertical axis begins
at zero. Colours follow the reader's light or dark setting.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from chart import STYLE
from report import shown

PANEL_WIDTH, PANEL_HEIGHT = 300, 220
LEFT, RIGHT, TOP, BOTTOM = 28, 34, 62, 34
LINE_STYLE = """
    .curve { fill: none; stroke: var(--better); stroke-width: 2; }
    .point { fill: var(--better); }
    .middle { text-anchor: middle; }
"""


@dataclass(frozen=True, slots=True)
class Panel:
    """``points``: (x, y), x ascending and above 0. ``over``: what x counts."""

    title: str
    unit: str
    over: str
    points: Sequence[tuple[float, float]]


def curves(title: str, panels: Sequence[Panel]) -> str:
    """The SVG document."""
    width, height = PANEL_WIDTH * len(panels), PANEL_HEIGHT
    body = "\n".join(_panel(panel, PANEL_WIDTH * at) for at, panel in enumerate(panels))
    said = " ".join(_sentence(panel) for panel in panels)
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-labelledby="title description">
  <title id="title">{escape(title)}</title>
  <desc id="description">{escape(said)}</desc>
  <style>{STYLE}{LINE_STYLE}  </style>
  <rect class="paper" width="{width}" height="{height}"/>
{body}
</svg>
"""


def _panel(panel: Panel, left: int) -> str:
    first, last = math.log10(panel.points[0][0]), math.log10(panel.points[-1][0])
    most = max(y for _, y in panel.points) or 1.0
    wide = PANEL_WIDTH - LEFT - RIGHT
    tall = PANEL_HEIGHT - TOP - BOTTOM
    bottom = TOP + tall
    places = [
        (
            left + LEFT + wide * ((math.log10(x) - first) / ((last - first) or 1.0)),
            bottom - tall * y / most,
        )
        for x, y in panel.points
    ]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    found = [
        f'  <text class="head" x="{left + LEFT}" y="20">{escape(panel.title)}</text>',
        f'  <text class="faint" x="{left + LEFT}" y="38">'
        f"{escape(panel.unit)}, by {escape(panel.over)}</text>",
        f'  <path class="rule" d="M{left + LEFT},{bottom}h{wide}"/>',
        f'  <polyline class="curve" points="{line}"/>',
    ]
    for (x, y), (at, value) in zip(places, panel.points, strict=True):
        found += [
            f'  <circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="3.5"/>',
            f'  <text class="faint middle" x="{x:.1f}" y="{y - 8:.1f}">{shown(value)}</text>',
            f'  <text class="faint middle" x="{x:.1f}" y="{bottom + 18}">{power(at)}</text>',
        ]
    return "\n".join(found)


def _sentence(panel: Panel) -> str:
    pairs = ", ".join(f"{shown(y)} at {power(x)}" for x, y in panel.points)
    return f"{panel.title} ({panel.unit}) by {panel.over}: {pairs}."


def power(value: float) -> str:
    """1e6, 5e8; other numbers with one decimal."""
    exponent = math.floor(math.log10(value))
    digits = f"{value / 10**exponent:.1f}".removesuffix(".0")
    return f"{digits}e{exponent}"
