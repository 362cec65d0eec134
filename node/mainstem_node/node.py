"""What every tier is: engine, federation, server and jobs, started in order and stopped in reverse.

Start:
 1. Credentials: the data directory, API tokens, the children's registry, the link token.
 2. Engine and federation: the log is replayed; what the configuration declares is created.
 3. Server: from now on the node answers.
 4. Orders that were left at the last stop. Uplink: deliver to the parent, take its orders.
 5. Jobs: rollups, manifests and verification once a second; the watchdog over the event loop.
 6. Intake of the tier: collectors.
Stop: the other way round. Nothing is acknowledged before it is durable, so a stop that is cut off
costs nothing but the time of a replay.

A tier derives from ``Node`` and overrides the methods under "For tiers".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from aiohttp import web

from mainstem_engine.consumers import LogConsumer
from mainstem_engine.engine import Engine
from mainstem_engine.options import VNODES_MAX, EngineOptions
from mainstem_engine.rollup import Rollups
from mainstem_node.alarms import AlarmDesk
from mainstem_node.alarms.action import AlarmAck
from mainstem_node.announce import announce
from mainstem_node.api import ROUTES
from mainstem_node.api.route import Route
from mainstem_node.audit import AuditTrail
from mainstem_node.auth import (
    LINK,
    Authenticator,
    TokenStore,
    ensure_admin_token,
    prepare_data_dir,
    require_link_token,
)
from mainstem_node.auto_templates import AutoTemplates
from mainstem_node.binding import bound_receiver
from mainstem_node.commanding.action import Action
from mainstem_node.config.schema import NodeConfig, Topology
from mainstem_node.config.sql_share import sql_share
from mainstem_node.declare import declare, rollup_definitions, table_lateness_ns
from mainstem_node.declared import DeclaredBefore
from mainstem_node.desired.agent import Host
from mainstem_node.disk_room import DiskRoom
from mainstem_node.doctor.finding import Finding
from mainstem_node.errors import CredentialError, TierError, UnauthorizedError
from mainstem_node.federated.kept_answers import KeptAnswers
from mainstem_node.federated.runner import QuestionRunner
from mainstem_node.inbox import Adoption, Inbox, InboxBook, Kept
from mainstem_node.jobs import Jobs, watch_loop
from mainstem_node.line_protocol.storing import LineStore
from mainstem_node.link_budget import link_budget
from mainstem_node.listings import node_listings
from mainstem_node.live import LiveHub
from mainstem_node.logs import fields
from mainstem_node.metrics import NodeMetrics
from mainstem_node.orders import NodeOrders
from mainstem_node.ownership import Ownership
from mainstem_node.posted_rules import NoRules, PostedRules
from mainstem_node.reconfiguring import exports_of, reconfigure
from mainstem_node.registry import ENROLLED, NodeRegistry
from mainstem_node.runtime import Runtime
from mainstem_node.server import Server, build_application
from mainstem_node.service_manager import Progress
from mainstem_node.statements import Statements
from mainstem_node.status import StatusReporter
from mainstem_node.tolerant_writing import TolerantWriter
from mainstem_node.uplinks import start_uplinks
from mainstem_node.workers import Workers
from mainstem_node.writing import Writer
from mainstem_sync import Child, Federation
from mainstem_sync.http.down_server import down_routes
from mainstem_sync.http.server import sync_routes

log = logging.getLogger("mainstem.node")

QUARANTINE_BYTES_DEFAULT = 200_000_000
QUARANTINE_BYTES_MIN = 4 << 20
"""What was refused must not fill the disk; below the minimum nobody could look at anything."""
LOG_BYTES_DEFAULT = 1 << 30
LOG_BYTES_MIN = 256 << 20
"""Hours of a busy edge; without a limit of the disk a day or two."""
MAINTENANCE_PERIOD_S = 1.0
"""How often rollups, manifests and verification look for work."""


class Node:
    """One running node. See the module for the order of things."""

    def __init__(
        self,
        topology: Topology,
        node_config: NodeConfig,
        *,
        base_dir: Path | None = None,
        host: Host | None = None,
    ) -> None:
        self.topology = topology
        self.config = node_config
        self.base_dir = base_dir or topology.base_dir
        self._host = host
        self.metrics = NodeMetrics()
        self.ownership = Ownership(node_config.id, node_config.paths)
        self._kept_answers = KeptAnswers()
        self._progress = Progress()
        self._stack = contextlib.AsyncExitStack()
        self._intake_running = False
        self._failed = asyncio.Event()
        self._ready = False

    # For tiers

    async def start_intake(self) -> None:
        """Start what brings data in. Everything else runs already."""

    async def stop_intake(self) -> None:
        """Stop it once what was taken is stored. May be called twice."""

    async def refit_intake(self) -> None:
        """The configuration is another one: go on bringing data in by it. Raises when that cannot
        be."""

    def readmit(self, adoption: Adoption, rows: Sequence[Kept]) -> bool:
        """Stores rows that its intake kept of a device that is there now (inbox.py); False if they
        are not of its intake."""
        return False

    def posted_rules(self) -> PostedRules:
        """What rows are held to that programs send. Called once, when the engine is open."""
        return NoRules(self.engine)

    def frontier_ns(self) -> int:
        """Event time that every source has passed: windows and slices before it may close."""
        return self.clock_ns()

    def consumers(self) -> Sequence[LogConsumer]:
        """Further followers of the log, given to the engine before it opens."""
        return ()

    def routes(self) -> Sequence[Route]:
        """Further HTTP routes."""
        return ()

    def status_fields(self) -> Mapping[str, Any]:
        """Further fields of the status object."""
        return {}

    def not_ready(self) -> list[str]:
        """Why the tier is not ready; empty when it is."""
        return []

    def stuck(self) -> str:
        """What stands still although work waits for it; empty while all is well. A log that has
        failed is not stuck: it says why, and the same disk would fail it again."""
        if not self._ready:
            return ""
        log_now = self.engine.log.statistics()
        waits = log_now.error is None and log_now.appended_lsn > log_now.committed_lsn
        return "committer" if self._progress.stuck("log", waits, log_now.committed_lsn) else ""

    def lacked_room(self) -> bool:
        """True if the log has failed because the disk was full."""
        return self._ready and self.engine.log.lacked_room

    @classmethod
    def examine(cls, topology: Topology, config: NodeConfig) -> Iterable[Finding]:
        """What the tier looks at for ``mainstem doctor``; the node need not run."""
        return ()

    def actions(self) -> Sequence[Action]:
        """What the tier can do for commands; asked once, before the intake starts."""
        return ()

    def missing_sources(self) -> Mapping[str, Sequence[str]]:
        """Per table the devices that are expected and silent."""
        return {}

    def table_frontiers(self) -> Mapping[str, int]:
        """Per table the event time in ns up to which its sources have come, where one is late."""
        return {}

    def collector_gaps(self) -> Mapping[str, Sequence[tuple[int, int]]]:
        """Per table [from, to) ns in which a collector was not connected."""
        return {}

    # Life

    def clock_ns(self) -> int:
        """The wall clock."""
        return time.time_ns()

    async def start(self) -> None:
        """Returns when the node is ready. Raises with a remedy when it cannot be."""
        started = time.monotonic()
        self._credentials()
        await self._open_engine()
        await self._start_server()
        await self._start_orders()
        self._start_uplink()
        self._start_jobs()
        self._stack.push_async_callback(self._stop_intake)
        self._intake_running = True
        await self.start_intake()
        self._ready = True
        announce(self.config, port=self.port, seconds=time.monotonic() - started)

    async def stop(self) -> None:
        """Stops everything that was started, in reverse. May be called after a failed start."""
        self._ready = False
        await self._stack.aclose()
        log.info("stopped", extra=fields(node=self.config.id))

    async def reconfigure(self, topology: Topology) -> None:
        """Goes on with a configuration that takes no start (reconfiguring.py). What it raises may
        leave a part done: the node has to be started with the one before."""
        config = topology.node(self.config.id)
        await self._maintenance.run(
            reconfigure, topology, config, self.engine, self.rollups, self.federation
        )
        self.topology, self.config = topology, config
        self.runtime.topology, self.runtime.config = topology, config
        await asyncio.to_thread(self._learn_owners)
        await self.refit_intake()

    async def wait_failed(self) -> None:
        """Returns when the node cannot go on. A failed log is not such a case: reads go on."""
        await self._failed.wait()

    @property
    def port(self) -> int:
        """The port that the server listens on."""
        return self._server.port

    # Steps of the start

    def _credentials(self) -> None:
        config = self.config
        prepare_data_dir(config.data_dir)
        tokens = TokenStore(config.data_dir)
        self.registry = NodeRegistry(config.data_dir)
        self.audit = AuditTrail(config.data_dir, clock_ns=self.clock_ns)
        self._stack.callback(self.audit.close)
        made = ensure_admin_token(config.data_dir, tokens)
        if made is not None:
            log.info("made the admin token", extra=fields(node=config.id, file=str(made)))
        if not tokens.has_admin:
            raise CredentialError(f"{config.id} has no admin token", hint="remove tokens.json")
        self.authenticator = Authenticator(tokens, self.registry, loopback_open=config.auth_open)
        if config.parent is not None:
            require_link_token(self.topology, config.id)
        self._learn_owners()
        self.inbox_book = InboxBook(config.data_dir, self.clock_ns)
        self._stack.callback(self.inbox_book.keep)

    def _learn_owners(self) -> None:
        own, entries = self.config.id, self.registry.list()
        self.ownership.begin_anew(
            [(other.id, other.paths) for other in self.topology.nodes if other.id != own]
            + [(entry.id, entry.paths) for entry in entries]
        )

    def _unheard(self) -> list[str]:
        """Children that may send, and of which nothing has ever come."""
        enrolled = [each.id for each in self.registry.list() if each.state == ENROLLED]
        heard = self.federation.origin_names() if enrolled else set()
        return [name for name in enrolled if name not in heard]

    async def _open_engine(self) -> None:
        config = self.config
        self.rollups = Rollups(rollup_definitions(config))
        self.federation = Federation(
            node=config.id,
            paths=config.paths,
            exports=exports_of(config),
            parent=config.parent is not None,
            data_dir=config.data_dir,
            hold=config.hold,
            table_lateness_ns=table_lateness_ns(config),
            quarantine_bytes_max=quarantine_bytes_max(config),
            log_bytes_max=log_bytes_max(config),
            budget=link_budget(config.link, self.clock_ns),
            clock_ns=self.clock_ns,
        )
        self.federation.retired = self.registry.retired_ns
        self._stack.callback(self.federation.close)
        options = EngineOptions(
            durability=config.storage.durability,
            memory_limit_bytes=config.storage.memory_limit,
            flush_every_ns=config.storage.flush_every,
            flush_bytes=config.storage.flush_bytes,
            vnodes=config.storage.vnodes or default_vnodes(config.tier),
            node_name=config.id,
            clock=self.clock_ns,
        )
        consumers = (*self.federation.consumers, self.rollups, *self.consumers())
        self.engine = await asyncio.to_thread(
            Engine.open, config.data_dir, options, consumers=consumers, owner_url=config.url
        )
        self._stack.push_async_callback(asyncio.to_thread, self.engine.close)
        await asyncio.to_thread(self._bind_engine)

    def _bind_engine(self) -> None:
        self.federation.bind(self.engine)
        self.ownership.follow(self.federation.moving.moves, self.engine.catalog.devices)
        self.rollups.bind(self.engine)
        self._disk_room = DiskRoom(
            self.engine,
            self.config.disk.limit,
            rejects=self.config.disk.when_full == "reject",
            more_bytes=lambda: self.federation.quarantine.statistics().bytes,
        )
        before = DeclaredBefore(self.config.data_dir)
        declare(self.engine, self.topology, self.config, before)

    async def _start_server(self) -> None:
        config = self.config
        self._io_workers = self._workers("io", threads=4, waiting_max=64)
        self._write_workers = self._workers("write", threads=8, waiting_max=32)
        # Who has a process has a thread too, and one is left for those that are about to end.
        sql = sql_share(config)
        self._sql_workers = self._workers("sql", threads=sql.processes + 1, waiting_max=32)
        self._maintenance = self._workers("maintenance", threads=1, waiting_max=1)
        self.alarms = AlarmDesk(self.engine, self.clock_ns)
        self._reporter = StatusReporter(
            config,
            self.engine,
            self.federation,
            more=lambda: {
                "sql": self._statements.status(),
                "disk": self._disk_room.to_status(),
                "rule_alarms": self.alarms.counts(),
                "config_rev": self._config_rev(),
                **self.status_fields(),
            },
            clock_ns=self.clock_ns,
        )
        self.federation.status = self._reporter.build
        listings = node_listings(
            status=self._reporter.build,
            federation=self.federation,
            rollups=self.rollups,
            jobs=lambda: self.jobs.statistics(),
        )
        rules = self.posted_rules()
        statements = Statements(
            self.engine, self.federation, self.ownership, listings, sql, self._kept_answers,
            self._unheard, rules,
        )  # fmt: skip
        self._statements = statements
        self._stack.push_async_callback(asyncio.to_thread, statements.close)
        live = LiveHub(self._reporter.build, self.engine.last_rows, self._io_workers)
        writer = Writer(
            self.engine,
            self.federation,
            self.ownership,
            node=config.id,
            new_devices_per_minute=config.intake.max_new_devices_per_minute,
            clock_ns=self.clock_ns,
            rules=rules,
        )
        self.auto_templates = AutoTemplates(self.engine)
        self.runtime = Runtime(
            topology=self.topology,
            config=config,
            engine=self.engine,
            federation=self.federation,
            authenticator=self.authenticator,
            ownership=self.ownership,
            metrics=self.metrics,
            statements=statements,
            writer=writer,
            lines=LineStore(TolerantWriter(writer), self.auto_templates),
            inbox=Inbox(writer, self.inbox_book, config.prefix, self.readmit),
            live=live,
            alarms=self.alarms,
            audit=self.audit,
            host=self._host,
            status=self._reporter.build,
            not_ready=self._not_ready,
            stop_intake=self._stop_intake,
            io_workers=self._io_workers,
            write_workers=self._write_workers,
            sql_workers=self._sql_workers,
            clock_ns=self.clock_ns,
        )
        application = build_application(
            self.runtime,
            (*ROUTES, *self.routes()),
            [
                *sync_routes(bound_receiver(self.federation.receiver, self.registry), self._child),
                *down_routes(self.federation.down.giver, self._child),
            ],
        )
        self._server = Server(application, config.listen, config.tls)
        self._stack.push_async_callback(self._server.stop)
        await self._server.start()
        self._stack.push_async_callback(live.close)  # open streams would hold up the server
        self._stack.callback(self.federation.down.giver.close)  # and so would children that wait

    def _workers(self, name: str, *, threads: int, waiting_max: int) -> Workers:
        workers = Workers(name, threads=threads, waiting_max=waiting_max)
        self._stack.push_async_callback(workers.close)
        return workers

    async def _child(self, request: web.Request) -> Child:
        """The child of a request of the federation protocol; always by its link token."""
        header = request.headers.get("Authorization", "")
        caller = self.authenticator.principal(header, request.remote, None)
        if caller is None or caller.role != LINK:
            raise UnauthorizedError(
                "no link credential of this node",
                hint="enrol at the parent: mainstem node add ID --path PATH",
            )
        return Child(caller.name, caller.paths or None)

    async def _start_orders(self) -> None:
        orders = NodeOrders(
            self.config,
            self.engine,
            self.federation,
            self._statements,
            self.registry,
            self.audit,
            actions=(*self.actions(), AlarmAck(self.alarms)),
            host=self._host,
            clock_ns=self.clock_ns,
        )
        self._stack.push_async_callback(asyncio.to_thread, orders.stop)
        await asyncio.to_thread(orders.open)
        self.questions = QuestionRunner(
            self.engine, self.federation, sql_share(self.config), kept=self._kept_answers
        )
        self._stack.push_async_callback(asyncio.to_thread, self.questions.close)
        if self.config.parent is not None:
            self.questions.open()

    def _config_rev(self) -> int:
        current = None if self._host is None else self._host.revisions.current
        return 0 if current is None else current.rev

    def _start_uplink(self) -> None:
        parent = self.config.parent
        if parent is None or self.federation.sender is None:
            return
        stop = start_uplinks(
            self.topology, self.config.id, parent, self.federation, self.federation.sender
        )
        self._stack.push_async_callback(stop)

    def _start_jobs(self) -> None:
        self.jobs = Jobs()
        self._stack.push_async_callback(self.jobs.stop)
        self.metrics.follow(self._snapshot)
        self.jobs.add("maintenance", MAINTENANCE_PERIOD_S, self._maintain)
        watchdog = asyncio.get_running_loop().create_task(
            watch_loop(self.metrics.observe_lag), name="watchdog"
        )
        self._stack.callback(watchdog.cancel)

    async def _maintain(self) -> None:
        await self._maintenance.run(self._maintain_now)

    def _maintain_now(self) -> None:
        """Room on the disk first, then rows of devices that were moved away. Rollups: their rows
        are part of what the manifests state."""
        self._disk_room.look()
        self.inbox_book.keep()
        self.federation.moving.look()
        now_ns = self.clock_ns()
        frontier_ns = self.frontier_ns()
        self.rollups.run(frontier_ns, now_ns)
        self.federation.run_manifests(
            frontier_ns,
            now_ns,
            missing_sources=self.missing_sources(),
            collector_gaps=self.collector_gaps(),
            table_frontiers=self.table_frontiers(),
        )
        self.federation.run_verification(now_ns)

    async def _stop_intake(self) -> None:
        if not self._intake_running:
            return
        self._intake_running = False
        await self.stop_intake()

    # What others ask

    def _not_ready(self) -> list[str]:
        reasons = [] if self._ready else ["the node is starting or stopping"]
        error = self._reporter.log_error()
        if error is not None:
            reasons.append(f"the log failed: {error}")
        stuck = self.stuck()
        if stuck:
            reasons.append(f"the {stuck} stands still: start the node again")
        return reasons + self.not_ready()

    def _snapshot(self) -> Mapping[str, Any]:
        statistics = self.engine.statistics()
        pools = (self._io_workers, self._write_workers, self._sql_workers, self._maintenance)
        return {
            "status": self._reporter.build(),
            "store": {
                name: value
                for name, value in asdict(statistics).items()
                if isinstance(value, int | float)
            },
            "workers": {pool.name: pool.statistics().busy for pool in pools},
            "jobs": {job.name: job.failures for job in self.jobs.statistics()},
        }


def quarantine_bytes_max(config: NodeConfig) -> int:
    """A hundredth of the disk that the node may use, and never too little to be of use."""
    if config.disk.limit is None:
        return QUARANTINE_BYTES_DEFAULT
    return max(QUARANTINE_BYTES_MIN, config.disk.limit // 100)


def log_bytes_max(config: NodeConfig) -> int:
    """How large the log may become while the parent is away; what is older goes up as slices. A
    tenth of the disk that the node may use, and never so little that a hiccup needs slices."""
    if config.disk.limit is None:
        return LOG_BYTES_DEFAULT
    return max(LOG_BYTES_MIN, config.disk.limit // 10)


def tier_class(tier: str) -> type[Node]:
    """The class of a tier: of the package that has its name, else of the installed package that
    registers it. Raises TierError."""
    own = f"mainstem_{tier}"
    if tier.isidentifier() and find_spec(own) is not None:
        named: type[Node] = resolve_name(f"{own}.node:{tier.capitalize()}Node")
        return named
    # Reading what is installed takes a megabyte, which a node would keep: only for other tiers.
    from importlib.metadata import entry_points

    found = {entry.name: entry for entry in entry_points(group="mainstem.tiers")}
    if tier not in found:
        raise TierError(
            f"no installed package provides the tier {tier!r}",
            hint=f"installed are {', '.join(sorted(found)) or 'none'}",
        )
    loaded: type[Node] = found[tier].load()
    return loaded


def default_vnodes(tier: str) -> int:
    """One shard at an edge, where memory is short; elsewhere one per core."""
    return 1 if tier == "edge" else min(os.cpu_count() or 1, VNODES_MAX)
