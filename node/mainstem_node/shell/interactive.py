"""The interactive shell: statements end with a semicolon and may span lines.

``USE name;`` changes the database of the session; ``help``, ``quit`` and Ctrl-D do what they say.
Ctrl-C drops the line that is being typed. An error is printed and the session goes on.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

from mainstem_engine.errors import MainstemError
from mainstem_node.commands.terminal import note, result
from mainstem_node.shell.rendering import remarks, rendered
from mainstem_node.shell.source import Source

HISTORY_LINES = 1000
PROMPT, MORE = "mainstem> ", "     ...> "
QUIT = frozenset({"quit", "exit", "\\q"})
HELP = """\
Statements end with ;    quit or Ctrl-D leaves
  SHOW DATABASES; SHOW TEMPLATES; SHOW DEVICES; DESCRIBE meters;
  SELECT * FROM meters LIMIT 10;      a template is the table of all its devices
  SELECT * FROM root.plant_a.d1;      a device path is the table of one device
  USE root.plant_a;                   changes the database of this session"""

_USE = re.compile(r"\s*use\s+([^\s;]+)\s*;?\s*", re.IGNORECASE)


class Shell:
    """Reads statements from a terminal and prints answers."""

    def __init__(self, source: Source, output_format: str) -> None:
        self._source = source
        self._format = output_format

    def run(self) -> None:
        """Until the end of the input."""
        note(f"{self._source.name}; help for help")
        with line_editing():
            while (statement := self._read()) is not None:
                if statement.strip():
                    self.execute(statement)

    def execute(self, statement: str) -> None:
        """One statement; errors are printed."""
        use = _USE.fullmatch(statement)
        try:
            answer = self._source.ask(statement, readable_times=self._format == "table")
        except MainstemError as error:
            note(f"error: {error}")
            return
        if use is not None:
            self._source.database = use[1]
            note(f"database {use[1]}")
            return
        result(rendered(answer, self._format, None).rstrip("\n"))
        for remark in remarks(answer):
            note(remark)

    def _read(self) -> str | None:
        """One statement, or None at the end."""
        lines: list[str] = []
        while True:
            try:
                line = input(MORE if lines else PROMPT)
            except EOFError:
                note("")
                return None
            except KeyboardInterrupt:
                note("")
                return ""
            word = line.strip().rstrip(";").lower()
            if not lines and word in QUIT:
                return None
            if not lines and word == "help":
                note(HELP)
                return ""
            lines.append(line)
            if ends(text := "\n".join(lines)):
                return text
            if not text.strip():
                return ""


def ends(text: str) -> bool:
    """Whether a statement is finished: a semicolon at the end, outside of quotes and comments."""
    return remainder(text).rstrip().endswith(";")


def remainder(text: str) -> str:
    """The text without quoted parts and comments; what is open stays open to the end."""
    quoted = r"'(?:[^']|'')*(?:'|$)|\"(?:[^\"]|\"\")*(?:\"|$)|`[^`]*(?:`|$)"
    comments = r"--[^\n]*|/\*.*?(?:\*/|$)"
    return re.sub(f"{quoted}|{comments}", "_", text, flags=re.DOTALL)


@contextlib.contextmanager
def line_editing() -> Iterator[None]:
    """History and cursor keys, where the platform has them."""
    try:
        import readline
    except ImportError:
        yield
        return
    path = Path.home() / ".mainstem_history"
    with contextlib.suppress(OSError):
        readline.read_history_file(path)
    readline.set_history_length(HISTORY_LINES)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            readline.write_history_file(path)
