"""What a start gives back: pages of code that are the file's, and nothing else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mainstem_node.footprint import unchanged_code

SMAPS = """\
7f0000000000-7f0000010000 r--p 00000000 fe:00 77 /usr/lib/libone.so
Rss:                  64 kB
Anonymous:             0 kB
7f0000010000-7f0000030000 r-xp 00010000 fe:00 77 /usr/lib/lib one.so
Size:                128 kB
Rss:                 100 kB
Anonymous:             0 kB
AnonHugePages:         0 kB
VmFlags: rd ex mr mw me sd
7f0000030000-7f0000034000 r-xp 00030000 fe:00 77 /usr/lib/libone.so
Rss:                  16 kB
Anonymous:             4 kB
7f0000034000-7f0000038000 rwxp 00034000 fe:00 77 /usr/lib/libone.so
Anonymous:             0 kB
7f0000038000-7f000003c000 rw-p 00038000 fe:00 77 /usr/lib/libone.so
Anonymous:             0 kB
7f000003c000-7f0000040000 r-xp 00000000 00:00 0
Anonymous:             0 kB
7f0000040000-7f0000044000 r--s 00000000 fe:00 78 /data/names
Anonymous:             0 kB
7f0000044000-7f0000048000 r-xp 00000000 00:00 0 [vdso]
Anonymous:             0 kB
7f0000048000-7f0000049000 r-xp 00000000 fe:00 79 /usr/lib/libtwo.so (deleted)
Anonymous:             0 kB
"""


def test_only_unchanged_code_of_files_is_given_back() -> None:
    """Not what was written to, nor data, nor what another file may come to lie at."""
    assert list(unchanged_code(SMAPS.splitlines())) == [
        (0x7F0000010000, 0x20000), (0x7F0000048000, 0x1000),
    ]  # fmt: skip


PROCESS = """
import hashlib, sys
import numpy as np
from pathlib import Path
from mainstem_node.footprint import give_back

def file_pages():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssFile:"))

def work():
    matrix = np.arange(10_000.0).reshape(100, 100)
    return hashlib.sha256((matrix @ matrix).tobytes()).hexdigest()

first, before = work(), file_pages()
give_back()
after = file_pages()
print(before, after, first == work())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_was_given_back_is_there_when_it_is_used() -> None:
    found = subprocess.run(
        [sys.executable, "-c", PROCESS], capture_output=True, text=True, check=True, timeout=60
    )
    before, after, is_equal = found.stdout.split()
    assert int(after) < 0.8 * int(before)
    assert is_equal == "True"
