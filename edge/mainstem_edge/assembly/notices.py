"""Those whom an edge tells of alarms, from the topology's words: a courier for each."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mainstem_edge.notices.book import NoticeBook
from mainstem_edge.notices.courier import Courier, Sender
from mainstem_edge.notices.notice import Notice, Telling, told
from mainstem_node.alarms import journal
from mainstem_node.config.notify import LOG, MqttNotifyConfig, NotifyConfig, WebhookNotifyConfig
from mainstem_node.config.rules import RuleConfig
from mainstem_node.config.schema import NodeConfig
from mainstem_node.server import client_context

if TYPE_CHECKING:
    import ssl

    from mainstem_edge.actions.publisher import Broker
    from mainstem_engine.engine import Engine

SECOND_NS = 1_000_000_000
PORTS = {"mqtt": 1883, "mqtts": 8883}
STOP_S_MAX = 2.0
"""For all together: a node has ten seconds to stop."""


class Couriers:
    """All of one edge. ``book`` follows its log."""

    def __init__(
        self, node: NodeConfig, engine: Engine, book: NoticeBook, clock_ns: Callable[[], int]
    ) -> None:
        self._book = book
        rules = {rule.name: rule for rule in node.rules}
        book.bind(
            engine,
            [each.name for each in node.notify],
            functools.partial(_addressees, engine, rules),
        )
        self._all: Sequence[Courier] = [
            Courier(
                config.name,
                config.type,
                sender(node.id, config, clock_ns),
                book,
                engine,
                functools.partial(_tell, engine, node.id, rules),
                node=node.id,
                expire_ns=config.expire,
                per_minute=config.per_minute,
                clock_ns=clock_ns,
            )
            for config in node.notify
        ]

    def start(self) -> None:
        for courier in self._all:
            courier.start()

    def stop(self) -> None:
        for courier in self._all:
            courier.halt()
        self._book.close()
        deadline = time.monotonic() + STOP_S_MAX
        for courier in self._all:
            courier.join(max(0.0, deadline - time.monotonic()))

    def status(self) -> list[dict[str, Any]]:
        return [courier.status() for courier in self._all]


def _addressees(engine: Engine, rules: Mapping[str, RuleConfig], device: int) -> frozenset[str]:
    """Whom the rule of an alarm names, as the rules are now. Nobody for what is no alarm's."""
    rule = rules.get(journal.source_and_rule(engine.catalog.devices.path(device))[1])
    return frozenset() if rule is None else frozenset(rule.actions) - {LOG}


def _tell(
    engine: Engine, node: str, rules: Mapping[str, RuleConfig], notice: Notice
) -> Telling | None:
    rule = journal.source_and_rule(engine.catalog.devices.path(notice.device))[1]
    return told(engine, node, rules[rule], notice)


def sender(
    node: str, config: MqttNotifyConfig | WebhookNotifyConfig, clock_ns: Callable[[], int]
) -> Sender:
    """Raises CredentialError for a file of `tls` that cannot be used."""
    timeout_s = config.timeout / SECOND_NS
    if isinstance(config, WebhookNotifyConfig):
        from mainstem_edge.notices.webhook import Webhook

        return Webhook(
            config.url,
            secret=None if config.secret is None else config.secret.reveal(),
            headers={name: each.reveal() for name, each in config.secret_headers.items()},
            tls=tls_of(config, config.url),
            timeout_s=timeout_s,
            clock_ns=clock_ns,
        )
    # The library of the broker only where the file names one.
    from mainstem_edge.notices.topic import Topic

    broker = broker_of(config, config.client_id or f"mainstem-{node}-{config.name}")
    return Topic(
        broker,
        config.topic,
        protocol=config.protocol,
        retain=config.retain,
        timeout_s=timeout_s,
    )


def broker_of(config: MqttNotifyConfig, client_id: str) -> Broker:
    """How it is reached. Raises CredentialError."""
    from mainstem_edge.actions.publisher import Broker

    url = urlsplit(config.url)
    return Broker(
        host=url.hostname or "127.0.0.1",
        port=url.port or PORTS[url.scheme],
        client_id=client_id,
        topics=(),
        username=config.username or (None if url.username is None else unquote(url.username)),
        password=None if config.password is None else config.password.reveal(),
        tls=tls_of(config, config.url),
    )


def tls_of(config: NotifyConfig, url: str) -> ssl.SSLContext | None:
    """None where the URL asks for none."""
    if urlsplit(url).scheme not in ("mqtts", "https"):
        return None
    return client_context(config.tls.ca, config.tls.cert, config.tls.key)
