"""The statements of the pages with words left out, put in, doubled, exchanged and replaced.

Whatever comes of it runs, or is refused with an error of ours that names a remedy and none of the
parser's own words. A seed reproduces a failure.
"""

from __future__ import annotations

import random
import re
from pathlib import Path

import pytest

from mainstem_engine.errors import MainstemError
from mainstem_engine.sql.running.executors import InProcessExecutor
from mainstem_engine.sql.session import Session

from .conftest import open_engine

DOCS = Path(__file__).resolve().parents[3] / "docs"
_PARTS = re.compile(r"\w+|'[^']*'|\s+|[^\s\w]")
_LEAKS = re.compile(r"<class|sqlglot|Token\b|ownstatement|Traceback")
ODD = [
    "'x'", "''", "NULL", "-1", "1.5", "1e", "9223372036854775808", "`a b`", '"q"', "?", "(", ")",
    ",", ";", "*", "**", "root", "root.a.**", ".", "=", "--", "/*", "x'00'", "now", "TRUE", "1h",
    "0", "`", "'", "größe", "`#1`", "$", "time", "device", "tbname",
]  # fmt: skip


def statements() -> list[str]:
    blocks = re.findall(r"```sql\n(.*?)```", (DOCS / "sql.md").read_text("utf-8"), re.DOTALL)
    found = [line for block in blocks for line in block.splitlines() if line]
    for page in ("coming-from-iotdb.md", "coming-from-tdengine.md"):
        found += re.findall(r"^\| `([^`]+)` \|", (DOCS / page).read_text("utf-8"), re.MULTILINE)
    # Queries have a fuzz test of their own, and what they cost.
    return [text for text in found if not text.upper().startswith(("SELECT", "EXPLAIN"))]


def changed(parts: list[str], words: list[str], pick: random.Random) -> list[str]:
    place = pick.randrange(len(parts))
    word = pick.choice(words + ODD * 3)
    return pick.choice(
        [
            parts[:place] + parts[place + 1 :],
            [*parts[:place], " ", word, " ", *parts[place:]],
            [*parts[:place], word, *parts[place + 1 :]],
            [*parts[:place], parts[place], *parts[place:]],
            [*parts[place:], " ", *parts[:place]],
        ]
    )


def check_mutations(path: Path, executor: InProcessExecutor, seed: int, count: int) -> None:
    pick = random.Random(seed)
    known = statements()
    words = [part for text in known for part in _PARTS.findall(text) if not part.isspace()]
    unclear: list[tuple[str, str]] = []
    with open_engine(path) as engine:
        session = Session(engine, executor)
        for _ in range(count):
            parts = _PARTS.findall(pick.choice(known))
            for _ in range(pick.choice([0, 1, 1, 2, 3])):
                parts = changed(parts, words, pick) or ["SHOW"]
            text = "".join(parts)
            try:
                session.execute(text, [1, "a", None][: pick.randrange(4)])
            except MainstemError as error:
                if not error.hint or _LEAKS.search(str(error)):
                    unclear.append((text, str(error)))
            except Exception as error:
                error.add_note(text)
                raise
    assert unclear == []


def test_mutations(tmp_path: Path, executor: InProcessExecutor) -> None:
    check_mutations(tmp_path / "data", executor, 1, 400)


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(100, 106))
def test_many_mutations(tmp_path: Path, executor: InProcessExecutor, seed: int) -> None:
    check_mutations(tmp_path / "data", executor, seed, 4_000)
