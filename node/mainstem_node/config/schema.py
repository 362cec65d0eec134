"""The topology as frozen structs: what each key is called, its kind, its default and what it means.

The loader and the JSON Schema are both derived from these classes and those of ``collectors``, so
these are the places where a key is added. A field's YAML key is its name, or the ``name=`` given to
``field``. Where a list is expected, a single value stands for a list of one.

Times and durations are nanoseconds, sizes bytes, rates bits per second; files are absolute paths.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct, field

from mainstem_engine.model import ColumnType
from mainstem_node.config.collectors.client_tls import ClientTlsConfig
from mainstem_node.config.collectors.file import FileCollectorConfig
from mainstem_node.config.collectors.http_poll import HttpPollCollectorConfig
from mainstem_node.config.collectors.http_push import HttpPushCollectorConfig
from mainstem_node.config.collectors.kafka import KafkaCollectorConfig
from mainstem_node.config.collectors.modbus import ModbusCollectorConfig, ModbusWriteConfig
from mainstem_node.config.collectors.mqtt import MqttCollectorConfig
from mainstem_node.config.collectors.opcua import OpcuaCollectorConfig, OpcuaWriteConfig
from mainstem_node.config.collectors.simulator import SimulatorCollectorConfig
from mainstem_node.config.collectors.sparkplug import (
    SparkplugCollectorConfig,
    SparkplugCommandConfig,
)
from mainstem_node.config.kinds import (
    COMPRESSION,
    DAYS,
    DURABILITY,
    ENCODING,
    TIME_OF_DAY,
    TYPE,
    DeadBand,
    DevicePath,
    DurationNs,
    FilePath,
    HttpUrl,
    ListenAddress,
    MqttUrl,
    Name,
    RateBits,
    SecretText,
    SizeBytes,
    StampNs,
    Text,
    Zone,
)
from mainstem_node.config.notify import MqttNotifyConfig, WebhookNotifyConfig
from mainstem_node.config.rules import RuleConfig

MIB = 1 << 20
SECOND_NS = 1_000_000_000
DAY_NS = 86_400 * SECOND_NS


class MeasurementConfig(Struct, frozen=True, kw_only=True):
    """One measurement. value * scale + offset is in `source_unit`, then converted to `unit`."""

    type: Annotated[ColumnType, TYPE]
    unit: Text | None = None
    source: Text | None = field(default=None, name="from")
    """The name in the payload; default the measurement's own name."""
    source_unit: Text | None = None
    scale: float = 1.0
    offset: float = 0.0
    encoding: Annotated[str, ENCODING] = "AUTO"
    compression: Annotated[str, COMPRESSION] = "AUTO"
    range: tuple[float | None, float | None] | None = None
    """[low, high], both included; null leaves a side open. Values outside are quarantined."""
    max_rate: float | None = None
    """Units a second. A value further from the last one than that is quarantined."""
    deadband: DeadBand | None = None
    """Values that differ from the last kept one by no more are filtered; `2%` of that value."""
    swinging_door: float | None = None
    """Values on a line between two kept ones, give or take this, are filtered."""
    on_change: bool = False
    """Only a value that differs from the last kept one is stored; of any type."""
    kind: Literal["gauge", "counter"] = "gauge"
    rollover: int | None = None
    """A counter starts again at 0 instead of reaching this value."""
    derive: Text | None = None
    """An SQL expression over the other measurements of the row."""
    increment_of: Name | None = None
    """How far that counter went since the row before."""
    previous_of: Name | None = None
    """The value that that measurement had before it changed; null while it stays."""

    @property
    def is_computed(self) -> bool:
        """True if no device sends it."""
        return not (self.derive is None and self.increment_of is None and self.previous_of is None)


class TemplateConfig(Struct, frozen=True, kw_only=True):
    """A template (super table): the schema of many equal devices."""

    tags: dict[Name, Annotated[ColumnType, TYPE]] = {}
    measurements: dict[Name, MeasurementConfig]
    quality: bool = False
    """Adds to each measurement m a column m_quality: null good, 1 uncertain, 2 bad, 3 stale."""
    expect_every: DurationNs | None = None
    """A device that is silent for longer may be reported missing; default: nobody can be."""
    keep: DurationNs | None = None


class ParentConfig(Struct, frozen=True, kw_only=True):
    """Where this node delivers to."""

    node: Name | None = None
    url: tuple[HttpUrl, ...] = ()
    """The first reachable one is used; default: the address of `node` in this file."""
    token_file: FilePath | None = None
    """The long-lived link credential; default secrets/<id>."""
    ca: FilePath | None = None
    """The CA of an https parent; default the system's."""
    cert: FilePath | None = None
    key: FilePath | None = None
    """The certificate and key shown to a parent that asks for one (`tls.client_ca` there)."""


