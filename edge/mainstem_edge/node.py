"""The edge: a node with collectors.

Stopping, in this order: the collectors read nothing more; what was taken is stored and, once
durable, acknowledged; the connections end. The brokers keep the sessions and whatever is left.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_edge.assembly import Assembly, Workbench
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.frontier import CollectorView, Frontier, Gap
from mainstem_edge.intake import Intake
from mainstem_edge.posted import EdgeRules
from mainstem_edge.push_routes import push_routes
from mainstem_edge.readmission import readmit_messages, readmit_rows
from mainstem_edge.sources import held_frontier_ns, silent
from mainstem_engine.consumers import LogConsumer
from mainstem_engine.model import DeviceIds, TimesNs
from mainstem_node.api.route import Route
from mainstem_node.commanding.action import Action
from mainstem_node.config.schema import NodeConfig, Topology
from mainstem_node.doctor.finding import Finding
from mainstem_node.inbox import Adoption, Kept
from mainstem_node.node import Node
from mainstem_node.posted_rules import PostedRules

if TYPE_CHECKING:
    from mainstem_edge.assembly.notices import Couriers
    from mainstem_edge.notices.book import NoticeBook

IDLE_S = 1.0
"""A broker sends what it holds without pauses: a second of nothing means that it holds nothing."""
PATIENCE_S = 30.0
"""How long a stop that was asked for (not a signal) waits for the brokers' queues to be empty."""
DRAIN_S = 4.0
"""For what was taken already. A node has ten seconds in all to stop."""
DISCONNECT_S = 1.5
LATENESS_NS = 30 * 1_000_000_000
"""How far behind now a live row may be, where no rollup says otherwise."""
SILENCE_S = 1.0
"""How often devices are looked for that bring no rows."""
MISSING_MAX = 100
"""Missing devices named per table: more are a line or a broker that is down."""
NS_PER_MS = 1_000_000
_POLL_S = 0.05


