"""A filter of system calls for a process that only computes: no network, no programs, no tracing.

1. Calls that open sockets, start programs or processes, look into other processes, change mounts
   or reach the kernel by a way around these rules fail with EPERM. Threads may be started.
2. What is not named here goes through: files are Landlock's affair (confinement.py), and a list of
   all that three libraries need would break with each of their releases.
3. The filter is for the machine's own calls; those of another architecture end the process.

Numbers are those of Linux's tables for x86_64 and aarch64; elsewhere there is no filter. The
programme is classic BPF as seccomp(2) defines it.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct
from dataclasses import dataclass

PR_SET_SECCOMP = 22
_MODE_FILTER = 2
_ALLOW = 0x7FFF0000
_KILL_PROCESS = 0x80000000
_ERRNO = 0x00050000
_LOAD, _EQUAL, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
"""Offsets in seccomp_data; arguments are 64 bits wide, flags of clone are in the lower half."""
_CLONE_THREAD = 0x10000
_X32_FROM = 0x40000000
"""On x86_64 numbers from here on belong to the x32 interface: the same calls under other names."""

_INSTRUCTION = struct.Struct("=HBBI")


@dataclass(frozen=True, slots=True)
class Architecture:
    """``audit``: the kernel's constant; ``refused``: numbers that fail; the others are looked at
    by themselves."""

    audit: int
    clone: int
    clone3: int
    refused: tuple[int, ...]


ARCHITECTURES = {
    # socket socketpair, fork vfork execve execveat, kill ptrace process_vm_readv process_vm_writev
    # pidfd_getfd, mount umount2 chroot unshare setns open_by_handle_at, bpf io_uring_setup
    # userfaultfd perf_event_open, add_key request_key keyctl
    "x86_64": Architecture(
        audit=0xC000003E,
        clone=56,
        clone3=435,
        refused=(
            *(41, 53, 57, 58, 59, 322, 62, 101, 310, 311, 438),
            *(165, 166, 161, 272, 308, 304, 321, 425, 323, 298, 248, 249, 250),
        ),
    ),
    # The same; fork and vfork do not exist there.
    "aarch64": Architecture(
        audit=0xC00000B7,
        clone=220,
        clone3=435,
        refused=(
            *(198, 199, 221, 281, 129, 117, 270, 271, 438),
            *(40, 39, 51, 97, 268, 265, 280, 425, 282, 241, 217, 218, 219),
        ),
    ),
}


def filter_program(machine: Architecture) -> bytes:
    """The instructions, eight bytes each."""
    refuse = _ERRNO | errno.EPERM
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, machine.audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32_FROM),
        (_RETURN, 0, 0, refuse),
    ]
    for number in machine.refused:
        code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, refuse)]
    # The flags of clone3 lie in memory, where a filter cannot look: the C library then takes clone.
    code += [(_EQUAL, 0, 1, machine.clone3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    code += [
        (_EQUAL, 0, 3, machine.clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_HAS_BITS, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, refuse),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(_INSTRUCTION.pack(*instruction) for instruction in code)


class _FilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))


def refuse_system_calls(libc: ctypes.CDLL) -> str:
    """Puts the filter on this thread and all that it starts. Needs no-new-privileges before.

    Returns ``"on"``, or why there is none.
    """
    machine = ARCHITECTURES.get(platform.machine())
    if machine is None:
        return f"no table for {platform.machine()}"
    code = filter_program(machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = _FilterProgram(len(code) // _INSTRUCTION.size, ctypes.addressof(buffer))
    if libc.prctl(PR_SET_SECCOMP, _MODE_FILTER, ctypes.byref(program), 0, 0) != 0:
        return f"not in this kernel ({errno.errorcode.get(ctypes.get_errno(), 'error')})"
    return "on"
