"""A page of the documentation, typed into an empty directory by somebody who believes it.

1. The info string of a code block says what it is. ``sh``: typed at the first terminal, exit 0.
   ``sh until``: typed again until it prints what follows. ``sh terminal N``: keeps terminal N busy;
   typed again, what runs there is stopped with Ctrl-C first. ``sh by hand``: left out.
2. ``LANGUAGE FILE`` is saved as that file, ``LANGUAGE FILE +`` is added to its end.
3. ``text`` is what the ``sh`` before it printed: these lines in this order, ``...`` for anything.
4. What is exported at the first terminal stays exported there.
5. Ports of the page are replaced, so that it can be tried beside others that listen.

Any other info string is an error: nothing on the page goes untried by mistake.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

PATIENCE_S = 120.0
"""What a row may take to all tiers on a machine that does other things too."""

BLOCK = re.compile(r"^```(\S[^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCES_PER_BLOCK = 2


@dataclass(frozen=True)
class Block:
    """A code block: the words of its info string, and its text."""

    words: tuple[str, ...]
    text: str


def blocks_of(page: str) -> list[Block]:
    found = [Block(tuple(info.split()), text) for info, text in BLOCK.findall(page)]
    fences = len(re.findall(r"^\s*```", page, re.MULTILINE))
    assert fences == FENCES_PER_BLOCK * len(found), "a code block without an info string"
    return found


def shows(expected: str, printed: str) -> bool:
    """Whether ``printed`` has the lines of ``expected`` in their order, ``...`` for anything."""
    lines = [".*?".join(map(re.escape, line.split("..."))) for line in expected.splitlines()]
    return re.search(r"[\s\S]*?".join(lines), printed) is not None


@dataclass
class Typist:
    """Types a page. ``programs``: where ``mainstem`` is; ``ports``: those of the page, and others."""

    place: Path
    programs: Path
    ports: Mapping[int, int]
    exported: list[str] = field(default_factory=list)
    terminals: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    typed: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: object, trace: TracebackType | None
    ) -> None:
        del kind, value, trace
        for name in list(self.terminals):
            self.interrupt(name)
            print(f"--- terminal {name}\n{self.printed_at(name)[-4000:]}")

    def type(self, page: str) -> None:
        blocks = blocks_of(self.with_ports(page))
        for block, after in zip(blocks, [*blocks[1:], Block((), "")], strict=True):
            expected = after.text if after.words == ("text",) else ""
            match block.words:
                case ("text",) | ("sh", "by", "hand"):
                    pass
                case ("sh",):
                    printed = self.run(block.text)
                    assert shows(expected, printed), f"{block.text}printed\n{printed}"
                case ("sh", "until"):
                    self.run_until(block.text, expected)
                case ("sh", "terminal", name):
                    self.occupy(name, block.text, expected)
                case ("sh", *_) | (_,):
                    raise AssertionError(f"what is a block {' '.join(block.words)!r}?")
                case (_, name):
                    (self.place / name).write_text(block.text, encoding="utf-8")
                case (_, name, "+"):
                    with (self.place / name).open("a", encoding="utf-8") as file:
                        file.write(block.text)
                case _:
                    raise AssertionError(f"what is a block {' '.join(block.words)!r}?")

    def with_ports(self, page: str) -> str:
        pattern = rf":({'|'.join(map(str, self.ports))})\b"
        return re.sub(pattern, lambda found: f":{self.ports[int(found[1])]}", page)

    def run(self, text: str) -> str:
        """What it printed, both streams as at a terminal; exit 0 is asserted."""
        done = subprocess.run(
            ["sh", "-ec", "\n".join([*self.exported, text])], cwd=self.place, text=True,
            env=self.environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            timeout=PATIENCE_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{text}ended with {done.returncode}\n{done.stdout}"
        self.exported += re.findall(r"^export .*$", text, re.MULTILINE)
        self.typed.append(text)
        return done.stdout

    def run_until(self, text: str, expected: str) -> None:
        assert expected, f"nothing is shown after\n{text}"
        deadline = time.monotonic() + PATIENCE_S
        while not shows(expected, printed := self.run(text)):
            assert time.monotonic() < deadline, f"{text}printed\n{printed}"

    def occupy(self, name: str, text: str, expected: str) -> None:
        """Starts what keeps a terminal busy; returns when it has printed each expected line."""
        self.interrupt(name)
        with self.log(name).open("wb") as log:
            self.terminals[name] = subprocess.Popen(
                ["sh", "-ec", f"exec {text}"], cwd=self.place, env=self.environment(),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self.typed.append(text)
        deadline = time.monotonic() + PATIENCE_S
        # Lines of a log come in any order.
        while not all(shows(line, self.printed_at(name)) for line in expected.splitlines()):
            ended = self.terminals[name].poll()
            assert ended is None, f"{text}ended with {ended}\n{self.printed_at(name)}"
            assert time.monotonic() < deadline, f"{text}printed\n{self.printed_at(name)}"
            time.sleep(0.05)

    def interrupt(self, name: str) -> None:
        """Ctrl-C at a terminal where something runs."""
        process = self.terminals.get(name)
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def log(self, name: str) -> Path:
        # Beside the directory, which was empty for the reader.
        return self.place.with_name(f"{self.place.name}-terminal-{name}.log")

    def printed_at(self, name: str) -> str:
        return self.log(name).read_text(encoding="utf-8", errors="replace")

    def environment(self) -> dict[str, str]:
        # What the machine says of nodes of its own is not for those of the page.
        kept = {key: value for key, value in os.environ.items() if not key.startswith("MAINSTEM")}
        return {**kept, "PATH": f"{self.programs}{os.pathsep}{os.environ['PATH']}"}
