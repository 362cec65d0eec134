"""A process that has everything imported and forks one that is traced, again and again.

A traced start of Python would take a second and thousands of system calls that nobody asks about.
The line protocol, one child at a time:

- in ``run <directory> <journal>``: a child is forked and waits. Out ``child <pid>``.
- in ``go``: it carries the procedure out and ends. Out ``end <status of waitpid>``.

The end of the input ends it.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc

import mainstem_engine.sql.session  # loaded before the fork, not after it

from .procedure import Procedure

ROOT = Path(__file__).parents[3]
PR_SET_PTRACER = 0x59616D61
PR_SET_PDEATHSIG = 1
ANYBODY = ctypes.c_ulong(-1)
LOADED = (pc, mainstem_engine.sql.session)
HANGS_S = 60
"""A run takes a second; on a machine with much else to do some more."""


class Zygote:
    """The other side: starts it and talks to it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.engine.disks.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=ROOT,
        )

    def fork(self, directory: Path, journal: Path) -> int:
        """The process id of a child that waits for go()."""
        return int(self._ask(f"run {directory} {journal}", "child"))

    def go(self) -> int:
        """Lets it run; its wait status. AssertionError if it hangs."""
        return int(self._ask("go", "end"))

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()

    def _ask(self, line: str, answer: str) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin)
        kind, _, value = self._process.stdout.readline().partition(" ")
        assert kind == answer, f"{kind} {value}"
        return value


def main() -> None:
    """Serves until the input ends."""
    for line in sys.stdin:
        _, directory, journal = line.split()
        receive_fd, send_fd = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(send_fd)
            become_traceable()
            if os.read(receive_fd, 1):
                signal.alarm(HANGS_S)
                logging.basicConfig(level=logging.CRITICAL + 1)
                Procedure(Path(directory), Path(journal)).run()
            os._exit(0)
        os.close(receive_fd)
        print(f"child {child}", flush=True)
        sys.stdin.readline()
        os.write(send_fd, b"g")
        os.close(send_fd)
        print(f"end {os.waitpid(child, 0)[1]}", flush=True)


def become_traceable() -> None:
    """By a process that is no ancestor; and gone with the one that forked it."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PTRACER, ANYBODY, 0, 0, 0)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    main()
