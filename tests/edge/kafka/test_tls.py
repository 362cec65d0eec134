"""TLS towards a cluster: its certificate and name are verified, and this edge shows its own."""

from __future__ import annotations

import asyncio
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mainstem_edge.collectors.kafka import KafkaCollector
from mainstem_edge.intake import Intake
from mainstem_edge.testing.kafka_cluster import KafkaCluster
from mainstem_edge.testing.kafka_site import KafkaSite, row
from mainstem_edge.testing.parts import stored
from mainstem_edge.testing.patience import eventually
from mainstem_engine.engine import Engine

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def certificate(place: Path) -> tuple[Path, Path]:
    """(certificate of localhost, its key)."""
    cert, key = place / "tls.crt", place / "tls.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)],
        check=True, capture_output=True,
    )  # fmt: skip
    return cert, key


@contextmanager
def encrypted(brokers: str, tls: ssl.SSLContext) -> Iterator[int]:
    """A port that speaks TLS and passes on to the cluster."""
    host, _, port = brokers.rpartition(":")
    loop = asyncio.new_event_loop()

    async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:  # a reset is an end, too
            return
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there = await asyncio.open_connection(host, int(port))
        await asyncio.gather(passed(reader, there[1]), passed(there[0], writer))

    server = loop.run_until_complete(asyncio.start_server(serve, "localhost", 0, ssl=tls))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:

        async def end() -> None:
            server.close()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


def test_both_sides_are_verified(
    tmp_path: Path, make_intake: Callable[..., Intake], engine: Engine
) -> None:
    cert, key = certificate(tmp_path)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(cert, key)
    tls.load_verify_locations(cert)
    tls.verify_mode = ssl.CERT_REQUIRED
    with KafkaCluster() as cluster, encrypted(cluster.brokers, tls) as port:
        site = KafkaSite(cluster, tmp_path, make_intake)
        cluster.create_topic(site.topic)
        site.produce(row(0))
        cluster.advertise("localhost", port)
        try:
            refuses(site.collector(**at("localhost", port)))  # no authority of ours
            refuses(site.collector(**at("127.0.0.1", port, ca=cert)))  # not its name
            trusting = site.collector(**at("localhost", port, ca=cert, cert=cert, key=key))
            site.start(trusting)
            eventually(lambda: len(stored(engine)) == 1, "stored")
        finally:
            site.stop_all()


def refuses(collector: KafkaCollector) -> None:
    collector.start()
    try:
        eventually(lambda: "verify failed" in (collector.status()["last_error"] or ""), "refused")
        assert collector.state().connected_ns is None
    finally:
        collector.stop(5)


def at(host: str, port: int, **files: Path) -> dict[str, Any]:
    return {"brokers": f"{host}:{port}", "security": {"security": "tls", **files}}
