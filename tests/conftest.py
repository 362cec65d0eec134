"""Property tests repeat themselves and know no clock; the nightly run draws new examples."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    # A busy machine makes generation slow; that is no fault of the test.
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("nightly", settings.get_profile("repeatable"), derandomize=False)
settings.load_profile("nightly" if os.environ.get("MAINSTEM_NIGHTLY") else "repeatable")
