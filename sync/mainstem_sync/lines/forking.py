"""Is this the log that was received before? The decision at HELLO, as a function.

1. What the parent holds, or was told of, is compared with what the child's log says of itself: its
   epoch table, chain points, boots and end.
2. The log is the same if it reaches as far as the parent was ever told, the chain's value at the
   newest point is equal, and so are the starts between that point and what was told. An epoch table
   that goes on from the parent's is taken over; so a restored parent learns what it forgot.
3. Else it is a fork: the log was restored from a backup, rolled back or cloned. Two logs part where
   a copy was started, and a start is a BOOT record. So the fork is the LSN before the first boot
   that only one of the two has, above the greatest point at which they agree; and that point itself
   wherever the boots cannot say it.
4. Values that only the child can look up are asked for first; it may have lost them.

Nothing at or below the fork differs. Above it the LSNs are used again, in a new epoch that neither
side has heard of. Wrong only on the safe side: a fork that is too low costs a second delivery.
"""

from __future__ import annotations

from dataclasses import dataclass

from mainstem_sync.lines.epochs import EpochTable
from mainstem_sync.lines.trail import POINTS_MAX, Trail, lowest_difference


@dataclass(frozen=True, slots=True)
class Claim:
    """What a child says of its log: LSNs [first, durable] can be looked up in it. ``lost``: LSNs
    whose chain value it was asked for and does not know any more."""

    table: EpochTable
    trail: Trail
    first: int
    durable: int
    lost: frozenset[int] = frozenset()

    def could_tell(self, lsn: int) -> bool:
        """True if asking for the chain value at ``lsn`` may bring it."""
        return (
            self.first - 1 <= lsn <= self.durable
            and lsn not in self.trail.points
            and lsn not in self.lost
        )


@dataclass(frozen=True, slots=True)
class Verdict:
    """``ask``: LSNs whose chain value must be seen first. ``fork``: the last LSN that both have,
    None if the log is the same. ``epoch``: the new one, with ``fork`` only. ``adopt``: the child's
    epoch table goes on from the parent's. ``why``: of a fork, in words."""

    ask: tuple[int, ...] = ()
    fork: int | None = None
    epoch: int = 0
    adopt: bool = False
    why: str = ""


def judge(table: EpochTable, trail: Trail, claim: Claim) -> Verdict:
    """``table`` and ``trail``: of the node's line as the parent knows it."""
    goes_on = claim.table.extends(table)
    common = table.common(claim.table)
    told = min(trail.head, common)
    differing = [
        lsn
        for lsn, chain in trail.points.items()
        if lsn <= common and claim.trail.points.get(lsn, chain) != chain
    ]
    if not goes_on:
        why = f"is of epoch {claim.table.current}, and {table.current} was begun after it"
    elif differing:
        why = f"differs at {min(differing)}"
    elif claim.durable < told:
        why = f"ends at {claim.durable}, and {told} was received or announced"
    else:
        top = max((lsn for lsn in trail.points if lsn <= common), default=0)
        if top and claim.could_tell(top):
            return Verdict(ask=(top,))
        agreed = _agreed(trail, claim, common)
        boot = None if agreed >= told else _first_strange_boot(trail, claim.trail, agreed)
        if boot is None or boot > told:
            # Of what is released or damaged nothing can be said, and nothing speaks against it.
            return Verdict(adopt=claim.table != table)
        why = f"was started at {boot} otherwise than was told"
    wanted = [lsn for lsn in sorted(trail.points) if lsn <= common and claim.could_tell(lsn)]
    if wanted:
        return Verdict(ask=tuple(wanted[-POINTS_MAX:]))
    upper = min(common, claim.durable, *(lsn - 1 for lsn in differing))
    fork = _fork(trail, claim, _agreed(trail, claim, upper), upper)
    return Verdict(fork=fork, epoch=max(table.current, claim.table.current) + 1, why=why)


def _agreed(trail: Trail, claim: Claim, upper: int) -> int:
    """The greatest LSN at or below ``upper`` whose chain value is the same on both sides."""
    return max(
        (
            lsn
            for lsn, chain in trail.points.items()
            if lsn <= upper and claim.trail.points.get(lsn) == chain
        ),
        default=0,
    )


def _first_strange_boot(mine: Trail, theirs: Trail, above: int) -> int | None:
    """The first boot above an LSN that only one side knows; None if there is none, or if one side
    does not remember all of them."""
    if above + 1 < max(mine.boots_from, theirs.boots_from):
        return None
    return lowest_difference(mine.boots, theirs.boots, above)


def _fork(trail: Trail, claim: Claim, agreed: int, upper: int) -> int:
    boot = _first_strange_boot(trail, claim.trail, agreed)
    if boot is None or boot - 1 > upper:
        return agreed
    return boot - 1
