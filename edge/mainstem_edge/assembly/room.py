"""A module of this package that is imported when one of its functions is called first: an edge has
in its memory the kinds of collectors that its file names, and no others."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any


class Room:
    """``Room("mqtt").readers(...)`` calls ``readers`` of ``mainstem_edge.assembly.mqtt``."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, function: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            module = import_module(f"mainstem_edge.assembly.{self._name}")
            return getattr(module, function)(*arguments)

        return call
