"""HTTP: who posts to this node, and pages that are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from mainstem_edge.assembly import lines
from mainstem_edge.assembly.subscribing import subscribed
from mainstem_edge.assembly.workbench import Workbench
from mainstem_edge.collectors.http_poll import TOPIC, HttpPollCollector
from mainstem_edge.collectors.http_push import HttpPushCollector
from mainstem_edge.collectors.interface import Collector
from mainstem_edge.collectors.message_queue import MessageQueue
from mainstem_edge.collectors.page import Page
from mainstem_edge.collectors.push_place import PushPlace
from mainstem_edge.collectors.push_proof import PasswordProof, Proof, SignatureProof, TokenProof
from mainstem_edge.payload_time import DEFAULT_FIELDS
from mainstem_edge.reader import Reader
from mainstem_node.config.collectors.http_poll import HttpPollCollectorConfig
from mainstem_node.config.collectors.http_push import HttpPushCollectorConfig, SenderConfig
from mainstem_node.server import client_context

SECOND_NS = 1_000_000_000
LAST_PART = "{path[-1]}"
"""What a posted value is called, unless something else is said."""


def push_readers(bench: Workbench, config: HttpPushCollectorConfig) -> list[Reader]:
    place = _place(config)
    subscription = subscribed(
        config,
        f"{config.name}/#",
        device=None if config.device is None else place.pattern(config.device),
        tags={name: place.pattern(text) for name, text in config.tags.items()},
        measurement=place.pattern(_measurement(config)) or None,
    )
    return [lines.reader(bench, subscription, config.message_limit)]


def push_collector(
    bench: Workbench, number: int, config: HttpPushCollectorConfig, found: Sequence[Reader]
) -> Collector:
    return HttpPushCollector(
        f"http_push-{number}",
        config.name,
        found,
        MessageQueue(config.in_flight, config.queue_bytes),
        place=_place(config),
        proof=None if config.sender is None else _proof(config.sender),
        body_bytes_max=config.message_limit,
        reading_bytes_max=config.queue_bytes,
        per_minute=config.per_minute,
        in_flight=config.in_flight,
        clock_ns=bench.clock_ns,
    )


def poll_readers(bench: Workbench, config: HttpPollCollectorConfig) -> list[Reader]:
    return [lines.reader(bench, subscribed(config, TOPIC), config.message_limit)]


def poll_collector(
    bench: Workbench, number: int, config: HttpPollCollectorConfig, found: Sequence[Reader]
) -> Collector:
    return HttpPollCollector(
        f"http_poll-{number}",
        found,
        # An answer that waits is enough: the next one is as long.
        MessageQueue(1, config.message_limit),
        page=page_of(config),
        every_ns=config.every,
        offset_ns=config.offset,
        dated=_is_dated(config),
        rng=bench.rng,
        clock_ns=bench.clock_ns,
    )


def page_of(config: HttpPollCollectorConfig) -> Page:
    """What is asked for. Raises CredentialError for a file of `tls` that cannot be used."""
    tls = None
    if config.url.text.startswith("https:"):
        tls = client_context(config.tls.ca, config.tls.cert, config.tls.key)
    user = None
    if config.username is not None and config.password is not None:
        user = (config.username, config.password.reveal())
    return Page(
        config.url,
        config.method,
        config.query,
        config.headers,
        config.body,
        {name: secret.reveal() for name, secret in config.secret_query.items()},
        {name: secret.reveal() for name, secret in config.secret_headers.items()},
        user,
        tls,
        config.proxy,
        config.timeout / SECOND_NS,
        config.message_limit,
    )


def _is_dated(config: HttpPollCollectorConfig) -> bool:
    """True if the file says that the answers have times of their own."""
    mapped = () if config.map is None else config.map.fields
    named = config.time.field is not None or any(name in DEFAULT_FIELDS for name in mapped)
    return config.time.source == "payload" or (named and config.time.source != "arrival")


def _place(config: HttpPushCollectorConfig) -> PushPlace:
    texts = (config.device or "", _measurement(config), *config.tags.values())
    return PushPlace.of(config.name, texts)


def _measurement(config: HttpPushCollectorConfig) -> str:
    return config.measurement or (LAST_PART if config.codec == "raw" else "")


def _proof(config: SenderConfig) -> Proof:
    """The checks of the configuration see to one of them being there."""
    if config.signature is not None:
        signature = config.signature
        return SignatureProof(
            signature.secret.reveal().encode(),
            signature.header,
            signature.hash,
            signature.encoding,
            signature.prefix,
        )
    if config.token is not None:
        return TokenProof(config.token.reveal(), config.header)
    assert config.password is not None
    return PasswordProof(config.username or "", config.password.reveal())
