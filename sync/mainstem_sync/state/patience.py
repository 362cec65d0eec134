"""How long is waited for the own log to have a record on disk."""

from __future__ import annotations

ACK_TIMEOUT_S = 30.0
"""As long as the other side waits for its answer; it then sends again."""

LOG_TIMEOUT_S = 10.0
"""A log that does not commit for so long will not within the other side's patience either."""
