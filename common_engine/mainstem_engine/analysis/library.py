"""All functions of analysis by name.

A module of functions lists them in ``FUNCTIONS``; its name is added to ``_MODULES`` here. Names are
matched without regard to case.
"""

from __future__ import annotations

import importlib
from functools import cache

from mainstem_engine.analysis.function import Function, PointFunction, WindowFunction

_MODULES: tuple[str, ...] = (
    "anomalies",
    "buckets",
    "conditions",
    "convolution",
    "correlation",
    "density",
    "differences",
    "discovery",
    "downsampling",
    "frequency",
    "histograms",
    "matching",
    "order_statistics",
    "profiling",
    "quality",
    "rates",
    "regular_times",
    "repair",
    "running",
    "segment",
    "selections",
    "spline",
    "statistics",
    "weights",
)
"""Modules of this package; imported when the first function is asked for."""


@cache
def _all() -> tuple[dict[str, PointFunction], dict[str, WindowFunction]]:
    points: dict[str, PointFunction] = {}
    windows: dict[str, WindowFunction] = {}
    for name in _MODULES:
        module = importlib.import_module(f"mainstem_engine.analysis.{name}")
        functions: tuple[Function, ...] = module.FUNCTIONS
        for function in functions:
            known: dict[str, PointFunction] | dict[str, WindowFunction]
            known = points if isinstance(function, PointFunction) else windows
            if function.name in known:
                raise ValueError(f"two functions are called {function.name}")
            known[function.name] = function  # type: ignore[assignment]
    return points, windows


def point_function(name: str) -> PointFunction | None:
    """The function that makes points, None if there is none of that name."""
    return _all()[0].get(name.casefold())


def window_function(name: str) -> WindowFunction | None:
    """The function that makes one value per window, None if there is none of that name."""
    return _all()[1].get(name.casefold())


def functions() -> tuple[Function, ...]:
    """All of them, by name."""
    points, windows = _all()
    return tuple(sorted([*points.values(), *windows.values()], key=lambda f: f.name))