class EdgeNode(Node):
    """A node that collects."""

    _intakes: Sequence[Intake] = ()
    _stopped_ns: int | None = None
    _notices: NoticeBook | None = None
    _couriers: Couriers | None = None
    _bench: Workbench | None = None

    async def start_intake(self) -> None:
        """Starts a collector and an intake per broker. The brokers need not be there."""
        self._frontier = Frontier(self._lateness_ns())
        self._frontier_lock = threading.Lock()
        self._stopping = threading.Event()
        bench = self._workbench()
        self._intakes = await asyncio.to_thread(Assembly(bench).intakes)
        self._bench = bench
        if self._notices is not None:  # before there is anything to tell
            await asyncio.to_thread(self._start_couriers, self._notices)
        for intake in self._intakes:
            intake.start()
            intake.collector.start()
        if any(rule.missing is not None for rule in self.config.rules):
            self.jobs.add("silence", SILENCE_S, self._look_for_silence)

    def _start_couriers(self, book: NoticeBook) -> None:
        from mainstem_edge.assembly.notices import Couriers

        couriers = self._couriers = Couriers(self.config, self.engine, book, self.clock_ns)
        self._stack.push_async_callback(asyncio.to_thread, couriers.stop)
        couriers.start()

    async def _look_for_silence(self) -> None:
        await asyncio.to_thread(self._check_alarms)

    def _check_alarms(self) -> None:
        """A row that has arrived and was not read yet is no silence: of that only the time before
        counts."""
        bench = self._bench
        if bench is None or self._stopping.is_set():
            return
        waiting = [intake.oldest_waiting_ns() for intake in self._intakes if not intake.failure]
        now_ns = self.clock_ns()
        behind_ns = max((now_ns - each for each in waiting if each is not None), default=0)
        for table in list(bench.tables.values()):
            table.check_alarms(max(0, behind_ns))

    async def refit_intake(self) -> None:
        """The collectors go on; what they bring is read by the templates and rules of now."""
        if self._intakes:
            await asyncio.to_thread(self._refit)

    def _refit(self) -> None:
        with self._rules.exchange:
            bench = self._workbench()
            for intake, fitting in zip(self._intakes, Assembly(bench).fittings(), strict=True):
                intake.refit(*fitting)
            self._bench = bench
        with self._frontier_lock:
            self._frontier.lateness_ns = self._lateness_ns()

    def _lateness_ns(self) -> int:
        return max((r.lateness for r in self.config.rollups), default=LATENESS_NS)

    def _workbench(self) -> Workbench:
        return Workbench(
            self.topology,
            self.config,
            self.engine,
            self.federation.quarantine,
            owner=self._other_owner,
            outside=self.ownership.outside,
            stopping=self._stopping.is_set,
            clock_ns=self.clock_ns,
            auto_templates=self.auto_templates,
            inbox=self.inbox_book,
        )

    def readmit(self, adoption: Adoption, rows: Sequence[Kept]) -> bool:
        """Rows of its collectors, by the rules of the template."""
        bench = self._bench
        if bench is None:
            return False
        if adoption.is_topic:
            readmit_messages(bench, adoption, rows)
        elif self.inbox_book.has_seen(adoption.table, adoption.name):
            readmit_rows(bench, adoption, rows)
        else:
            return False
        return True

    def _other_owner(self, path: str) -> str | None:
        owner = self.ownership.writer(path)
        return None if owner == self.config.id else owner

    async def stop_intake(self) -> None:
        """Stops the collectors. While the node goes on, first waits for the brokers to be empty."""
        if self._intakes:
            await asyncio.to_thread(self._stop_collectors, PATIENCE_S if self._ready else 0.0)

    def _stop_collectors(self, patience_s: float) -> None:
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline and not all(map(self._is_idle, self._intakes)):
            time.sleep(_POLL_S)
        for intake in self._intakes:
            intake.collector.pause()
        self._stopping.set()
        deadline = time.monotonic() + DRAIN_S
        for intake in self._intakes:
            intake.drain(max(0.0, deadline - time.monotonic()))
        for intake in self._intakes:
            intake.release()
            intake.collector.stop(DISCONNECT_S)

    def _is_idle(self, intake: Intake) -> bool:
        """Nothing waits here, and a source that may hold something has sent nothing for a while."""
        state = intake.collector.state()
        if intake.failure:
            return True
        if not state.source_holds:
            return intake.oldest_waiting_ns() is None
        if state.connected_ns is None or intake.oldest_waiting_ns() is not None:
            return False
        quiet_since = max(state.connected_ns, state.last_arrival_ns or 0)
        return self.clock_ns() - quiet_since >= IDLE_S * 1e9

    # What the base asks for

    @classmethod
    def examine(cls, topology: Topology, config: NodeConfig) -> Iterable[Finding]:
        """The brokers and pages of the collectors, and who is told of alarms: reachable, and the
        credentials right."""
        # Only `mainstem doctor` asks: a node that runs does not hold what looks at things.
        from mainstem_edge.examination import brokers
        from mainstem_edge.notice_examination import receivers
        from mainstem_edge.page_examination import pages

        return itertools.chain(brokers(config), pages(config), receivers(config))

    def consumers(self) -> Sequence[LogConsumer]:
        """What is to be told of alarms, where the file names somebody."""
        if not self.config.notify:
            return ()
        from mainstem_edge.notices.book import NoticeBook

        self._notices = NoticeBook()
        return (self._notices,)

    def actions(self) -> Sequence[Action]:
        """What the configuration allows, and nothing else."""
        if not self.config.actions:
            return ()
        # An action brings its library and its collector: only where the file names one.
        from mainstem_edge.assembly.actions import actions

        return actions(self.config, self._collectors)

    def posted_rules(self) -> PostedRules:
        """The ranges of the templates, and the alarm rules."""
        self._rules = EdgeRules(lambda: self._bench)
        return self._rules

    def routes(self) -> Sequence[Route]:
        """Where devices post."""
        return push_routes(self._collectors)

    def _collectors(self) -> list[Collector]:
        """Those that run now."""
        return [intake.collector for intake in self._intakes]

    def frontier_ns(self) -> int:
        """The event time that every collector has passed; now once they are stopped for good."""
        if not self._intakes:
            return self.clock_ns()
        now_ns = self.clock_ns()
        with self._frontier_lock:
            return self._frontier.advance(now_ns, self._views())

    def _views(self) -> dict[str, CollectorView]:
        """Every collector as the frontier sees it. One that was stopped with nothing left to
        take is out of it: no row can come from there any more."""
        views: dict[str, CollectorView] = {}
        for intake in self._intakes:
            if intake.is_drained:
                continue
            state = intake.collector.state()
            views[intake.collector.name] = CollectorView(
                state.connected_ns,
                state.last_arrival_ns,
                intake.newest_event_ns(state.connection),
                intake.oldest_waiting_ns(),
                state.asks,
            )
        return views

    def status_fields(self) -> Mapping[str, Any]:
        """``collectors``: health of each; ``frontier``: ms, null while it is not known;
        ``notify``: how far each is that is told of alarms, where there is one."""
        frontier_ns = self.frontier_ns() if self._intakes else None
        return {
            "collectors": [intake.status() for intake in self._intakes],
            "frontier": frontier_ns // NS_PER_MS if frontier_ns else None,
            **({} if self._couriers is None else {"notify": self._couriers.status()}),
        }

    def not_ready(self) -> list[str]:
        """Intakes that have failed. A broker that is away does not make the node unready."""
        return [
            f"collector {intake.collector.name}: {intake.failure}"
            for intake in self._intakes
            if intake.failure
        ]

    def stuck(self) -> str:
        """Also an intake that does not get through the oldest of what it has taken, unless that
        waits for a log that goes on slowly."""
        found = [super().stuck()]
        log_now = self.engine.log.statistics()
        commits, owes = log_now.commits, log_now.appended_lsn > log_now.committed_lsn
        for intake in self._intakes:
            oldest_ns = intake.oldest_waiting_ns()
            name = f"intake of {intake.collector.name}"
            waits = oldest_ns is not None and not intake.failure
            if self._progress.stuck(name, waits, oldest_ns, below=commits, below_waits=owes):
                found.append(name)
        return ", ".join(filter(None, found))

    def collector_gaps(self) -> Mapping[str, Sequence[tuple[int, int]]]:
        """Per table [from, to) ns in which a collector that feeds it had not caught up."""
        if not self._intakes:
            return {}
        with self._frontier_lock:
            gaps = self._frontier.gaps(self.clock_ns())
        found: dict[str, list[tuple[int, int]]] = {}
        for intake in self._intakes:
            own = [_span(gap) for gap in gaps if gap.collector == intake.collector.name]
            for table in {name for r in intake.collector.readers for name in r.templates}:
                if own:
                    found.setdefault(table, []).extend(own)
        return found

    def missing_sources(self) -> Mapping[str, Sequence[str]]:
        """Per template with ``expect_every``: devices whose newest row is older than that."""
        found: dict[str, list[str]] = {}
        frontier_ns = self.frontier_ns()
        devices = self.engine.catalog.devices
        for table, expect_every_ns, ids, newest_ns in self._expected():
            places = silent(newest_ns, frontier_ns, expect_every_ns).tolist()
            own = (int(ids[row]) for row in places if not devices.is_foreign(int(ids[row])))
            paths = [devices.path(device) for device in itertools.islice(own, MISSING_MAX)]
            if paths:
                found[table] = paths
        return found

    def table_frontiers(self) -> Mapping[str, int]:
        """Per table, its rollups included, how far the devices have come that it waits for, and
        the pages and registers that do not answer."""
        if not any(not intake.is_drained for intake in self._intakes):
            return {}  # nothing comes any more
        found = self._asked_for()
        for table, expect_every_ns, _, newest_ns in self._expected():
            held_ns = held_frontier_ns(self.clock_ns(), newest_ns, expect_every_ns)
            if held_ns is not None:
                found[table] = min(held_ns, found.get(table, held_ns))
        for other in self.engine.catalog.templates.all():
            source = other.template.rollup_of
            if source is not None and source in found:
                found[other.name] = found[source]
        return found

    def _asked_for(self) -> dict[str, int]:
        """Per table how far those of its collectors have come that ask and get no answer."""
        with self._frontier_lock:
            held = self._frontier.held()
        found: dict[str, int] = {}
        for intake in self._intakes:
            held_ns = held.get(intake.collector.name)
            if held_ns is None or intake.is_drained:
                continue
            for name in {name for reader in intake.collector.readers for name in reader.templates}:
                table = self.engine.catalog.templates.get(name)
                if table is not None:
                    found[table.name] = min(held_ns, found.get(table.name, held_ns))
        return found

    def _expected(self) -> Iterator[tuple[str, int, DeviceIds, TimesNs]]:
        """(table, expect_every in ns, devices, their newest times) of every template that says
        how often its devices speak. A device that was moved is expected where it is."""
        elsewhere = self.ownership.elsewhere(self.engine.catalog.devices, self.clock_ns())
        for name, template in self.topology.templates.items():
            table = self.engine.catalog.templates.get(name)
            if template.expect_every is not None and table is not None:
                ids = self.engine.catalog.devices.of_family(table.family)
                if len(elsewhere):
                    ids = np.setdiff1d(ids, elsewhere)
                yield table.name, template.expect_every, ids, self.engine.newest_times(name, ids)


def _span(gap: Gap) -> tuple[int, int]:
    return gap.start_ns, gap.end_ns
