"""A file system of its own on a loop device, whose power can be cut.

1. An image file becomes ext4 or XFS and is mounted. ``commit=1000`` keeps ext4 from writing back
   its journal by itself: what nobody synced is not on the disk.
2. ``cut`` is a power cut: from then on nothing reaches the image, and everything that is written
   fails. What the kernel still has in memory goes with the unmounting.
3. ``mount`` again shows what the disk has, after the file system replayed its journal.
4. However a test ends, the mount and the loop device go with it. What a killed test run left, the
   next one takes away, for the directory's name says which process made it.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import re
import shutil
import struct
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20
IMAGE_MIB = 96
"""Room for some lives of a small engine and their backups. The image is sparse."""
XFS_MIB = 320
"""mkfs.xfs makes nothing below 300."""
JOURNAL_MIB = 4
"""The smallest journal that mkfs.ext4 makes."""
COMMIT_S = 1000
"""ext4 writes its journal every so often without being asked; a test is over before."""
EXT4_IOC_SHUTDOWN = 0x8004587D
"""_IOR('X', 125, u32): the same number for ext4, XFS and f2fs."""
SHUTDOWN_WITHOUT_FLUSHING = 2
"""Neither the journal nor data goes to the disk any more."""
COMMAND_S = 60
"""mkfs or an unmounting on a busy disk."""
BUSY_TRIES = 100
BUSY_WAIT_S = 0.05
"""A killed process lets go of its files a moment after it was waited for."""
PREFIX = "mainstem-disk-"


class LoopDisk:
    """See the module. ``path`` is the root of the mounted file system."""

    def __init__(
        self,
        place: Path,
        *,
        kind: str = "ext4",
        size_mib: int = IMAGE_MIB,
        base: Path | None = None,
    ) -> None:
        self.kind = kind
        self.image = (base or place) / "disk.img"
        self.path = place / "mounted"
        self.path.mkdir()
        with self.image.open("wb") as file:
            file.truncate((max(size_mib, XFS_MIB) if kind == "xfs" else size_mib) * MIB)
        if kind == "ext4":
            lazy = "lazy_itable_init=1,lazy_journal_init=1,nodiscard"
            run("mkfs.ext4", "-q", "-F", "-E", lazy, "-J", f"size={JOURNAL_MIB}", self.image)
        else:
            run(f"mkfs.{kind}", "-q", "-f", self.image)

    def mount(self) -> None:
        """Replays the journal, if there is one to replay."""
        options = f"loop,commit={COMMIT_S}" if self.kind == "ext4" else "loop"
        run("mount", "-t", self.kind, "-o", options, self.image, self.path)

    def remount(self, mode: str) -> None:
        """``ro`` or ``rw``."""
        run("mount", "-o", f"remount,{mode}", self.path)

    def unmount(self) -> bool:
        """The loop device goes with the mount. False if somebody holds files: then it goes with
        them, and must not be mounted again."""
        gc.collect()  # an engine of this process that was closed may still map its parts
        for _ in range(BUSY_TRIES):
            # The mount goes at once, XFS lets go of its device a moment later.
            if not os.path.ismount(self.path) and not run("losetup", "-j", self.image):
                return True
            found = subprocess.run(
                ["umount", self.path], capture_output=True, timeout=COMMAND_S, check=False
            )
            if found.returncode:
                threading.Event().wait(BUSY_WAIT_S)
        if os.path.ismount(self.path):
            run("umount", "-l", self.path)
        return False

    def cut(self) -> None:
        """Cuts the power."""
        fd = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            how = struct.pack("I", SHUTDOWN_WITHOUT_FLUSHING)
            fcntl.ioctl(fd, EXT4_IOC_SHUTDOWN, how)
        finally:
            os.close(fd)

    def restart(self) -> None:
        """The power is back: nothing of the kernel's memory is left."""
        assert self.unmount(), f"somebody holds files below {self.path}"
        self.mount()

    def fill(self, leave_bytes: int = 0, *, name: str = "filler") -> Path:
        """Takes the space but for about ``leave_bytes``, as another program's file would."""
        filler = self.path / name
        fd = os.open(filler, os.O_WRONLY | os.O_CREAT)
        try:
            piece = IMAGE_MIB * MIB
            while piece:
                try:
                    os.posix_fallocate(fd, os.fstat(fd).st_size, piece)
                except OSError:
                    piece //= 2
            os.ftruncate(fd, max(0, os.fstat(fd).st_size - leave_bytes))
        finally:
            os.close(fd)
        return filler


@contextlib.contextmanager
def loop_disk(*, kind: str = "ext4", size_mib: int = IMAGE_MIB) -> Iterator[LoopDisk]:
    """A mounted disk in a directory of its own, gone at the end."""
    with own_directory() as place:
        disk = LoopDisk(place, kind=kind, size_mib=size_mib)
        try:
            disk.mount()
            yield disk
        finally:
            disk.unmount()


@contextlib.contextmanager
def failing_disk(*, size_mib: int, memory_mib: int) -> Iterator[LoopDisk]:
    """A disk that loses what it took: its image lies in a memory file system that is too small.

    A write to it works, and the fsync that comes later fails.
    """
    with own_directory() as place:
        memory = place / "memory"
        memory.mkdir()
        run("mount", "-t", "tmpfs", "-o", f"size={memory_mib}m", "tmpfs", memory)
        try:
            disk = LoopDisk(place, size_mib=size_mib, base=memory)
            try:
                disk.mount()
                yield disk
            finally:
                disk.unmount()
        finally:
            run("umount", memory)


@contextlib.contextmanager
def own_directory() -> Iterator[Path]:
    """A directory outside pytest's, which would keep images of earlier runs."""
    take_away_leftovers(Path(tempfile.gettempdir()))
    place = Path(tempfile.mkdtemp(prefix=f"{PREFIX}{os.getpid()}-"))
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)


def take_away_leftovers(directory: Path) -> list[Path]:
    """Unmounts and removes what test runs left that are no more; returns what it removed."""
    removed = []
    for place in directory.glob(f"{PREFIX}*"):
        maker = re.match(rf"{PREFIX}(\d+)-", place.name)
        if maker is None or Path(f"/proc/{maker[1]}").exists():
            continue
        for mounted in mounts_below(place):
            run("umount", "-l", mounted)
        shutil.rmtree(place, ignore_errors=True)
        removed.append(place)
    return removed


def mounts_below(place: Path) -> list[str]:
    """What is mounted in a directory, the inner ones first."""
    points = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return sorted((p for p in points if p.startswith(f"{place}/")), reverse=True)


def run(*command: object) -> str:
    """What the command printed. AssertionError with its complaint if it fails."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=COMMAND_S,
        env={**os.environ, "PATH": path},
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr.strip()}"
    return done.stdout
