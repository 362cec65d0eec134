"""What a sender has to post now, asked as the HTTP client asks."""

from __future__ import annotations

from mainstem_sync.sending.flight import Lane
from mainstem_sync.sending.sender import Sender
from simulated.tier import Due


def due(sender: Sender) -> Due:
    """Of both lanes, until they have nothing more."""
    requests = []
    for lane in Lane:
        while (request := sender.next_request(lane)) is not None:
            requests.append(request)
    wait_s = sender.wait_s(Lane.LIVE)
    if sender.is_behind:
        wait_s = min(wait_s, sender.wait_s(Lane.HISTORY))
    return Due(requests, wait_s, sender.gathers_s())
