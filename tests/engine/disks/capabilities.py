"""What this machine offers to tests that need a real kernel, and what is missing in words.

1. Each capability is looked for once, by trying it or by reading what the kernel says.
2. ``require`` skips the test with the reason when one is missing.
3. In continuous integration (``MAINSTEM_CI=1``) it fails instead where the capability should have
   been there: a program of a Debian package that ``.ci/run`` installs, for who may use it. A test
   that is skipped for ever proves nothing.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

CAP_SYS_ADMIN = 21
"""Its bit in CapEff; linux/capability.h."""
TRY_S = 20
"""A command that only tries something; far more than it takes on a busy machine."""


@dataclass(frozen=True, slots=True)
class Missing:
    """Why a capability is not there. ``expected``: it must be there in continuous integration."""

    reason: str
    expected: bool = False


def on_linux() -> Missing | None:
    """The system calls that the tests name."""
    return None if sys.platform == "linux" else Missing(f"{sys.platform} is not Linux")


def administrator() -> Missing | None:
    """May mount file systems."""
    missing = on_linux()
    if missing is not None:
        return missing
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "CapEff" and int(value, 16) >> CAP_SYS_ADMIN & 1:
            return None
    return Missing("CAP_SYS_ADMIN is missing (not root, or a container without it)")


def strace() -> Missing | None:
    """The program, and a kernel that lets it attach."""
    missing = on_linux() or _program("strace", "strace")
    if missing is not None:
        return missing
    command = ["strace", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e"]
    tried = subprocess.run(
        [*command, "inject=fsync:error=EIO:when=1", "true"],
        capture_output=True,
        text=True,
        timeout=TRY_S,
        check=False,
    )
    if tried.returncode == 0:
        return None
    return Missing(f"strace may not trace here: {tried.stderr.strip()[:200]}")


def loop_disks() -> Missing | None:
    """Disk images may be mounted through loop devices."""
    missing = administrator()
    if missing is not None:
        return missing
    if not Path("/dev/loop-control").exists():
        return Missing("/dev/loop-control is missing: the kernel has no loop devices")
    return None


def ext4() -> Missing | None:
    """Loop-mounted ext4."""
    return loop_disks() or _listed("ext4") or _program("mkfs.ext4", "e2fsprogs")


def xfs() -> Missing | None:
    """Loop-mounted XFS. Not among what continuous integration installs."""
    missing = loop_disks() or _listed("xfs")
    if missing is not None or _find("mkfs.xfs"):
        return missing
    return Missing("mkfs.xfs is missing (Debian: xfsprogs)")


def tmpfs() -> Missing | None:
    """A file system in memory of a given size."""
    return administrator() or _listed("tmpfs")


CAPABILITIES: tuple[Callable[[], Missing | None], ...] = (
    on_linux, administrator, strace, loop_disks, ext4, xfs, tmpfs,
)  # fmt: skip


def require(*capabilities: Callable[[], Missing | None]) -> None:
    """Returns when all are there; else skips the test, or fails it where CI should have them."""
    for capability in capabilities:
        missing = found(capability)
        if missing is not None:
            refuse(missing, in_ci=os.environ.get("MAINSTEM_CI") == "1")


def refuse(missing: Missing, *, in_ci: bool) -> None:
    """Ends the test: what is missing must not be in continuous integration, or may be."""
    if missing.expected and in_ci:
        pytest.fail(f"continuous integration must have this: {missing.reason}")
    pytest.skip(missing.reason)


@functools.cache
def found(capability: Callable[[], Missing | None]) -> Missing | None:
    """What is missing for a capability; looked for once."""
    return capability()


def _listed(filesystem: str) -> Missing | None:
    """A file system that the kernel does not list may still come as a module with the mount."""
    names = {line.split()[-1] for line in Path("/proc/filesystems").read_text().splitlines()}
    if filesystem in names:
        return None
    tried = subprocess.run(
        ["modprobe", filesystem], capture_output=True, timeout=TRY_S, check=False
    ) if _find("modprobe") else None  # fmt: skip
    if tried is not None and tried.returncode == 0:
        return None
    return Missing(f"the kernel does not list {filesystem} in /proc/filesystems")


def _program(name: str, package: str) -> Missing | None:
    if _find(name):
        return None
    return Missing(f"{name} is missing (Debian: {package})", expected=True)


def _find(name: str) -> str | None:
    """Also where only root's path leads."""
    return shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
