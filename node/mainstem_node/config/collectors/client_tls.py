"""TLS towards a source or a broker."""

from __future__ import annotations

from msgspec import Struct

from mainstem_node.config.kinds import FilePath


class ClientTlsConfig(Struct, frozen=True, kw_only=True):
    """TLS towards a broker. Without `ca` the system's authorities are used."""

    ca: FilePath | None = None
    cert: FilePath | None = None
    key: FilePath | None = None