class StorageConfig(Struct, frozen=True, kw_only=True):
    """How the engine keeps rows."""

    durability: Annotated[str, DURABILITY] = "always"
    memory_limit: SizeBytes = 256 * MIB
    flush_every: DurationNs = 60 * SECOND_NS
    flush_bytes: SizeBytes = 64 * MIB
    vnodes: int | None = None
    """Shards that are written in parallel; default: 1 at an edge, one per core elsewhere."""


class DatabaseConfig(Struct, frozen=True, kw_only=True):
    """A database: retention, partition length and time precision below one path."""

    keep: DurationNs | None = None
    duration: DurationNs = 10 * DAY_NS
    precision: Literal["ms", "us", "ns"] = "ms"


CollectorConfig = (
    FileCollectorConfig
    | HttpPollCollectorConfig
    | HttpPushCollectorConfig
    | KafkaCollectorConfig
    | MqttCollectorConfig
    | OpcuaCollectorConfig
    | SimulatorCollectorConfig
    | SparkplugCollectorConfig
    | ModbusCollectorConfig
)
"""Every kind of collector. A file says which one with the key ``type``."""


class MqttPublishConfig(Struct, frozen=True, kw_only=True):
    """Commands may publish to a broker: to topics that one of the filters allows, no others."""

    type: Literal["mqtt.publish"]
    url: MqttUrl
    topics: tuple[Text, ...]
    client_id: Text | None = None
    """Default mainstem-<node id>-command: not that of a collector, whose session it would end."""
    username: Text | None = None
    password: SecretText | None = None
    tls: ClientTlsConfig = ClientTlsConfig()


ActionConfig = MqttPublishConfig | SparkplugCommandConfig | ModbusWriteConfig | OpcuaWriteConfig
"""Every kind of thing that commands may do. A file says which one with the key ``type``."""


class ClockConfig(Struct, frozen=True, kw_only=True):
    """Collectors quarantine stamps before `past` or later than `future` from now."""

    past: StampNs = 946_684_800 * SECOND_NS
    future: DurationNs = 300 * SECOND_NS


class RollupConfig(Struct, frozen=True, kw_only=True):
    """Continuous rollups of one template; each `every` is a table T_<every>."""

    template: Name
    every: tuple[DurationNs, ...]
    lateness: DurationNs = 30 * SECOND_NS
    keep: dict[DurationNs, DurationNs] = {}


class ExportConfig(Struct, frozen=True, kw_only=True):
    """One table that the parent receives: the template itself (raw) or T_<every> (rollup)."""

    template: Name
    mode: Literal["raw", "rollup"]
    every: DurationNs | None = None
    under: DevicePath | None = None


class IntakeConfig(Struct, frozen=True, kw_only=True):
    """Bounds on what data may create."""

    auto_template: bool | None = None
    """Line protocol may make templates, and add columns to those that the file does not declare;
    default true at an edge, else false."""
    max_new_devices_per_minute: int = 1000


class DiskConfig(Struct, frozen=True, kw_only=True):
    """How much disk the node may use, and what gives way."""

    limit: SizeBytes | None = None
    when_full: Literal["degrade", "reject"] = "degrade"


class LinkWindowConfig(Struct, frozen=True, kw_only=True):
    """Another limit at certain hours; `limit: 0bit/s` is silence."""

    days: Annotated[str, DAYS] = "mon-sun"
    start: Annotated[str, TIME_OF_DAY] = field(name="from")
    end: Annotated[str, TIME_OF_DAY] = field(name="to")
    zone: Zone = "UTC"
    limit: RateBits


class LinkConfig(Struct, frozen=True, kw_only=True):
    """The budget of the link to the parent."""

    limit: RateBits | None = None
    windows: tuple[LinkWindowConfig, ...] = ()
    reach_within: DurationNs = 120 * SECOND_NS
    """A configuration from above that changes `parent`, `link`, `tls` or `listen` is taken back if
    the parent does not answer within it. What holds before the change counts."""


class TlsConfig(Struct, frozen=True, kw_only=True):
    """TLS of the listener. With `client_ca` every client must show a certificate of it."""

    cert: FilePath
    key: FilePath
    client_ca: FilePath | None = None


class AuthConfig(Struct, frozen=True, kw_only=True):
    """`loopback: open`: no credential from this machine itself; only for trying out."""

    loopback: Literal["open", "closed"] = "closed"


