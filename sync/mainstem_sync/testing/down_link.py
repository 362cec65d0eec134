"""The way down in memory: asks and answers that can be lost, cut and doubled."""

from __future__ import annotations

from mainstem_sync.testing.nodes import TestNode


class DownLink:
    """One child's questions to its parent, without waiting: what is there is answered at once."""

    def __init__(self, child: TestNode, parent: TestNode) -> None:
        self._child = child
        self._parent = parent
        self.up = True
        self.lose_answers = 0
        """So many answers are lost from now on, after the parent gave them."""
        self.asked = 0

    def step(self) -> bool:
        """One exchange; False if none was due."""
        taker = self._child.federation.down.taker if self._child.up else None
        poll = None if taker is None else taker.next_poll()
        if taker is None or poll is None:
            return False
        self.asked += 1
        if not self.up or not self._parent.up:
            taker.failed(poll, "the link is down")
            return True
        answer = self._parent.federation.down.giver.answer(poll.ask)
        if self.lose_answers:
            self.lose_answers -= 1
            taker.failed(poll, "the answer was lost")
            return True
        taker.took(poll, answer.status, answer.body)
        return True
