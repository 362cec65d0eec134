"""The engine and the nodes below, as one Storage: what SQL reads of a tier when it may ask.

1. Every read is cut by site and time (cut.py). The questions go out first; what is read here leaves
   out the devices of those who answered, for the spans that they answered for. So each row is
   counted once, whoever has it.
2. Groups are merged as the engine merges its own: counts, extremes and ends have the same bits
   wherever they were made, sums and means agree to 1e-12.
3. Rows are put in the order of device and time again.
4. Everything else is the engine's.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.errors import EngineError, SqlLimitError
from mainstem_engine.windows import Pieces, merged
from mainstem_node.federated.cut import Site, elementary, open_spans, window_of
from mainstem_node.federated.packed_columns import unpack_newest, unpack_pieces
from mainstem_node.federated.packed_rows import unpack_rows
from mainstem_node.federated.reading import Answer, Reading
from mainstem_node.federated.wish import NEWEST, PIECES, ROWS, Wish
from mainstem_sync.errors import SyncError, WireError
from mainstem_sync.proof.completeness import UNKNOWN, completeness_object

if TYPE_CHECKING:
    import pyarrow as pa

    from mainstem_engine.aggregates import Answered
    from mainstem_engine.catalog.templates import Table
    from mainstem_engine.last_values import LastRows
    from mainstem_engine.model import DeviceIds
    from mainstem_engine.scan_extent import ScanExtent

MIXED_BYTES_MAX = 256 << 20
"""Rows of here and of elsewhere are sorted together, in memory."""

DEVICE, TIME = "device", "time"

CHUNK_NS = 86_400_000_000_000
CHUNKS_MAX = 64
"""A long range is read in steps, between which one looks whether the answer is still wanted. Parts
are cut at days, so that steps of a day cut no block in two."""


class FederatedStorage:
    """See the module. For one statement, or one question of the parent. ``nodes``: only rows of
    these; None: of this node and all below. ``in_steps``: read long ranges step by step."""

    def __init__(
        self,
        engine: Any,
        reading: Reading,
        nodes: Collection[str] | None = None,
        *,
        in_steps: bool = False,
    ) -> None:
        self._engine = engine
        self._reading = reading
        self._nodes = None if nodes is None else frozenset(nodes)
        self._in_steps = in_steps

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    # Groups

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
    ) -> tuple[Pieces | None, Answered]:
        sites = self._cut(template, devices, first_ns, beyond_ns)

        def here(some: DeviceIds | None, start: int, end: int) -> tuple[Pieces | None, Answered]:
            found: tuple[Pieces | None, Answered] = self._engine.aggregate_pieces(
                template,
                functions,
                some,
                start,
                end,
                every_ns=every_ns,
                by_device=by_device,
                filters=filters,
                row_times=row_times,
                read=read,
            )
            return found

        if not read:
            self._reading.planned(sites)
            return here(self._local(template, devices), first_ns, beyond_ns)
        wish = Wish(
            PIECES,
            self._table(template).name,
            (),
            self._paths(devices),
            {name: tuple(some) for name, some in functions.items()},
            every_ns,
            by_device,
            tuple(filters),
            row_times,
        )
        answers, answered = self._reading.ask(wish, sites)
        pieces: list[Pieces] = []

        def take(answer: Answer) -> None:
            table = self._table(template)
            devices_here = self._engine.catalog.devices
            found, unknown = unpack_pieces(table, devices_here, answer.raw, functions)
            self._reading.unknown_devices(answer.child, unknown)
            pieces.extend([] if found is None else [found])

        answered = self._taken(answers, answered, take)
        how: Answered | None = None
        for some, start, end in self._here(template, devices, answered, first_ns, beyond_ns):
            self._reading.check()
            found, counted = here(some, start, end)
            pieces += [] if found is None else [found]
            if how is None:
                how = counted
            else:
                how.add(counted)
        if how is None:
            _, how = here(np.empty(0, np.uint32), first_ns, first_ns)
        self._reading.blocks += how.blocks
        self._reading.blocks_read += how.read
        pieces = [piece for piece in pieces if len(piece)]
        return (merged(pieces, by_device=by_device) if pieces else None), how

    # Rows

    def scan_columns(
        self,
        template: str,
        columns: Sequence[str],
        devices: DeviceIds | None,
        first_ns: int,
        beyond_ns: int,
        ranges: Mapping[str, tuple[float, float]],
        edge: tuple[int, bool] | None = None,
    ) -> pa.RecordBatchReader:
        import pyarrow as pa
        import pyarrow.compute as pc

        sites = self._cut(template, devices, first_ns, beyond_ns)
        wanted = list(dict.fromkeys([DEVICE, TIME, *columns]))
        wish = Wish(
            ROWS,
            self._table(template).name,
            (),
            self._paths(devices),
            columns=tuple(wanted),
            ranges=ranges,
            edge=edge,
        )
        answers, answered = self._reading.ask(wish, sites)

        def here(some: DeviceIds | None, start: int, end: int) -> pa.RecordBatchReader:
            found: pa.RecordBatchReader = self._engine.scan_columns(
                template, wanted, some, start, end, ranges, edge
            )
            return found

        schema = here(np.empty(0, np.uint32), first_ns, first_ns).schema
        tables: list[Any] = []

        def take(answer: Answer) -> None:
            precision_ns = self._engine.precision_ns(template)
            tables.extend(unpack_rows(self._table(template), schema, answer.raw, precision_ns))

        answered = self._taken(answers, answered, take)
        spans = self._here(template, devices, answered, first_ns, beyond_ns)
        if not sum(table.num_rows for table in tables):
            return _selected(schema, columns, self._streamed(spans, here))
        size = sum(table.nbytes for table in tables)
        batches = []
        for batch in self._streamed(spans, here):
            size += batch.nbytes
            if size > MIXED_BYTES_MAX:
                raise SqlLimitError(
                    f"rows of several nodes take more than {MIXED_BYTES_MAX >> 20} MiB",
                    hint="ask for a shorter time, fewer devices, or aggregates",
                )
            batches.append(batch)
        whole = pa.concat_tables([*tables, pa.Table.from_batches(batches, schema)])
        order = pc.sort_indices(
            whole.select([DEVICE, TIME]).set_column(
                0, DEVICE, whole.column(DEVICE).cast(pa.string())
            ),
            sort_keys=[(DEVICE, "ascending"), (TIME, "ascending")],
        )
        return whole.take(order).select(list(dict.fromkeys(columns))).to_reader()

    def scan_extent(
        self,
        template: str,
        columns: Sequence[str],
        devices: DeviceIds | None,
        first_ns: int,
        beyond_ns: int,
        ranges: Mapping[str, tuple[float, float]],
        edge: tuple[int, bool] | None = None,
    ) -> ScanExtent:
        """Of what is here; who would be asked is noted."""
        self._reading.planned(self._cut(template, devices, first_ns, beyond_ns))
        found: ScanExtent = self._engine.scan_extent(
            template, columns, devices, first_ns, beyond_ns, ranges, edge
        )
        return found

    def _streamed(
        self, spans: Iterable[tuple[DeviceIds | None, int, int]], here: Callable[..., Any]
    ) -> Iterable[Any]:
        for some, start, end in spans:
            for batch in here(some, start, end):
                self._reading.check()
                yield batch

    # Newest values

    def newest_values(self, template: str, devices: DeviceIds | None) -> tuple[Table, LastRows]:
        sites = self._cut(template, devices, TIME_MIN_NS, TIME_MAX_NS + 1)
        table = self._table(template)
        answers, answered = self._reading.ask(
            Wish(NEWEST, table.name, (), self._paths(devices)), sites
        )
        found: list[LastRows] = []

        def take(answer: Answer) -> None:
            rows, unknown = unpack_newest(table, self._engine.catalog.devices, answer.raw)
            self._reading.unknown_devices(answer.child, unknown)
            found.extend([] if rows is None else [rows])

        self._taken(answers, answered, take)
        local = self._local(template, devices)
        table, here = self._engine.newest_values(template, local)
        return table, newest_of([here, *found])

    # Who has what

    def _cut(
        self, template: str, devices: DeviceIds | None, first_ns: int, beyond_ns: int
    ) -> list[Site]:
        reading = self._reading
        federation = reading.federation
        table = self._table(template)
        family: DeviceIds = self._engine.catalog.devices.of_family(table.family)
        items = federation.completeness([table.name], *window_of(first_ns, beyond_ns))
        stated = {item["node"] for item in items}
        for name in sorted(federation.origin_names() - stated):
            # Whoever has devices of the table, and has said nothing of it, may have rows.
            if len(np.intersect1d(federation.devices_of(name), family)):
                now_ns = self._engine.options.clock()
                items.append(completeness_object(name, table.name, UNKNOWN, now_ns))
        found: list[Site] = []
        for item in items:
            node = item["node"]
            if node == federation.node or (self._nodes is not None and node not in self._nodes):
                continue
            if devices is not None:
                owned = federation.devices_of(node)
                if not len(np.intersect1d(devices, owned)):
                    continue
            spans = open_spans(item, first_ns, beyond_ns)
            if spans:
                found.append(Site(node, spans, item))
        return found

    def _here(
        self,
        template: str,
        devices: DeviceIds | None,
        answered: Sequence[Site],
        first_ns: int,
        beyond_ns: int,
    ) -> Iterable[tuple[DeviceIds | None, int, int]]:
        """What is read here: devices and spans, without what others answered for."""
        held = [site for site in answered if site.is_held]
        federation = self._reading.federation
        whole = not held and self._asks_for_all()
        # Between two moves of devices every device has one owner.
        moves = () if whole else federation.moving.moves.times()
        for (start, end), nodes in elementary(held, first_ns, beyond_ns, moves):
            some = local = self._local(template, devices, start)
            if nodes:
                family = self._engine.catalog.devices.of_family(self._table(template).family)
                some = family if local is None else local
                for node in nodes:
                    some = np.setdiff1d(some, federation.devices_of(node, start))
            if some is None or len(some):
                for low, high in self._steps(start, end):
                    yield some, low, high

    def _steps(self, start: int, end: int) -> Iterable[tuple[int, int]]:
        step = max(CHUNK_NS, -(-(end - start) // CHUNKS_MAX // CHUNK_NS) * CHUNK_NS)
        is_open = start <= TIME_MIN_NS or end > TIME_MAX_NS
        if not self._in_steps or is_open or end - start <= step:
            return [(start, end)]
        edges = [start, *range((start // step + 1) * step, end, step), end]
        return list(itertools.pairwise(edges))

    def _asks_for_all(self) -> bool:
        federation, nodes = self._reading.federation, self._nodes
        return nodes is None or nodes >= {federation.node, *federation.origin_names()}

    def _local(
        self, template: str, devices: DeviceIds | None, at_ns: int | None = None
    ) -> DeviceIds | None:
        """``devices`` without those of nodes that nobody asked for. ``at_ns``: those that were
        moved are of their owner at that time; None: of all that they had."""
        federation, nodes = self._reading.federation, self._nodes
        names = federation.origin_names()
        if nodes is None or self._asks_for_all():
            return devices
        some: DeviceIds = self._engine.catalog.devices.of_family(self._table(template).family)
        if devices is not None:
            some = np.intersect1d(some, devices)
        if federation.node in nodes:
            for name in names - nodes:
                some = np.setdiff1d(some, federation.devices_of(name, at_ns))
            return some
        owned = [federation.devices_of(name, at_ns) for name in names & nodes]
        return np.intersect1d(some, np.concatenate(owned) if owned else np.empty(0, np.uint32))

    def _taken(
        self, answers: Sequence[Answer], sites: Sequence[Site], take: Callable[[Answer], None]
    ) -> list[Site]:
        """The sites whose answers could be used."""
        good = list(sites)
        for answer in answers:
            try:
                take(answer)
            except (SyncError, EngineError) as error:
                wrong = error if isinstance(error, SyncError) else WireError(error.message)
                self._reading.refused(answer, wrong)
                good = [site for site in good if site not in answer.sites]
        return good

    def _table(self, template: str) -> Table:
        table: Table = self._engine.catalog.table(template)
        return table

    def _paths(self, devices: DeviceIds | None) -> tuple[str, ...] | None:
        if devices is None:
            return None
        return tuple(self._engine.catalog.devices.paths(devices.tolist()))


def _selected(schema: pa.Schema, columns: Sequence[str], batches: Iterable[Any]) -> Any:
    import pyarrow as pa

    names = list(dict.fromkeys(columns))
    some = pa.schema([schema.field(name) for name in names])
    return pa.RecordBatchReader.from_batches(some, (batch.select(names) for batch in batches))


def newest_of(found: Sequence[LastRows]) -> LastRows:
    """The newest of each device and measurement; of one time, what is here."""
    from mainstem_engine.last_values import LastRows
    from mainstem_engine.model import Column

    some = [rows for rows in found if len(rows.device)]
    if len(some) < 2:
        return some[0] if some else found[0]
    device = np.unique(np.concatenate([rows.device for rows in some]))
    count = len(device)
    time = np.full(count, TIME_MIN_NS, np.int64)
    keys = {key for rows in some for key in rows.columns}
    columns: dict[int, Column] = {}
    times: dict[int, Any] = {}
    for rows in some:
        at = np.searchsorted(device, rows.device)
        time[at] = np.maximum(time[at], rows.time)
    for key in keys:
        there = [rows for rows in some if key in rows.columns]
        values = np.zeros(count, there[0].columns[key].values.dtype)
        newest = np.full(count, TIME_MIN_NS, np.int64)
        valid = np.zeros(count, np.bool_)
        for rows in there:
            column, moment = rows.columns[key], rows.column_times[key]
            ok = column.mask()
            at = np.searchsorted(device, rows.device)
            better = ok & (~valid[at] | (moment > newest[at]))
            values[at[better]] = column.values[better]
            newest[at[better]] = moment[better]
            valid[at[better]] = True
        columns[key] = Column(values, None if valid.all() else valid)
        times[key] = newest
    return LastRows(device, time, columns, times)
