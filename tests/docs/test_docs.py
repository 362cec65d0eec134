"""The documentation is true: links lead somewhere, every command is described, examples parse."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/**/*.md")]
    if path.is_file()
]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


def anchor(heading: str) -> str:
    """The fragment that code hosts make of a heading."""
    text = re.sub(r"[`*]", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists(), f"{page.name}: {target}"
        if fragment and file.suffix == ".md":
            headings = HEADING.findall(file.read_text(encoding="utf-8"))
            assert fragment in {anchor(heading) for heading in headings}, f"{page.name}: {target}"


SOURCE_PATH = re.compile(
    r"`((?:common_engine|sync|node|edge|platform|group|tests|examples|configs|benchmarks|docs)/"
    r"[\w./-]*)`"
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_named_files_exist(page: Path) -> None:
    named = SOURCE_PATH.findall(page.read_text(encoding="utf-8"))
    assert [name for name in named if not (ROOT / name).exists()] == []


def commands_of(*prefix: str) -> list[str]:
    """The command names that ``mainstem PREFIX --help`` lists."""
    help_text = subprocess.run(
        [sys.executable, "-m", "mainstem_node.cli", *prefix, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={"TERM": "dumb", "COLUMNS": "200", "PATH": "", "PYTHONPATH": python_path()},
    ).stdout
    section = help_text.partition("Commands")[2]
    return re.findall(r"^[│| ] ([a-z][a-z-]*)  ", section, re.MULTILINE)


def python_path() -> str:
    roots = ("common_engine", "sync", "node", "edge", "platform", "group")
    return ":".join(str(ROOT / root) for root in roots)


def test_every_command_is_documented() -> None:
    text = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    commands = commands_of()
    assert {"demo", "run", "sql", "status"} <= set(commands)
    missing = [name for name in commands if f"mainstem {name}" not in text]
    assert missing == []


def test_every_decision_is_listed() -> None:
    index = (ROOT / "docs" / "adr" / "README.md").read_text(encoding="utf-8")
    for record in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")):
        assert record.name in index, record.name


def test_every_procedure_of_the_power_cuts_is_listed() -> None:
    text = (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8")
    lives = ROOT / "tests" / "engine" / "crashing" / "procedures.py"
    names = re.findall(r"^@life\ndef (\w+)", lives.read_text(encoding="utf-8"), re.MULTILINE)
    assert len(names) > 10
    listed = re.findall(r"^\| `(\w+)` \|.*\| ([\d,]+) \|$", text, re.MULTILINE)
    assert {name for name, _ in listed} == {*names, "repair", "restore", "writers"}
    assert all(int(states.replace(",", "")) >= 500 for _, states in listed)
