"""How long the certificates of a node's files are valid.

A certificate is read by a handshake in memory with somebody who trusts nobody else: the standard
library has no other way to its dates.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from mainstem_node.config.schema import NodeConfig
from mainstem_node.doctor.finding import BAD, FINE, WARNING, Finding

WARN_DAYS = 30
_DAY_S = 86_400
_STEPS_MAX = 10


def expiry(node: NodeConfig) -> Iterator[Finding]:
    pairs = []
    if node.tls is not None:
        pairs.append(("tls.cert", node.tls.cert, node.tls.key))
    if node.parent is not None and node.parent.cert is not None and node.parent.key is not None:
        pairs.append(("parent.cert", node.parent.cert, node.parent.key))
    for key, cert, private in pairs:
        yield _judged(node.id, key, cert, private)


def _judged(node: str, key: str, cert: Path, private: Path) -> Finding:
    try:
        days = (expires_at(cert, private) - time.time()) / _DAY_S
    except ssl.SSLCertVerificationError as error:
        return Finding(node, key, BAD, f"{cert}: {error.verify_message}", "renew it")
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        return Finding(node, key, BAD, f"{cert} cannot be used: {error}", "check both files")
    if days < WARN_DAYS:
        return Finding(node, key, WARNING, f"{cert} ends in {days:.0f} days", "renew it")
    return Finding(node, key, FINE, f"{cert} is valid for {days:.0f} days")


def expires_at(cert: Path, private: Path) -> float:
    """Seconds since the epoch. Raises ssl.SSLCertVerificationError for one that has ended, OSError
    for files that cannot be used."""
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(cert, private)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.check_hostname = False
    theirs.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    theirs.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = ours.wrap_bio(to_server, to_client, server_side=True)
    client = theirs.wrap_bio(to_client, to_server)
    for _ in range(_STEPS_MAX):
        done = 0
        for side in (client, server):
            try:
                side.do_handshake()
                done += 1
            except ssl.SSLWantReadError:
                continue
        if done == 2:
            break
    found = client.getpeercert()
    if not found:
        raise ValueError("the certificate cannot be read")
    return ssl.cert_time_to_seconds(str(found["notAfter"]))
