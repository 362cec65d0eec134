"""The public surface of the package."""

from __future__ import annotations

import mainstem_sync


def test_the_surface_is_what_it_says() -> None:
    assert sorted(mainstem_sync.__all__) == [
        "Child", "Export", "Federation", "QuarantineBlock", "QuarantineItem", "QuarantineStore",
        "Receiver", "Sender",
    ]  # fmt: skip
    for name in mainstem_sync.__all__:
        assert getattr(mainstem_sync, name).__doc__
