"""How many bytes this process has sent to its disks: what wears a flash card.

Linux counts them per process (``write_bytes`` of /proc/self/io): log, data files, compaction,
checkpoints and quarantine alike, by whole pages, as the disk gets them; a row that is synced by
itself costs a page. Elsewhere the bytes of the log stand in, which is the least that is written.
"""

from __future__ import annotations

from pathlib import Path

COUNTERS = Path("/proc/self/io")
FIELD = "write_bytes:"


def written_bytes(log_bytes: int, counters: Path = COUNTERS) -> int:
    """Since the start of the process. ``log_bytes``: what the log has written."""
    try:
        lines = counters.read_text("ascii").splitlines()
    except OSError:  # another system, or a sandbox that hides it
        return log_bytes
    found = next((line for line in lines if line.startswith(FIELD)), None)
    return log_bytes if found is None else int(found.removeprefix(FIELD))
