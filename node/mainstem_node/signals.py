"""A signal: one measurement of one device, written ``root.plant.press.temperature``.

The last element is the measurement, what stands before it the device.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mainstem_engine.catalog.names import join_path, split_path
from mainstem_engine.errors import SchemaError
from mainstem_engine.model import Measurement
from mainstem_node.errors import BadRequestError, MissingError

if TYPE_CHECKING:
    from mainstem_engine.engine import Engine

SIGNALS_MAX = 200
"""What one chart or one stream shows at most."""


@dataclass(frozen=True, slots=True)
class Signal:
    """``text`` as it was asked for; ``device`` is the id of ``path``."""

    text: str
    template: str
    path: str
    device: int
    measurement: Measurement


def find_signals(engine: Engine, texts: Iterable[str]) -> list[Signal]:
    """The signals of that names. BadRequestError or MissingError names the one at fault."""
    wanted = [text.strip() for text in texts if text.strip()]
    if len(wanted) > SIGNALS_MAX:
        raise BadRequestError(f"more than {SIGNALS_MAX} signals", field="signals")
    return [_find(engine, text) for text in dict.fromkeys(wanted)]


def _find(engine: Engine, text: str) -> Signal:
    try:
        elements = split_path(text)
        path = join_path(elements[:-1])
    except SchemaError as error:
        raise BadRequestError(error.message, field="signals", hint=error.hint) from None
    found = engine.catalog.table_of_device(path) if len(elements) > 2 else None
    if found is None:
        raise MissingError(
            f"there is no device {path}",
            field="signals",
            hint="write device.measurement, as in root.plant.press.temperature",
        )
    table, device = found
    measurement = table.measurement(elements[-1])
    if measurement is None:
        names = ", ".join(m.name for m in table.template.measurements)
        raise MissingError(
            f"{path} has no measurement {elements[-1]!r}", field="signals", hint=f"it has {names}"
        )
    return Signal(text, table.name, path, device, measurement)
