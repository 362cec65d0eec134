"""What SQL needs of an engine: the seam between the two.

The engine makes a session of its own and a node makes sessions over an engine that guards what it
owns; neither is imported here. Every method is that of the engine's own of the same name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.aggregates import Answered
    from mainstem_engine.alterations import Unchanged
    from mainstem_engine.catalog.catalog import Catalog
    from mainstem_engine.catalog.databases import Database
    from mainstem_engine.catalog.revisions import TagRevision
    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.consumers import Ack
    from mainstem_engine.deletion import Deletion
    from mainstem_engine.expiry import ExpiryResult
    from mainstem_engine.last_values import LastRows
    from mainstem_engine.model import ColumnType, DeviceIds, Measurement, Rows, Template
    from mainstem_engine.options import EngineOptions
    from mainstem_engine.scan_extent import ScanExtent
    from mainstem_engine.windows import Pieces


class Storage(Protocol):
    """An engine as SQL sees it. Any thread may call it."""

    @property
    def catalog(self) -> Catalog: ...
    @property
    def options(self) -> EngineOptions: ...
    def precision_ns(self, table: str) -> int: ...

    # Rows

    def scan(
        self,
        template: str,
        devices: str | Sequence[str] | DeviceIds | None = None,
        tags: Mapping[str, Any] | None = None,
        start: int | None = None,
        end: int | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.RecordBatchReader: ...
    def scan_columns(
        self,
        template: str,
        columns: Sequence[str],
        devices: DeviceIds | None,
        first_ns: int,
        beyond_ns: int,
        ranges: Mapping[str, tuple[float, float]],
        edge: tuple[int, bool] | None = None,
    ) -> pa.RecordBatchReader: ...
    def aggregate_pieces(
        self,
        template: str,
        functions: Mapping[str, Collection[str]],
        devices: DeviceIds | None,
        first_ns: int,
        beyond_ns: int,
        *,
        every_ns: int | None,
        by_device: bool,
        filters: Sequence[tuple[str, str, int | float]] = (),
        row_times: bool = False,
        read: bool = True,
    ) -> tuple[Pieces | None, Answered]: ...
    def scan_extent(
        self,
        template: str,
        columns: Sequence[str],
        devices: DeviceIds | None,
        first_ns: int,
        beyond_ns: int,
        ranges: Mapping[str, tuple[float, float]],
        edge: tuple[int, bool] | None = None,
    ) -> ScanExtent: ...
    def newest_values(self, template: str, devices: DeviceIds | None) -> tuple[Table, LastRows]: ...
    def write_rows(self, table: Table, rows: Rows) -> Ack: ...
    def delete(
        self,
        template: str,
        *,
        devices: str | Sequence[str] | DeviceIds | None = None,
        tags: Mapping[str, Any] | None = None,
        start: int | None = None,
        end: int | None = None,
        where: Callable[[pa.RecordBatch], Any] | None = None,
        columns: Sequence[str] | None = None,
        measurements: Sequence[str] | None = None,
        spare_others: bool = False,
    ) -> Deletion: ...

    # Definitions

    def create_database(
        self,
        name: str,
        *,
        keep_ns: int | None = None,
        duration_ns: int = ...,
        precision: str = ...,
        if_not_exists: bool = False,
        **options: object,
    ) -> Database: ...
    def alter_database(
        self,
        name: str,
        *,
        keep_ns: int | Unchanged | None = ...,
        duration_ns: int | None = None,
        **options: object,
    ) -> Database: ...
    def create_template(self, template: Template, *, if_not_exists: bool = False) -> Template: ...
    def alter_template(
        self,
        name: str,
        *,
        add: Sequence[Measurement] = (),
        rename: Mapping[str, str] | None = None,
        widen: Mapping[str, ColumnType] | None = None,
        encode: Mapping[str, tuple[str | None, str | None]] | None = None,
    ) -> Template: ...
    def hide_measurements(self, name: str, measurements: Sequence[str]) -> None: ...
    def require_own(self, paths: Sequence[str]) -> None: ...
    def set_template(self, template: str, path: str) -> None: ...
    def unset_template(self, template: str, path: str) -> None: ...
    def device_ids(
        self,
        template: str,
        paths: Sequence[str],
        tags: Mapping[str, Sequence[Any]] | None = None,
        *,
        create: bool = False,
        durable: bool = True,
    ) -> DeviceIds: ...

    def drop_devices(self, devices: DeviceIds) -> None: ...
    def drop_template(self, name: str) -> None: ...
    def drop_database(self, name: str) -> None: ...
    def set_tags(self, template: str, devices: DeviceIds, tags: Mapping[str, Any]) -> None: ...
    def alter_tags(self, name: str, revision: TagRevision) -> Template: ...

    # Upkeep

    def flush(self) -> None: ...
    def compact(self) -> None: ...
    def expire(self) -> ExpiryResult: ...

    # Retention

    def set_keep(self, table: str, keep_ns: int | None) -> None: ...
    def set_ttl(self, path: str, ttl_ns: int | None) -> None: ...
