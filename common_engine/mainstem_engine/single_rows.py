"""Calls of one row each, gathered into records: group commit begins before the log.

1. A call whose values are plain Python values of exactly the right types is checked against a
   *form* (what is known of its table and columns) and packed into the bytes of one row, without
   making an array. Anything else, and everything that is wrong, is left to Engine.write.
2. A thread makes one record per table of what was noted; the columns are cut out of the bytes of
   all rows. While it works, the next calls are noted.
3. Whoever appends another record appends first what was noted (``take_over``): the log keeps the
   order of calls. Noted rows have no LSN yet; they are appended under the append lock.
4. The calls of one group share an Ack, which is done when all of them are durable and visible.
5. Noting takes no lock: threads that hand a lock to each other for every row spend their time on
   that. A row is put into the group that is open, then the group is looked at again. Whoever closes
   it says so before taking its rows, so a row that was too late is seen to be, by its own caller.
"""

from __future__ import annotations

import itertools
import struct
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import index
from typing import Any

import numpy as np

from mainstem_engine.catalog.templates import Table
from mainstem_engine.columns import TIME_MAX_NS, TIME_MIN_NS
from mainstem_engine.consumers import Ack
from mainstem_engine.errors import ClosedError, EngineError, OverloadedError
from mainstem_engine.model import NO_DEVICE, Column, ColumnType, Rows
from mainstem_engine.retention import NOTHING_NS
from mainstem_engine.store import Store

NOTED_MAX = 1 << 12
"""Rows that wait for the thread, and one of each caller; then the next caller makes the record."""
FORMS_MAX = 256
"""Tables times sets of columns that are written by single rows; beyond it, forms are made anew."""
FORM_S_MAX = 10.0
"""A form is made anew after this long: what it knows of retention moves with the clock."""
RETENTION_MARGIN_NS = 600 * 1_000_000_000
"""Rows so near to what is no longer kept are checked one by one."""
DEVICES_MAX = 1 << 16
"""Devices that a form remembers as the table's own."""

_FLOAT_MAX = float(np.finfo(np.float32).max)
DEVICE_MAX = int(NO_DEVICE) - 1

_CODES = {
    ("b", 1): "?", ("f", 4): "f", ("f", 8): "d",
    ("i", 1): "b", ("i", 2): "h", ("i", 4): "i", ("i", 8): "q",
    ("u", 1): "B", ("u", 2): "H", ("u", 4): "I", ("u", 8): "Q",
}  # fmt: skip

WriteRows = Callable[[Table, Rows, Ack | None], Ack]


@dataclass(slots=True, eq=False)
class _Form:
    """What calls with the same table and columns have in common.

    ``pack`` makes a row of device, time and values, and refuses integers that do not fit; ``row``
    is what it makes. ``low`` and ``high`` bound the time in the table's precision, ``floats`` are
    the positions of FLOAT columns, which struct would round to infinity."""

    table: Table
    ids: tuple[int, ...]
    types: tuple[type, ...]
    pack: Callable[..., bytes]
    row: np.dtype[Any]
    floats: tuple[int, ...]
    precision_ns: int
    low: int
    high: int
    revision: int
    until_s: float
    devices: set[int] = field(default_factory=set)


_Noted = tuple[_Form, bytes]
"""A packed row."""


class _Group:
    """Rows that become durable together. ``closed``: no row that comes now is taken with it."""

    __slots__ = ("ack", "closed", "rows", "told")

    def __init__(self, ack: Ack, *, closed: bool = False) -> None:
        self.ack = ack
        self.rows: list[_Noted] = []
        self.closed = closed
        self.told = False
        """Whether the thread was told of it."""


