"""How much of a mapped file this process has in memory, as Linux says. For tests."""

from __future__ import annotations

from pathlib import Path

_KIB = 1024


def resident_bytes(path: Path) -> int:
    """Of all mappings of ``path`` in this process; 0 if there is none."""
    total, of_path = 0, False
    for line in Path("/proc/self/smaps").read_text("utf-8").splitlines():
        first, *rest = line.split(maxsplit=5)
        if not first.endswith(":"):  # begins a mapping: addresses, rights, ..., and its file
            of_path = len(rest) == 5 and rest[-1] == str(path)
        elif of_path and first == "Rss:":
            total += int(rest[0]) * _KIB
    return total
