"""A log as programs write them: in pieces, rotated by renaming, each file with a header."""

from __future__ import annotations

from pathlib import Path

HEADER = "ts,count\n"
BASE_MS = 1_792_540_800_000
ROTATED_EVERY = 2_000


class RotatedLog:
    """A log and the program that writes it. Row n is of the time ``BASE_MS + n``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0
        self._rotations = 0
        self._file = path.open("w", encoding="utf-8")
        self._file.write(HEADER)

    def write(self, count: int) -> None:
        rows = range(self.written, self.written + count)
        text = "".join(f"{BASE_MS + n},{n}\n" for n in rows)
        for part in (text[:-4], text[-4:]):
            self._file.write(part)
            self._file.flush()
        self.written += count
        if self.written % ROTATED_EVERY == 0:
            self._rotate()

    def _rotate(self) -> None:
        self._rotations += 1
        for number in range(self._rotations - 1, 0, -1):
            self._named(number).rename(self._named(number + 1))
        self.path.rename(self._named(1))
        self._file.close()
        self._file = self.path.open("w", encoding="utf-8")
        self._file.write(HEADER)

    def _named(self, number: int) -> Path:
        return self.path.with_name(f"{self.path.name}.{number}")

    def close(self) -> None:
        self._file.close()