class SingleRows:
    """See the module. ``write_rows(table, rows, ack)`` logs typed rows; the Ack is the group's."""

    def __init__(self, store: Store, write_rows: WriteRows) -> None:
        self._store = store
        self._write_rows = write_rows
        self._forms: dict[tuple[str, ...], _Form] = {}
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._group = _Group(store.ack())
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._appending = False

    def offer(
        self, template: str, device: Any, moment: Any, columns: Mapping[str, Any]
    ) -> Ack | None:
        """The Ack of a row that was noted, or None: it is for somebody who looks closer.

        ``columns``: lists of one value. Raises ClosedError, LogFailedError, OverloadedError.
        """
        form = self._forms.get((template, *columns))
        store = self._store
        if form is None or form.revision != store.definitions or form.until_s <= time.monotonic():
            form = self._new_form((template, *columns))
        if form is None or type(moment) is not int or not form.low <= moment <= form.high:
            return None
        values = []
        for data in columns.values():
            if type(data) is not list or len(data) != 1:
                return None
            values.append(data[0])
        if tuple(map(type, values)) != form.types:
            return None
        for position in form.floats:
            if not -_FLOAT_MAX <= values[position] <= _FLOAT_MAX:
                return None
        try:
            row = form.pack(self._device(form, device), moment, *values)
        except struct.error:  # no device, or an integer beyond the type of its column
            return None
        return self._note(form, row)

    def take_over(self) -> None:
        """Appends what was noted. With the append lock held, or about to be taken."""
        if not self._group.rows:
            return
        with self._store.append_lock:
            if self._appending:
                return  # a record of this very group
            with self._lock:
                group = self._group
                if not group.rows:
                    return
                rows = self._closed(group)
                self._group = _Group(self._store.ack())
            self._appending = True
            try:
                self._append(rows, group.ack)
            except EngineError as error:
                self._store.refuse(group.ack, error)
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
        with self._lock:
            # What was noted before it was closed is waited for by its caller, who is told.
            left = self._closed(self._group)
            if left:
                self._store.refuse(self._group.ack, ClosedError("the engine is closed"))

    def _note(self, form: _Form, row: bytes) -> Ack:
        self._store.check_open()
        if len(self._group.rows) >= NOTED_MAX:
            self._store.admit()
            self.take_over()
        group, noted = self._group, (form, row)
        group.rows.append(noted)
        if group.closed:
            group = self._again(group, noted)
        if not group.told:
            with self._work:
                group.told = True
                self._start()
                self._work.notify()
        return group.ack

    def _again(self, closed: _Group, noted: _Noted) -> _Group:
        """The group that a row is in that was put into a group about when it was closed.

        Equal rows of two callers may be taken for each other: either way both are written."""
        with self._lock:
            try:
                closed.rows.remove(noted)
            except ValueError:
                return closed  # taken in time
            if self._stopped:
                raise ClosedError("the engine is closed")
            self._group.rows.append(noted)
            return self._group

    def _closed(self, group: _Group) -> list[_Noted]:
        """Closes a group, under the lock; its rows. What remains in it came too late."""
        group.closed = True
        count = len(group.rows)
        rows = group.rows[:count]
        del group.rows[:count]
        return rows

    def _new_form(self, names: tuple[str, ...]) -> _Form | None:
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
        measurements = [] if table is None else [table.shown_measurement(name) for name in columns]
        if table is None or not measurements:
            return None
        types: list[type] = []
        kinds: dict[int, ColumnType] = {}
        for known in measurements:
            plain = None if known is None else _plain_type(known.type)
            if known is None or plain is None or known.id in kinds:
                return None
            kinds[known.id] = known.type
            types.append(plain)
        dtypes: list[np.dtype[Any]] = [np.dtype(np.uint32), np.dtype(np.int64)]
        dtypes += [kind.dtype for kind in kinds.values()]
        precision_ns = self._store.catalog.precision_ns(template)
        safe_ns = self._store.retention.safe_from_ns(table)
        low_ns = TIME_MIN_NS if safe_ns == NOTHING_NS else safe_ns + RETENTION_MARGIN_NS
        return _Form(
            table,
            tuple(kinds),
            tuple(types),
            struct.Struct("<" + "".join(_code(dtype) for dtype in dtypes)).pack,
            np.dtype([(str(n), dtype.newbyteorder("<")) for n, dtype in enumerate(dtypes)]),
            tuple(n for n, kind in enumerate(kinds.values()) if kind == ColumnType.FLOAT),
            precision_ns,
            -(-low_ns // precision_ns),
            TIME_MAX_NS // precision_ns,
            self._store.definitions,
            time.monotonic() + FORM_S_MAX,
        )

    def _device(self, form: _Form, device: Any) -> int | None:
        """The id of a device of the form's table."""
        devices = self._store.catalog.devices
        if type(device) is str:
            number = devices.id_of(device)
            if number is None:
                return None
        elif isinstance(device, bool):
            return None
        else:
            try:
                number = index(device)
            except TypeError:
                return None
        if number not in form.devices:
            if not 0 <= number <= DEVICE_MAX or not devices.all_in_family(
                np.array([number]), form.table.family
            ):
                return None
            if len(form.devices) >= DEVICES_MAX:
                form.devices.clear()
            form.devices.add(number)
        return number

    def _append(self, noted: Sequence[_Noted], ack: Ack) -> None:
        """One record per table, in order of the calls; the last completes the group."""
        tables: dict[str, list[tuple[_Form, list[bytes]]]] = {}
        for form, some in itertools.groupby(noted, key=_form_of):
            runs = tables.setdefault(form.table.name, [])
            packed = [row for _, row in some]
            if runs and runs[-1][0] is form:
                runs[-1][1].extend(packed)
            else:
                runs.append((form, packed))
        every = [run for runs in tables.values() for run in runs]
        for position, (form, packed) in enumerate(every):
            last = position == len(every) - 1
            self._write_rows(form.table, _rows(form, packed), ack if last else self._store.ack())

    def _start(self) -> None:
        if self._thread is None and not self._stopped:
            self._thread = threading.Thread(target=self._run, name="engine-rows", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            with self._work:
                while not self._group.rows and not self._stopped:
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


def _form_of(noted: _Noted) -> _Form:
    return noted[0]


def _code(dtype: np.dtype[Any]) -> str:
    """The letter of struct for one value of a plain column, in its standard size."""
    return _CODES[dtype.kind, dtype.itemsize]


def _plain_type(kind: ColumnType) -> type | None:
    """The Python type that a column takes as it is."""
    if kind.is_float:
        return float
    if kind == ColumnType.BOOLEAN:
        return bool
    return int if kind.is_integer else None


def _rows(form: _Form, packed: Sequence[bytes]) -> Rows:
    made = np.frombuffer(b"".join(packed), form.row)
    device, moment, *cells = (np.ascontiguousarray(made[name]) for name in form.row.names or ())
    rows = Rows(device, moment * form.precision_ns)
    for key, values in zip(form.ids, cells, strict=True):
        rows.columns[key] = Column(values)
    return rows
