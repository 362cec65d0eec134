"""Inside the process of a simulated platform or group: one engine, one federation, one pipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgpack

from mainstem_engine import Engine, EngineOptions
from mainstem_node.config.kinds import Listen
from mainstem_node.config.schema import NodeConfig
from mainstem_node.status import StatusReporter
from mainstem_sync import Child, Export, Federation
from mainstem_sync.down.giver import Answer, Ask
from mainstem_sync.receiving.receiver import Submission
from mainstem_sync.sending.session import Request
from mainstem_sync.testing.agenda import START_NS
from mainstem_sync.wire.messages import BATCHES_PATH, HELLO_PATH
from simulated.due import due

TABLE = "telemetry"
MIB = 1 << 20


class Node:
    """What answers the calls of tier.py."""

    def __init__(
        self, name: str, directory: Path, has_parent: bool, paths: list[str], now_s: float
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.now_s = now_s
        self.has_work = False
        self.federation = Federation(
            node=name,
            paths=paths,
            exports=[Export(TABLE)] if has_parent else [],
            parent=has_parent,
            data_dir=directory,
            clock_ns=self.wall_ns,
            monotonic=self.monotonic,
        )
        options = EngineOptions(
            node_name=name,
            clock=self.wall_ns,
            monotonic=lambda: int(self.monotonic() * 1e9),
        )
        self.engine = Engine.open(directory, options, consumers=self.federation.consumers)
        self.federation.bind(self.engine)
        config = NodeConfig(
            id=name,
            tier="platform" if has_parent else "group",
            listen=Listen("127.0.0.1", 1),
            data_dir=directory,
            paths=tuple(paths),
        )
        reporter = StatusReporter(
            config, self.engine, self.federation, more=dict, clock_ns=self.wall_ns
        )
        self.federation.status = reporter.build
        self.under_way: dict[int, Request] = {}
        if self.federation.sender is not None:
            self.federation.sender.on_work = self._on_work

    def wall_ns(self) -> int:
        return START_NS + int(self.now_s * 1e9)

    def monotonic(self) -> float:
        return 1000.0 + self.now_s

    def _on_work(self) -> None:
        self.has_work = True

    # Calls

    def serve(self, items: list[list[Any]]) -> list[list[Any]]:
        """All are begun, then all are waited for: one sync of the log is for as many as it can."""
        receiver = self.federation.receiver
        found: list[list[Any]] = []
        begun: list[tuple[int, Submission]] = []
        for child, path, body, extra in items:
            peer = Child(child, [f"root.site.{child}"] if self.federation.sender else None)
            if path == BATCHES_PATH:
                begun.append((len(found), receiver.submit(peer, body)))
                found.append([])
                continue
            hello = path == HELLO_PATH
            answer = receiver.hello(peer, body) if hello else self._orders(child, *extra)
            found.append([answer.status, answer.body])
        for place, submission in begun:
            for ack in submission.acks:
                ack.wait()
            reply = receiver.reply(submission)
            found[place] = [reply.status, reply.body]
        return found

    def _orders(
        self, child: str, lease: str, uuid: str, epoch: int, lsn: int, ident: str, after: int
    ) -> Answer:
        """A long poll at its end."""
        line = (uuid, epoch) if uuid else None
        giver = self.federation.down.giver
        return giver.answer(Ask(child, lease, line, (lsn, ident), after))

    def due(self) -> list[Any]:
        sender = self.federation.sender
        assert sender is not None
        found = due(sender)
        requests = []
        for request in found.requests:
            self.under_way[request.number] = request
            requests.append([request.number, request.path, request.body])
        return [requests, found.wait_s, found.deaf_s]

    def replied(self, number: int, reply: list[Any] | None) -> None:
        sender, request = self.federation.sender, self.under_way.pop(number, None)
        if sender is None or request is None:
            return
        if reply is None:
            sender.on_failure(request, "no answer")
        else:
            sender.on_reply(request, *reply)

    def maintain(self) -> None:
        now_ns = self.wall_ns()
        self.federation.run_manifests(now_ns, now_ns)
        self.federation.run_verification(now_ns)

    def figures(self) -> dict[str, Any]:
        delivery = self.federation.delivery()
        statistics = self.engine.statistics()
        complete = self.federation.completeness()
        return {
            "rss_bytes": _rss_bytes(),
            "log_bytes": statistics.log.written_bytes,
            "part_bytes": statistics.part_bytes,
            "pending_rows": 0 if delivery is None else delivery["pending_rows"],
            "holes": sum(len(item["holes"]) for item in complete),
            "nodes": len(complete),
            "complete_through_ms": min(
                (item["complete_through"] or 0 for item in complete), default=0
            ),
        }

    def stored(self, table: str) -> dict[str, int]:
        found = self.engine.aggregate(table, {"m0": ["count"]}, by="device").to_pydict()
        counts = next(values for name, values in found.items() if "count" in name)
        return dict(zip(map(str, found["device"]), counts, strict=True))


def serve(
    pipe: Connection, name: str, directory: str, has_parent: bool, paths: list[str], now_s: float
) -> None:
    """Until the pipe is closed. The first message says that the node is open."""
    began = time.process_time()
    node = Node(name, Path(directory), has_parent, paths, now_s)
    calls: dict[str, Callable[..., Any]] = {
        call.__name__: call
        for call in (node.serve, node.due, node.replied, node.maintain, node.figures, node.stored)
    }
    ended, own = time.process_time(), time.thread_time()
    pipe.send_bytes(msgpack.packb([None, ended - began, 0.0, False]))
    while True:
        try:
            call, now, *arguments = msgpack.unpackb(pipe.recv_bytes(), strict_map_key=False)
        except EOFError:
            return
        # What this thread did since then was to read a message.
        background_s = (time.process_time() - ended) - (time.thread_time() - own)
        node.now_s, node.has_work = now, False
        began = time.process_time()
        result = calls[call](*arguments)
        ended, own = time.process_time(), time.thread_time()
        pipe.send_bytes(
            msgpack.packb([result, ended - began, max(0.0, background_s), node.has_work])
        )


def _rss_bytes() -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0
