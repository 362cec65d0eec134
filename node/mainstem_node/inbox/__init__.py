"""The inbox: devices that data speaks of and that are not there, to be adopted or ignored."""

from __future__ import annotations

from mainstem_node.inbox.book import Adopted, InboxBook, Sighting
from mainstem_node.inbox.inbox import Adoption, Inbox, Kept

__all__ = ["Adopted", "Adoption", "Inbox", "InboxBook", "Kept", "Sighting"]
