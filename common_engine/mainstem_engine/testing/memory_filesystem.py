"""Files in memory: a directory that costs nothing, can be copied, and forgets what was not synced.

1. Names and contents are what a process sees. ``power_cut`` leaves of each file what was synced;
   names themselves are kept (another twin, crash_states, looks into what a cut does to them).
2. ``copy`` is a backup or a clone: later changes of one do not show in the other.

Not for several threads at once, but for what an engine does on threads of its own one at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mainstem_engine.filesystem import (
    AppendFile,
    Buffer,
    FileLock,
    Filesystem,
    MappedFile,
    ReadFile,
    byte_view,
)


class _File:
    """Content, and how much of it is on disk."""

    __slots__ = ("data", "synced")

    def __init__(self, data: bytearray, synced: int = 0) -> None:
        self.data = data
        self.synced = synced


class MemoryFilesystem(Filesystem):
    """See the module. Paths are only names."""

    def __init__(self) -> None:
        self._files: dict[str, _File] = {}

    def copy(self) -> MemoryFilesystem:
        """Everything as it is now."""
        other = MemoryFilesystem()
        other._files = {
            path: _File(bytearray(file.data), file.synced) for path, file in self._files.items()
        }
        return other

    def power_cut(self) -> None:
        """What was written and not synced is gone."""
        for file in self._files.values():
            del file.data[file.synced :]

    def create(self, path: Path, *, mode: int = 0o644) -> AppendFile:
        del mode
        name = str(path)
        if name in self._files:
            raise FileExistsError(name)
        file = self._files[name] = _File(bytearray())
        return _MemoryAppendFile(path, file)

    def open_append(self, path: Path) -> AppendFile:
        return _MemoryAppendFile(path, self._file(path))

    def open_read(self, path: Path) -> ReadFile:
        return _MemoryReadFile(path, self._file(path))

    def read(self, path: Path) -> bytes:
        return bytes(self._file(path).data)

    def map(self, path: Path) -> MappedFile:
        # A copy: a bytearray that somebody looks into cannot grow.
        return _MemoryMappedFile(path, bytes(self._file(path).data))

    def rename(self, source: Path, target: Path) -> None:
        file = self._file(source)
        del self._files[str(source)]
        self._files[str(target)] = file

    def link(self, source: Path, target: Path) -> bool:
        if str(target) in self._files:
            raise FileExistsError(str(target))
        self._files[str(target)] = self._file(source)
        return True

    def unlink(self, path: Path) -> None:
        self._files.pop(str(path), None)

    def make_directory(self, path: Path) -> None:
        """A directory is the beginning of a name."""

    def sync_directory(self, path: Path) -> None:
        """Names are kept as they are."""

    def list(self, path: Path) -> list[str]:
        inside = f"{path}/"
        names = {
            name[len(inside) :].partition("/")[0] for name in self._files if name.startswith(inside)
        }
        return sorted(names)

    def size(self, path: Path) -> int:
        return len(self._file(path).data)

    def lock(self, path: Path, *, url: str | None = None) -> FileLock:
        del url
        return _NoLock(path, -1)

    def lock_shared(self, path: Path) -> FileLock | None:
        return _NoLock(path, -1)

    def _file(self, path: Path) -> _File:
        try:
            return self._files[str(path)]
        except KeyError:
            raise FileNotFoundError(str(path)) from None


class _MemoryAppendFile(AppendFile):
    __slots__ = ("_file",)

    def __init__(self, path: Path, file: _File) -> None:
        super().__init__(path, -1)
        self._file = file

    def write(self, buffers: Sequence[Buffer]) -> int:
        before = len(self._file.data)
        for buffer in buffers:
            self._file.data += byte_view(buffer)
        return len(self._file.data) - before

    def sync(self) -> None:
        self._file.synced = len(self._file.data)

    def truncate(self, size: int) -> None:
        del self._file.data[size:]
        self._file.synced = min(self._file.synced, size)

    def size(self) -> int:
        return len(self._file.data)


class _MemoryReadFile(ReadFile):
    __slots__ = ("_file",)

    def __init__(self, path: Path, file: _File) -> None:
        super().__init__(path, -1)
        self._file = file

    def read_at(self, offset: int, size: int) -> bytes:
        return bytes(self._file.data[offset : offset + size])

    def size(self) -> int:
        return len(self._file.data)


class _MemoryMappedFile(MappedFile):
    __slots__ = ()

    def __init__(self, path: Path, data: bytes) -> None:
        super().__init__(path, None)
        self.view = memoryview(data)


class _NoLock(FileLock):
    """Whoever has the object has the files."""

    __slots__ = ()

    def announce(self, url: str | None) -> None:
        del url
