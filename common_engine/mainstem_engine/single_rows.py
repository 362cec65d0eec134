"""Calls of one row each, gathered into records: group commit begins before the log.

1. A call whose values are plain Python values of exactly the right types is checked against a
   *form* (what is known of its table and columns) without making an array, and noted. Anything
   else, and everything that is wrong, is left to Engine.write.
2. A thread makes one record per table of what was noted. While it works, the next calls are noted.
3. Whoever appends another record appends first what was noted (``take_over``): the log keeps the
   order of calls. Noted rows have no LSN yet; they are appended under the append lock.
4. The calls of one group share an Ack, which is done when all of them are durable and visible.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.consumers import Ack
from mainstem_engine.errors import ClosedError, EngineError, OverloadedError
from mainstem_engine.model import Column, ColumnType, Rows
from mainstem_engine.retention import NOTHING_NS
from mainstem_engine.store import Store

NOTED_MAX = 1 << 12
"""Rows that wait for the thread; then the caller itself makes the record, and so slows down."""
FORMS_MAX = 256
"""Tables times sets of columns that are written by single rows; beyond it, forms are made anew."""
FORM_S_MAX = 10.0
"""A form is made anew after this long: what it knows of retention moves with the clock."""
RETENTION_MARGIN_NS = 600 * 1_000_000_000
"""Rows so near to what is no longer kept are checked one by one."""
DEVICES_MAX = 1 << 16
"""Devices that a form remembers as the table's own."""

_FLOAT_MAX = float(np.finfo(np.float32).max)

WriteRows = Callable[[Table, Rows, Ack | None], Ack]


@dataclass(slots=True)
class _Form:
    """What calls with the same table and columns have in common. ``low`` and ``high`` bound the
    time in the table's precision; ``bounds``: (position, least, greatest) of a column."""

    table: Table
    ids: tuple[int, ...]
    types: tuple[type, ...]
    bounds: tuple[tuple[int, Any, Any], ...]
    precision_ns: int
    low: int
    high: int
    revision: int
    until_s: float
    devices: set[int] = field(default_factory=set)


_Noted = tuple[_Form, int, int, list[Any]]


