"""Fixtures for tests of the edge: an engine on a temporary directory, a quarantine, intakes."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mainstem_edge.alarms.book import AlarmBook
from mainstem_edge.collectors.undurable import Undurable
from mainstem_edge.device_book import DeviceBook, DeviceLimit
from mainstem_edge.device_memory import DeviceMemory
from mainstem_edge.intake import Intake
from mainstem_edge.last_stored import LastStored
from mainstem_edge.preprocess import TemplateRules
from mainstem_edge.subscription import Subscription
from mainstem_edge.table_intake import Outside, TableIntake
from mainstem_edge.testing.gated_filesystem import GatedFilesystem
from mainstem_edge.testing.parts import NOW_NS, TEMPLATE, FakeCollector, rules, subscription
from mainstem_edge.value_memory import ValueMemory
from mainstem_engine.engine import Engine
from mainstem_sync.receiving.quarantine import QuarantineStore


@pytest.fixture
def fs() -> GatedFilesystem:
    return GatedFilesystem()


@pytest.fixture
def engine(tmp_path: Path, fs: GatedFilesystem) -> Iterator[Engine]:
    """An engine with the template ``press``."""
    with Engine.open(tmp_path / "data", fs=fs) as opened:
        opened.create_template(TEMPLATE)
        yield opened


@pytest.fixture
def quarantine(tmp_path: Path) -> Iterator[QuarantineStore]:
    store = QuarantineStore.open(tmp_path / "quarantine")
    yield store
    store.close()


MakeIntake = Callable[..., Intake]


@pytest.fixture
def make_intake(engine: Engine, quarantine: QuarantineStore) -> MakeIntake:
    """An intake with a fake collector, not started; call ``process`` or ``start``."""

    def make(
        *subscriptions: Subscription,
        template: TemplateRules | None = None,
        devices_per_minute: int = 1000,
        owner: Callable[[str], str | None] | None = None,
        outside: Outside | None = None,
        clock_ns: Callable[[], int] = lambda: NOW_NS,
        alarms: AlarmBook | None = None,
        undurable: Undurable | None = None,
    ) -> Intake:
        found = template or rules()
        table = TableIntake(
            engine,
            quarantine,
            DeviceMemory(
                ValueMemory(found.filters, found.heartbeat_ns, LastStored(engine, "press")),
                lambda devices: engine.newest_times("press", devices),
            ),
            DeviceBook(engine, "press", DeviceLimit(devices_per_minute), owner),
            node="edge",
            template="press",
            clock_ns=clock_ns,
            outside=outside,
            alarms=alarms,
        )
        return Intake(
            FakeCollector(*(subscriptions or (subscription(template=found),))),
            {"press": table},
            quarantine,
            node="edge",
            clock_ns=clock_ns,
            undurable=undurable,
        )

    return make


@pytest.fixture
def silent_broker() -> Iterator[int]:
    """Lets everybody in and acknowledges nothing."""
    listener = socket.create_server(("127.0.0.1", 0))
    taken: list[socket.socket] = []

    def serve() -> None:
        try:
            while True:
                peer = listener.accept()[0]
                taken.append(peer)
                peer.recv(1024)
                peer.sendall(b"\x20\x02\x00\x00")  # CONNACK: accepted
        except OSError:
            return

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()[1]
    listener.close()
    for peer in taken:
        peer.close()
    thread.join(1.0)
