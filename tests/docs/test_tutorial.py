"""docs/tutorial-edge.md, run from an empty directory: every command in order, every line of output.

Blocks ``sh`` are run by a shell, one after the other; ``yaml NAME`` is written to that file; each
line of ``text`` must be in what the block before it prints, ``...`` standing for anything. Such a
block only reads, and is run again until it ends with 0 and its lines are there: rows, and the
tables that they make, are on their way for a moment.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from mainstem_edge.testing.mosquitto import free_port

pytestmark = [pytest.mark.slow, pytest.mark.broker]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "tutorial-edge.md"
BLOCK = re.compile(r"^```(sh|text|yaml)(?: (\S+))?\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DEADLINE_S = 60.0
NEEDED = ("mosquitto", "mosquitto_pub", "curl")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """An empty directory; what was started in it is ended."""
    yield tmp_path
    found = subprocess.run(["ps", "-eo", "pid="], capture_output=True, text=True, check=True)
    for pid in map(int, found.stdout.split()):
        with suppress(OSError):
            if Path(f"/proc/{pid}/cwd").resolve() == tmp_path and pid != os.getpid():
                os.kill(pid, signal.SIGKILL)


def environment() -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath)
    ours = {"PATH": os.pathsep.join([str(Path(sys.executable).parent), path, "/usr/sbin"])}
    return {**os.environ, **ours, "COLUMNS": "200"}


def run(place: Path, script: str) -> tuple[int, str]:
    """One block; what it exports is there in the next one. Returns its exit code and output."""
    known = place / ".environment"
    known.touch()
    whole = f"set -e\n. {known}\n{script}\nexport -p > {known}\n"
    output = place / ".output"
    with output.open("wb") as file:  # what a block leaves running keeps no pipe open
        ended = subprocess.run(
            ["bash", "-c", whole], cwd=place, env=environment(), stdin=subprocess.DEVNULL,
            stdout=file, stderr=subprocess.STDOUT, timeout=DEADLINE_S, check=False,
        )  # fmt: skip
    return ended.returncode, output.read_text(errors="replace")


def is_shown(line: str, output: str) -> bool:
    """True if the output has the line, but for the width of columns."""
    parts = [re.escape(part.strip()) for part in line.split("...")]
    pattern = re.compile(r"[^\n]*".join(part.replace(r"\ ", r"\s+") for part in parts))
    return pattern.search(output) is not None


def test_every_step_does_what_the_page_says(place: Path) -> None:
    missing = [name for name in NEEDED if shutil.which(name, path=environment()["PATH"]) is None]
    if missing:
        assert not os.environ.get("MAINSTEM_CI"), f"CI must have {missing}"
        pytest.skip(f"{missing} are not installed")
    text = PAGE.read_text()
    for port in ("1883", "8410", "8411"):
        text = text.replace(port, str(free_port()))
    blocks = BLOCK.findall(text)
    assert len(blocks) > 20
    for number, (kind, name, content) in enumerate(blocks):
        follows = blocks[number + 1] if number + 1 < len(blocks) else ("", "", "")
        if kind == "yaml":
            (place / name).write_text(content)
        elif kind == "sh":
            lines = follows[2].splitlines() if follows[0] == "text" else []
            deadline = time.monotonic() + DEADLINE_S
            while True:
                code, output = run(place, content)
                unseen = [line for line in lines if not is_shown(line, output)]
                if code == 0 and not unseen:
                    break
                again = lines and time.monotonic() < deadline
                assert again, f"{content}\nended with {code}\n{output}\nlacks {unseen}"
                time.sleep(0.2)
