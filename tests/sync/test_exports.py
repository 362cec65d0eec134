"""Export rules and the devices they are limited to."""

from __future__ import annotations

import numpy as np
import pytest

from mainstem_sync.errors import ExportError
from mainstem_sync.state.exports import Export, ExportPolicy, is_below
from mainstem_sync.state.scope import DeviceScope


def test_rules_name_whole_tables() -> None:
    policy = ExportPolicy([Export("Meters"), Export("press", "rollup", "1m")])
    assert policy.sends("meters")
    assert policy.sends("PRESS_1m")
    assert not policy.sends("press")
    assert policy.prefixes("meters") is None
    assert policy.all_prefixes() == set()
    assert policy.fingerprint == ExportPolicy(reversed(policy.exports)).fingerprint
    assert policy.fingerprint != ExportPolicy([Export("meters")]).fingerprint


@pytest.mark.parametrize(("mode", "every"), [("rolled", None), ("raw", "1m"), ("rollup", None)])
def test_a_rule_that_cannot_be_used_says_what_to_write(mode: str, every: str | None) -> None:
    with pytest.raises(ExportError) as caught:
        Export("meters", mode, every)
    assert caught.value.hint


def test_limited_rules_add_up_and_an_unlimited_one_swallows_them() -> None:
    limited = ExportPolicy([Export("m", under="root.a"), Export("m", under="root.b")])
    assert limited.prefixes("m") == ("root.a", "root.b")
    swallowed = ExportPolicy([Export("m", under="root.a"), Export("m")])
    assert swallowed.prefixes("m") is None


def test_paths_are_compared_by_whole_elements() -> None:
    assert is_below("root.a.b", ["root.a"])
    assert is_below("root.a", ["root.a"])
    assert not is_below("root.ab", ["root.a"])
    assert not is_below("root.a", [])


def test_a_scope_follows_the_devices() -> None:
    scope = DeviceScope(ExportPolicy([Export("m", under="root.a"), Export("all")]))
    assert scope.used
    scope.devices([0, 1], ["root.a.x", "root.b.x"], foreign=False)
    scope.devices([5], ["root.a.y"], foreign=True)
    mask = scope.mask("m", np.array([0, 1, 5, 7, -1]))
    assert mask is not None
    assert mask.tolist() == [True, False, True, False, False]
    assert scope.mask("all", np.array([0])) is None
    assert not scope.holds_all("m")
    assert scope.holds_all("m", [0, 5])
    assert scope.holds_all("all")
    assert not DeviceScope(ExportPolicy([Export("all")])).used
