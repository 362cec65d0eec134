"""Which node may write what, of devices by their paths and of those that were moved."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mainstem_node.errors import ForbiddenError
from mainstem_node.ownership import NOT_OWNER, Ownership
from mainstem_sync.state.moves import Move, Moves

PATHS = ["root.a.m1", "root.b.m2", "root.a.m3"]
MOVED = [
    Move("root.a.m1", 100, "b", "a", "1", 1, "p"),
    Move("root.b.m2", 100, "a", "b", "2", 1, "p"),
]


class _Devices:
    """A catalog of PATHS, by their places."""

    def __len__(self) -> int:
        return len(PATHS)

    def path(self, device: int) -> str:
        return PATHS[device]

    def lookup_all(self, paths: list[str]) -> Any:
        return np.array([PATHS.index(path) for path in paths], np.uint32)


def ownership(node: str) -> tuple[Ownership, Any]:
    found, moves, devices = Ownership(node, [f"root.{node}"]), Moves(), _Devices()
    for other in "abc":
        found.learn(other, [f"root.{other}"])
    moves.put(MOVED)
    found.follow(moves, devices)  # type: ignore[arg-type]
    return found, devices


@pytest.mark.parametrize(
    ("node", "owns", "writes"),
    [
        ("a", ["root.b.m2", "root.a.m3"], [*PATHS]),
        ("b", ["root.a.m1"], ["root.a.m1", "root.b.m2"]),
        ("c", [], []),
    ],
)
def test_the_last_owner_defines_and_all_owners_write(
    node: str, owns: list[str], writes: list[str]
) -> None:
    found, _ = ownership(node)
    for path in PATHS:
        assert (found.owner(path) == node) == (path in owns)
        assert (found.writer(path) == node) == (path in writes)
        for allowed, require in ((owns, found.require_own), (writes, found.require_writer)):
            if path in allowed:
                require([path])
                continue
            with pytest.raises(ForbiddenError) as refused:
                require([path])
            assert refused.value.code == NOT_OWNER


def test_rows_of_another_owners_time_are_named() -> None:
    found, devices = ownership("a")
    ids = np.array([0, 0, 1, 1, 2], np.uint32)
    times = np.array([99, 100, 99, 100, 100], np.int64)
    outside = found.outside(ids, times)
    assert outside is not None
    assert outside.tolist() == [False, True, True, False, False]
    with pytest.raises(ForbiddenError, match="belongs to node b"):
        found.require_inside(devices, ids, times)
    found.require_inside(devices, ids[~outside], times[~outside])


def test_a_device_is_expected_where_it_is() -> None:
    found, devices = ownership("a")
    assert found.elsewhere(devices, 99).tolist() == [1]
    assert found.elsewhere(devices, 100).tolist() == [0]
    assert Ownership("a", []).elsewhere(devices, 100).tolist() == []
