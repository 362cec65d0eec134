"""Mainstem's storage engine: an embedded library, arrays in and Arrow out.

What works on directories that no engine has open is imported when it is asked for: a process that
only stores does not hold it in memory.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mainstem_engine.accounting import StoreCounts
from mainstem_engine.consumers import Ack, AppliedDelete, AppliedRows, LogConsumer, RowSink
from mainstem_engine.damage import Damage
from mainstem_engine.deletion import Deletion
from mainstem_engine.engine import Engine
from mainstem_engine.errors import (
    ClosedError,
    CorruptionError,
    EngineError,
    LockedError,
    LogFailedError,
    MainstemError,
    NotFoundError,
    NotOwnerError,
    OutOfRangeError,
    OutOfRetentionError,
    OverloadedError,
    SchemaError,
    SqlError,
    StaleImageError,
)
from mainstem_engine.images import SliceImage
from mainstem_engine.model import Column, ColumnType, Measurement, Origin, Rows, Tag, Template
from mainstem_engine.options import Durability, EngineOptions
from mainstem_engine.restore import RestoreReport, restore
from mainstem_engine.rollup import RollupDefinition, Rollups
from mainstem_engine.slices import SliceDigests
from mainstem_engine.statistics import (
    DirectoryStatistics,
    EngineStatistics,
    directory_statistics,
)

if TYPE_CHECKING:
    from mainstem_engine.backup import BackupReport
    from mainstem_engine.check import CheckReport, check_directory
    from mainstem_engine.repair import RepairPlan, RepairReport, plan_repair, repair_directory

_LATER = {
    "BackupReport": "backup",
    "CheckReport": "check",
    "check_directory": "check",
    "RepairPlan": "repair",
    "RepairReport": "repair",
    "plan_repair": "repair",
    "repair_directory": "repair",
}
"""Where each is."""


def __getattr__(name: str) -> Any:
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)


__all__ = [
    # the engine
    "Engine",
    "EngineOptions",
    "Durability",
    "Ack",
    "Deletion",
    # what it stores
    "Template",
    "Measurement",
    "Tag",
    "ColumnType",
    "Column",
    "Rows",
    "Origin",
    # those who follow the log
    "LogConsumer",
    "AppliedRows",
    "AppliedDelete",
    "RowSink",
    "RollupDefinition",
    "Rollups",
    # what it reports
    "EngineStatistics",
    "DirectoryStatistics",
    "directory_statistics",
    "StoreCounts",
    "SliceDigests",
    "SliceImage",
    # directories that no engine has open
    "check_directory",
    "CheckReport",
    "Damage",
    "plan_repair",
    "RepairPlan",
    "repair_directory",
    "RepairReport",
    "BackupReport",
    "restore",
    "RestoreReport",
    # errors
    "MainstemError",
    "EngineError",
    "LockedError",
    "LogFailedError",
    "CorruptionError",
    "ClosedError",
    "OverloadedError",
    "SchemaError",
    "NotFoundError",
    "NotOwnerError",
    "StaleImageError",
    "OutOfRangeError",
    "OutOfRetentionError",
    "SqlError",
]