class SqlRoleConfig(Struct, frozen=True, kw_only=True):
    """What a statement of one role may take. Each bound answers with an error that names it."""

    timeout: DurationNs = 600 * SECOND_NS
    """The longest that a request may ask for; one that asks for nothing has 30 s."""
    memory_limit: SizeBytes = 512 * MIB
    """For the executing database; as much again for tables that are held and walked through."""
    row_limit: int = 1_000_000
    """Rows of an answer; more is an export, which is done in pieces."""
    result_limit: SizeBytes = 256 * MIB
    """Bytes of an answer, before it is made JSON or CSV."""
    concurrency: int = 2
    """Statements of all callers of the role at a time; others wait for their turn."""


class SqlConfig(Struct, frozen=True, kw_only=True):
    """How statements run: child processes, each with one at a time, and limits per role."""

    processes: int = 3
    admin: SqlRoleConfig = SqlRoleConfig(concurrency=3)
    write: SqlRoleConfig = SqlRoleConfig()
    read: SqlRoleConfig = SqlRoleConfig()


class LogsConfig(Struct, frozen=True, kw_only=True):
    """What the process writes to stderr. `auto` is text on a terminal, else JSON lines."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["auto", "json", "text"] = "auto"


class NodeConfig(Struct, frozen=True, kw_only=True):
    """One node."""

    id: Name
    tier: Literal["edge", "platform", "group"]
    listen: ListenAddress
    data_dir: FilePath
    backup_dir: FilePath | None = None
    """Where `mainstem backup` may write; without it a running node makes no backups."""
    parent: ParentConfig | None = None
    paths: tuple[DevicePath, ...] = ()
    """What this node owns; longest match wins. Empty: what no child owns."""
    storage: StorageConfig = StorageConfig()
    databases: dict[DevicePath, DatabaseConfig] = {}
    collectors: tuple[CollectorConfig, ...] = ()
    actions: tuple[ActionConfig, ...] = ()
    """What commands may do here; without it: nothing."""
    rules: tuple[RuleConfig, ...] = ()
    """Alarms that an edge raises as rows come in."""
    notify: tuple[MqttNotifyConfig | WebhookNotifyConfig, ...] = ()
    """Whom it tells of them."""
    clock: ClockConfig = ClockConfig()
    rollups: tuple[RollupConfig, ...] = ()
    export: tuple[ExportConfig, ...] = ()
    hold: Literal["durable@parent", "verified@parent", "verified@group"] = "verified@parent"
    intake: IntakeConfig = IntakeConfig()
    disk: DiskConfig = DiskConfig()
    link: LinkConfig = LinkConfig()
    tls: TlsConfig | None = None
    auth: AuthConfig = AuthConfig()
    sql: SqlConfig = SqlConfig()
    logs: LogsConfig = LogsConfig()

    @property
    def url(self) -> str:
        """Where this node answers, as seen from its own machine when it listens everywhere."""
        scheme = "http" if self.tls is None else "https"
        listen = self.listen
        return (
            f"{scheme}://127.0.0.1:{listen.port}" if listen.is_wildcard else f"{scheme}://{listen}"
        )

    @property
    def prefix(self) -> str:
        """Where devices without a path of their own are: below the first path, else in the database
        that is there when none is named."""
        return self.paths[0] if self.paths else "root.main"

    @property
    def auth_open(self) -> bool:
        """True when requests from this machine need no credential."""
        return self.auth.loopback == "open" and self.listen.is_loopback


class Topology(Struct, frozen=True, kw_only=True):
    """A whole topology file. ``file`` and ``base_dir`` are absolute."""

    federation: Name = "mainstem"
    templates: dict[Name, TemplateConfig] = {}
    nodes: tuple[NodeConfig, ...]
    file: Path = Path()
    base_dir: Path = Path()
    written: tuple[str, ...] = ()
    """Every key that stands in the file, such as ``nodes[0].disk.limit``."""

    def node(self, node_id: str) -> NodeConfig:
        """The node of that id. Raises KeyError naming the ids there are."""
        for node in self.nodes:
            if node.id == node_id:
                return node
        raise KeyError(f"no node {node_id!r}; the file has {', '.join(n.id for n in self.nodes)}")

    def children(self, node_id: str) -> tuple[NodeConfig, ...]:
        """The nodes of this file whose parent is ``node_id``."""
        return tuple(n for n in self.nodes if n.parent is not None and n.parent.node == node_id)


DERIVED_FIELDS = frozenset({"file", "base_dir", "written"})
"""Fields of Topology that the loader fills in; not keys of the file."""
