"""A chart of the engine's lines as one self-contained SVG: a row a line, a column a peer.

1. A cell has the number of times that ours is better, and a bar from 1x: to the right where ours is
   better, to the left where the peer is. Bars are logarithmic: each tenfold is as long.
2. Colours follow the reader's light or dark setting; nothing is said by colour alone.
3. A screen reader gets title and description, and for each cell a sentence with both figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from xml.sax.saxutils import escape

from lines import Line
from report import shown

NAME_WIDTH = 330
CELL_WIDTH = 104
ROW_HEIGHT = 24
TOP = 80
BOTTOM = 14
MARGIN = 16
WIDTH_MIN = 560
"""The note above takes so much."""
ONE_AT = 28
"""Of 1x in a cell, from its left edge."""
DECADE = 14
"""Length of a bar for a tenfold."""
LEFT_MAX, RIGHT_MAX = 24, 30
"""Bars are cut here, at about 50 times worse and 140 times better: the number says the rest."""

STYLE = """
    svg { --paper: #ffffff; --ink: #1f2328; --faint: #59636e; --rule: #d1d9e0;
          --better: #2f6fb3; --worse: #b35c00; }
    @media (prefers-color-scheme: dark) {
      svg { --paper: #0d1117; --ink: #f0f6fc; --faint: #9198a1; --rule: #3d444d;
            --better: #6cb0f5; --worse: #f0a04b; }
    }
    .paper { fill: var(--paper); }
    text { fill: var(--ink); font: 13px system-ui, sans-serif; }
    .head { font-weight: 600; }
    .faint { fill: var(--faint); font-size: 12px; }
    .number { text-anchor: end; font-variant-numeric: tabular-nums; }
    .rule { stroke: var(--rule); }
    .better { fill: var(--better); }
    .worse { fill: var(--worse); }
"""


def chart(lines: Sequence[Line], titles: Mapping[str, str], points: int) -> str:
    """The SVG document. Lines without a peer's figure are left out: there is nothing to compare."""
    compared = [line for line in lines if line.theirs]
    width = max(WIDTH_MIN, MARGIN + NAME_WIDTH + CELL_WIDTH * len(titles) + MARGIN)
    height = TOP + ROW_HEIGHT * len(compared) + BOTTOM
    title = f"How many times better Mainstem's engine is than {_and(list(titles.values()))}"
    note = f"{points:,} points, medians of rounds. Right of the line: ours is better; left: theirs."
    body = "\n".join(_rows(compared, titles))
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" \
height="{height}" role="img" aria-labelledby="title description">
  <title id="title">{escape(title)}</title>
  <desc id="description">{escape(" ".join((note, *_sentences(compared, titles))))}</desc>
  <style>{STYLE}  </style>
  <rect class="paper" width="{width}" height="{height}"/>
  <text class="head" x="{MARGIN}" y="24">Times better than each peer</text>
  <text class="faint" x="{MARGIN}" y="44">{escape(note)}</text>
{body}
</svg>
"""


def times(advantage: float) -> str:
    """As it is written in a cell: 0.013x, 0.87x, 8.50x, 14.0x, 140x."""
    if advantage < 0.0995:
        return f"{advantage:.2g}\u00d7"
    digits = 0 if advantage >= 99.95 else 1 if advantage >= 9.995 else 2
    return f"{advantage:.{digits}f}\u00d7"


def sentence(line: Line, peer: str, title: str) -> str:
    """One cell in words."""
    unit = line.kind.unit
    return (
        f"{line.kind.name}: {times(line.advantage(peer))} beside {title},"
        f" {shown(line.figure)} {unit} for {shown(line.peer_figure(peer))} {unit}."
    )


def _rows(lines: Sequence[Line], titles: Mapping[str, str]) -> Iterator[str]:
    for column, title in enumerate(titles.values()):
        right = MARGIN + NAME_WIDTH + CELL_WIDTH * (column + 1)
        yield f'  <text class="head number" x="{right - 4}" y="{TOP - 8}">{escape(title)}</text>'
    for row, line in enumerate(lines):
        top = TOP + ROW_HEIGHT * row
        edge = MARGIN + NAME_WIDTH + CELL_WIDTH * len(titles)
        yield f'  <path class="rule" d="M{MARGIN} {top + 0.5}H{edge}"/>'
        name = escape(line.kind.name)
        yield f'  <text x="{MARGIN}" y="{top + 16}">{name}</text>'
        for column, (peer, title) in enumerate(titles.items()):
            left = MARGIN + NAME_WIDTH + CELL_WIDTH * column
            yield from _cell(line, peer, title, left, top)


def _cell(line: Line, peer: str, title: str, left: int, top: int) -> Iterator[str]:
    right = left + CELL_WIDTH - 4
    if peer not in line.theirs:
        yield f'  <text class="faint number" x="{right}" y="{top + 16}">\u2013</text>'
        return
    advantage = line.advantage(peer)
    length = DECADE * math.log10(advantage)
    length = max(-LEFT_MAX, min(RIGHT_MAX, length))
    one = left + ONE_AT
    start, wide = (one, length) if length >= 0 else (one + length, -length)
    kind = "better" if length >= 0 else "worse"
    yield f"  <g><title>{escape(sentence(line, peer, title))}</title>"
    yield f'    <rect class="{kind}" x="{start:.1f}" y="{top + 6}" width="{wide:.1f}" height="12"/>'
    yield f'    <path class="rule" d="M{one + 0.5} {top + 4}V{top + 20}"/>'
    yield f'    <text class="number" x="{right}" y="{top + 16}">{times(advantage)}</text></g>'


def _sentences(lines: Sequence[Line], titles: Mapping[str, str]) -> Iterator[str]:
    for line in lines:
        for peer, title in titles.items():
            if peer in line.theirs:
                yield sentence(line, peer, title)


def _and(names: list[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else "".join(names)
