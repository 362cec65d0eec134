"""What ``mainstem doctor`` looks at of those who are told of alarms: whether they can be reached.

Nobody is told anything: a broker is greeted under a name of its own, which leaves the connection of
the node that runs alone, and a web server is asked by OPTIONS, not by POST. What that answers is a
warning at most: a server may answer POST otherwise.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator

import msgspec

from mainstem_edge.assembly.notices import sender
from mainstem_edge.notices.courier import DoubtError, SendError
from mainstem_node.config.notify import MqttNotifyConfig
from mainstem_node.config.schema import NodeConfig
from mainstem_node.doctor.finding import BAD, FINE, WARNING, Finding
from mainstem_node.errors import CredentialError

TIMEOUT_NS_MAX = 5 * 1_000_000_000
"""Somebody waits for the findings."""
REMEDY = "correct `url` and `secret_headers`; if it takes a POST as they are, nothing is wrong"


def receivers(node: NodeConfig) -> Iterator[Finding]:
    for number, config in enumerate(node.notify):
        check = f"notify[{number}]"
        timeout = min(config.timeout, TIMEOUT_NS_MAX)
        config = msgspec.structs.replace(config, timeout=timeout)
        if isinstance(config, MqttNotifyConfig):
            name = f"mainstem-doctor-{secrets.token_hex(4)}"
            config = msgspec.structs.replace(config, client_id=name)
        try:
            receiver = sender(node.id, config, time.time_ns)
        except CredentialError as error:
            yield Finding(node.id, check, BAD, error.message, "check the files of `tls`")
            continue
        try:
            receiver.greet()
        except SendError as error:
            yield Finding(
                node.id, check, BAD, f"{config.name} cannot be told of alarms: {error}",
                "start it, or correct `url`, `username`, `password` and `tls`",
            )  # fmt: skip
        except DoubtError as error:
            yield Finding(
                node.id, check, WARNING,
                f"{config.name} may not take what it is told: asked by OPTIONS, {error}", REMEDY,
            )  # fmt: skip
        else:
            yield Finding(node.id, check, FINE, f"{config.name} can be reached: {receiver.shown}")
