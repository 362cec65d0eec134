"""House rules that a machine can check: layout, sizes, banned calls, system access in one place."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = {
    "common_engine": "mainstem_engine",
    "sync": "mainstem_sync",
    "node": "mainstem_node",
    "edge": "mainstem_edge",
    "platform": "mainstem_platform",
    "group": "mainstem_group",
}
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 90
"""House style asks for 60; this is where the check becomes an error."""

FORBIDDEN_FILES = {"utils.py", "helpers.py", "manager.py", "util.py", "common.py", "misc.py"}
POSIX_ONLY = {"fcntl", "grp", "pwd", "pty", "resource", "termios", "tty", "syslog", "posix"}
SYSTEM_MODULES = {
    "mainstem_engine/filesystem.py": POSIX_ONLY | {"mmap"},
    "running/confinement.py": {"resource"},
    "running/interrupter.py": {"signal"},
    "mainstem_node/lifecycle.py": {"signal"},
}
"""The only files that may touch what differs between operating systems."""


def source_files() -> list[Path]:
    return sorted(
        path for root in SOURCE_ROOTS for path in (ROOT / root).rglob("*.py") if path.is_file()
    )


def python_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).is_file()]


def imported_modules(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0], node.lineno


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_each_source_root_holds_exactly_one_package() -> None:
    for root, package in SOURCE_ROOTS.items():
        packages = {
            path.name
            for path in (ROOT / root).iterdir()
            if path.is_dir() and path.name != "__pycache__"
        }
        assert packages == {package}


def test_no_python_file_lies_directly_in_a_source_root() -> None:
    """Least of all in platform/: it would shadow the standard library's module of that name."""
    stray = [relative(path) for root in SOURCE_ROOTS for path in (ROOT / root).glob("*.py")]
    assert stray == []


@pytest.mark.parametrize("path", python_files(), ids=relative)
def test_file_is_tidy(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert path.name not in FORBIDDEN_FILES, "name the file after the concept it holds"
    lines = text.count("\n")
    assert lines <= FILE_LINES_MAX, f"{lines} lines: look for the second noun"
    tree = ast.parse(text)
    assert ast.get_docstring(tree) or not text.strip(), "a module says what it guarantees"


@pytest.mark.parametrize("path", source_files(), ids=relative)
def test_source_calls_nothing_banned(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: bare except"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec", "yaml.load", "os.system"}, (
                f"line {node.lineno}: {called}"
            )
            assert not any(
                keyword.arg == "shell" and ast.unparse(keyword.value) == "True"
                for keyword in node.keywords
            ), f"line {node.lineno}: shell=True"
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            assert length <= FUNCTION_LINES_MAX, f"{node.name}: {length} lines"
    assert not {name for name, _ in imported_modules(tree)} & {"pickle", "marshal", "shelve"}


@pytest.mark.parametrize("path", source_files(), ids=relative)
def test_the_operating_system_is_touched_in_one_place(path: Path) -> None:
    key = "/".join(path.parts[-2:])
    allowed = SYSTEM_MODULES.get(key, set())
    restricted = POSIX_ONLY | {"mmap", "signal"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found = [(name, line) for name, line in imported_modules(tree) if name in restricted - allowed]
    assert found == [], f"{key}: belongs to {', '.join(SYSTEM_MODULES)}"


def test_no_registry_address_is_recorded() -> None:
    """Lock and constraint files pin versions, not the addresses they came from."""
    pattern = re.compile(r"--(extra-)?index-url|\"resolved\": *\"http|registry *= *http")
    for name in ("constraints.txt", "pyproject.toml", "Makefile"):
        assert not pattern.search((ROOT / name).read_text(encoding="utf-8")), name


def test_no_secret_or_data_file_is_tracked() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    bad = [name for name in listed if name.endswith((".token", ".pem", ".key", ".log", ".part"))]
    assert [name for name in bad if not name.startswith("tests/")] == []
