"""OPC UA: variables of a server, listed or found by browsing; and commands that write."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

from mainstem_node.config.kinds import (
    DevicePath,
    DurationNs,
    FilePath,
    Name,
    OpcUrl,
    SecretText,
    SizeBytes,
    Text,
)
from mainstem_node.config.node_ids import NodeIdText

MIB = 1 << 20
SECOND_NS = 1_000_000_000


class OpcuaDeviceConfig(Struct, frozen=True, kw_only=True):
    """One device and the nodes of its measurements."""

    device: DevicePath
    template: Name
    nodes: dict[Name, NodeIdText]
    """Node id by measurement: ns=2;s=Press1.Temperature, i=2258, nsu=URI;s=NAME."""


class OpcuaBrowseConfig(Struct, frozen=True, kw_only=True):
    """Objects below one node become devices, their variables measurements."""

    under: NodeIdText = "i=85"
    """Default: the Objects folder."""
    depth: int = 6
    """Levels below `under` that are looked at."""
    template: dict[Text, Name]
    """By a pattern of the object's names below `under`: `Press*` is one level, `**` any number of
    levels; the first that fits. Other objects are only looked through."""
    device: Text
    """The devices' path; `{name}` is the object's name, `{path[n]}` the n-th below `under` (from
    0)."""


class OpcuaCollectorConfig(Struct, frozen=True, kw_only=True):
    """A session at a server with one subscription; what is away is tried again for ever."""

    type: Literal["opcua"]
    url: OpcUrl
    security: Literal["None", "Basic256Sha256", "Aes128Sha256RsaOaep", "Aes256Sha256RsaPss"] = (
        "None"
    )
    mode: Literal["sign_and_encrypt", "sign"] = "sign_and_encrypt"
    cert: FilePath | None = None
    key: FilePath | None = None
    """This edge's own certificate and key, PEM or DER; the server must trust it."""
    server_cert: FilePath | None = None
    """The only certificate that is taken. `mainstem opcua certificate` fetches it."""
    username: Text | None = None
    password: SecretText | None = None
    devices: tuple[OpcuaDeviceConfig, ...] = ()
    browse: tuple[OpcuaBrowseConfig, ...] = ()
    nodes_max: int = 10_000
    """Variables that are watched at most; the others are named as trouble."""
    publish_every: DurationNs = SECOND_NS
    """How often the server sends what has changed."""
    sample_every: DurationNs | None = None
    """How often the server looks at its source; default `publish_every`."""
    queue: int = 10
    """Values of one node that the server keeps between two sendings; older ones are dropped there,
    and counted here as lost."""
    trigger: Literal["value", "timestamp"] = "value"
    """timestamp: a value is also sent when only its time is new."""
    deadband: dict[Name, float] = {}
    """By measurement: the server sends only what differs by more, in its own unit."""
    time: Literal["source", "server", "arrival"] = "source"
    """Which time a row gets; what is missing is replaced by the next in this order."""
    history: DurationNs | None = None
    """After an outage, values of as long ago at most are read from the server's history."""
    watchdog: DurationNs = 15 * SECOND_NS
    """A server that says nothing for so long is left and called again."""
    auto_create: bool = True
    queue_bytes: SizeBytes = 32 * MIB
    """Bytes that wait for the decoder; beyond it nothing more is asked for."""

    @property
    def templates(self) -> tuple[str, ...]:
        """The templates whose rows it brings."""
        listed = [each.template for each in self.devices]
        browsed = [name for each in self.browse for name in each.template.values()]
        return tuple(dict.fromkeys([*listed, *browsed]))


class OpcuaWriteConfig(Struct, frozen=True, kw_only=True):
    """Commands may write to nodes of a server that a collector `opcua` is connected to."""

    type: Literal["opcua.write"]
    url: OpcUrl
    """Of the collector."""
    nodes: tuple[Text, ...]
    """Patterns (`*`: any text) of node ids as commands name them; nothing else is written to."""
