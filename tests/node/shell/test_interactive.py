"""The shell: where statements end, what USE does, and errors that do not end the session."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mainstem_engine.errors import SqlSyntaxError
from mainstem_node.client import Answer
from mainstem_node.shell.interactive import Shell, ends
from mainstem_node.shell.source import Source

TIME = {"name": "time", "type": "TIMESTAMP", "unit": "ms", "zone": "UTC"}


class Scripted(Source):
    """Keeps what it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[str, str | None]] = []

    @property
    def name(self) -> str:
        return "scripted"

    def ask(self, statement: str, *, readable_times: bool) -> Answer:
        self.asked.append((statement, self.database))
        if "wrong" in statement:
            raise SqlSyntaxError("line 1, column 1: unexpected wrong", hint="see help")
        return Answer([dict(TIME)], [["2026-10-01T00:00:00Z"]], warnings=["look"])


@pytest.mark.parametrize(
    ("text", "ended"),
    [
        ("SELECT 1;", True),
        ("SELECT 1; ", True),
        ("SELECT 1", False),
        ("SELECT ';", False),
        ("SELECT ';';", True),
        ("SELECT 'it''s;", False),
        ("SELECT 1 -- done;", False),
        ("SELECT 1; -- done", False),
        ("SELECT /* ; */ 1;", True),
        ("SELECT * FROM root.`a;b`;", True),
    ],
)
def test_where_a_statement_ends(text: str, ended: bool) -> None:
    assert ends(text) is ended


def typed(monkeypatch: pytest.MonkeyPatch, *lines: str | type[BaseException]) -> None:
    """The terminal types these lines, then its input ends."""
    script: Iterator[str | type[BaseException]] = iter((*lines, EOFError))

    def answer(prompt: str) -> str:
        line = next(script)
        if isinstance(line, str):
            return line
        raise line

    monkeypatch.setattr("builtins.input", answer)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    monkeypatch.setenv("HOME", str(tmp_path_factory.mktemp("home")))


def test_a_session(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    source = Scripted()
    typed(
        monkeypatch,
        "help", "", "SELECT *", "FROM t;", "SELECT wrong;", "half", KeyboardInterrupt,
        "USE root.a;", "SELECT 2;", "quit", "never",
    )  # fmt: skip
    Shell(source, "table").run()
    assert source.asked == [
        ("SELECT *\nFROM t;", None),
        ("SELECT wrong;", None),
        ("USE root.a;", None),
        ("SELECT 2;", "root.a"),
    ]
    printed = capsys.readouterr()
    assert "2026-10-01T00:00:00Z" in printed.out
    assert "warning: look" in printed.err
    assert "error: line 1, column 1: unexpected wrong; see help" in printed.err


def test_the_end_of_the_input_ends_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch)
    source = Scripted()
    Shell(source, "csv").run()
    assert source.asked == []