class SingleRows:
    """See the module. ``write_rows(table, rows, ack)`` logs typed rows; the Ack is the group's."""

    def __init__(self, store: Store, write_rows: WriteRows) -> None:
        self._store = store
        self._write_rows = write_rows
        self._forms: dict[tuple[str, ...], _Form] = {}
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._noted: list[_Noted] = []
        self._ack: Ack | None = None
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._appending = False

    def offer(
        self, template: str, device: Any, moment: Any, columns: Mapping[str, Any]
    ) -> Ack | None:
        """The Ack of a row that was noted, or None: it is for somebody who looks closer.

        ``columns``: lists of one value. Raises ClosedError, LogFailedError, OverloadedError.
        """
        form = self._form((template, *columns))
        if form is None or type(moment) is not int or not form.low <= moment <= form.high:
            return None
        values = []
        for data in columns.values():
            if type(data) is not list or len(data) != 1:
                return None
            values.append(data[0])
        if tuple(map(type, values)) != form.types:
            return None
        for position, low, high in form.bounds:
            if not low <= values[position] <= high:
                return None
        number = self._device(form, device)
        return None if number is None else self._note((form, number, moment, values))

    def take_over(self) -> None:
        """Appends what was noted. With the append lock held, or about to be taken."""
        if not self._noted:
            return
        with self._store.append_lock:
            if self._appending:
                return  # a record of this very group
            with self._lock:
                noted, self._noted = self._noted, []
                ack, self._ack = self._ack, None
            if not noted or ack is None:
                return
            self._appending = True
            try:
                self._append(noted, ack)
            except EngineError as error:
                self._store.refuse(ack, error)
            finally:
                self._appending = False

    def stop(self) -> None:
        """Appends what was noted, and stops the thread. May be called twice."""
        with self._lock:
            self._stopped = True
            self._work.notify_all()
        if self._thread is not None:
            self._thread.join()
        self.take_over()

    def _note(self, row: _Noted) -> Ack:
        self._store.check_open()
        with self._lock:
            if self._stopped:
                raise ClosedError("the engine is closed")
            ack = self._ack
            if ack is None:
                ack = self._ack = self._store.ack()
                self._start()
                self._work.notify()
            self._noted.append(row)
            full = len(self._noted) >= NOTED_MAX
        if full:
            self._store.admit()
            self.take_over()
        return ack

    def _form(self, names: tuple[str, ...]) -> _Form | None:
        form = self._forms.get(names)
        current = form is not None and form.revision == self._store.definitions
        if form is not None and current and form.until_s > time.monotonic():
            return form
        # Definitions change under this lock: what is read here belongs together.
        with self._store.append_lock:
            form = self._made(names)
        if form is not None:
            if len(self._forms) >= FORMS_MAX:
                self._forms.clear()
            self._forms[names] = form
        return form

    def _made(self, names: tuple[str, ...]) -> _Form | None:
        template, *columns = names
        table = self._store.catalog.templates.get(template)
        measurements = [] if table is None else [table.measurement(name) for name in columns]
        if table is None or not measurements:
            return None
        types: list[type] = []
        bounds: list[tuple[int, Any, Any]] = []
        ids: dict[int, None] = {}
        for position, known in enumerate(measurements):
            plain = None if known is None else _plain_type(known.type)
            if known is None or plain is None or known.id in ids:
                return None
            ids[known.id] = None
            types.append(plain[0])
            if plain[1] is not None:
                bounds.append((position, *plain[1]))
        precision_ns = self._store.catalog.precision_ns(template)
        safe_ns = self._store.retention.safe_from_ns(table)
        low_ns = TIME_MIN_NS if safe_ns == NOTHING_NS else safe_ns + RETENTION_MARGIN_NS
        return _Form(
            table,
            tuple(ids),
            tuple(types),
            tuple(bounds),
            precision_ns,
            -(-low_ns // precision_ns),
            TIME_MAX_NS // precision_ns,
            self._store.definitions,
            time.monotonic() + FORM_S_MAX,
        )

    def _device(self, form: _Form, device: Any) -> int | None:
        """The id of a device of the form's table."""
        devices = self._store.catalog.devices
        number = devices.id_of(device) if type(device) is str else device
        if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < 0:
            return None
        number = int(number)
        if number not in form.devices:
            if not devices.all_in_family(np.array([number]), form.table.family):
                return None
            if len(form.devices) >= DEVICES_MAX:
                form.devices.clear()
            form.devices.add(number)
        return number

    def _append(self, noted: Sequence[_Noted], ack: Ack) -> None:
        """One record per table, in order of the calls; the last completes the group."""
        tables: dict[str, list[_Noted]] = {}
        for row in noted:
            tables.setdefault(row[0].table.name, []).append(row)
        runs = [
            (form, list(some))
            for rows in tables.values()
            for form, some in itertools.groupby(rows, key=_form_of)
        ]
        for position, (form, some) in enumerate(runs):
            last = position == len(runs) - 1
            self._write_rows(form.table, _rows(form, some), ack if last else self._store.ack())

    def _start(self) -> None:
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="engine-rows", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._work:
                while not self._noted and not self._stopped:
                    self._work.wait()
                if self._stopped:
                    return
            try:
                self._store.admit()
            except OverloadedError:
                continue  # callers are told so when as many as may wait do
            except EngineError:
                pass  # of the log, or closed: the group is told when it is appended
            self.take_over()


def _form_of(row: _Noted) -> _Form:
    return row[0]


def _plain_type(kind: ColumnType) -> tuple[type, tuple[Any, Any] | None] | None:
    """The Python type that a column takes as it is, and the bounds to check."""
    if kind == ColumnType.DOUBLE:
        return float, None
    if kind == ColumnType.FLOAT:
        return float, (-_FLOAT_MAX, _FLOAT_MAX)
    if kind == ColumnType.BOOLEAN:
        return bool, None
    if kind.is_integer:
        limits = np.iinfo(kind.dtype)
        return int, (int(limits.min), int(limits.max))
    return None


def _rows(form: _Form, noted: Iterable[_Noted]) -> Rows:
    _, devices, moments, values = zip(*noted, strict=True)
    times = np.array(moments, np.int64) * form.precision_ns
    rows = Rows(np.array(devices, np.uint32), times)
    for key, cells in zip(form.ids, zip(*values, strict=True), strict=True):
        rows.columns[key] = Column(np.array(cells, form.table.types[key].dtype))
    return rows
