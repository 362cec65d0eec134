"""Values that are unusual for their device: how many standard deviations from a running mean.

1. Each device has a model of its own: mean and variance, older values weighted exponentially less
   (river's EWMean and EWVar, taken of the difference to the first value, which keeps the digits).
2. Every value is judged, in arrays, by what the model said before it.
3. One value is learned in each ``every_ns`` of event time, the first: that is what bounds the
   cost of the models, which are Python objects (about a microsecond a value learned).
4. A model says nothing before it has learned ``memory_ns / every_ns`` values. Nothing is kept over
   a start: models warm up again, and alarms that are raised stay so meanwhile.

What lasts becomes usual: unusual values are learned, too. Bounded: MODELS_MAX devices a rule, each
about 600 bytes and 24 more by id.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence

import numpy as np

from mainstem_edge.alarms.conditions import Verdict, Within
from mainstem_edge.alarms.series import NEVER, Floats, Places, Series
from mainstem_engine.model import DeviceIds, TimesNs

log = logging.getLogger("mainstem.alarms")

MODELS_MAX = 20_000
"""Of a rule: 12 MB, and 2 % of a core at a value a second."""


class Deviation:
    """Condition of a rule: beyond ``limit`` standard deviations; over within ``limit`` less
    ``hysteresis``. ``noise``: the standard deviation is at least that."""

    def __init__(
        self, limit: float, hysteresis: float, noise: float, memory_ns: int, every_ns: int
    ) -> None:
        self._limit = limit
        self._calm = limit - hysteresis
        self._noise = noise
        self._every_ns = every_ns
        self._count = max(2, memory_ns // every_ns)
        self._models: dict[int, _Model] = {}
        self._is_full = False
        self._mean: Floats = np.empty(0)
        self._sigma: Floats = np.empty(0)
        self._turn: TimesNs = np.empty(0, np.int64)

    @property
    def within(self) -> Within:
        return Within(high=math.nan)

    def may_hold(self, series: Series) -> bool:
        """It learns from all of them."""
        return True

    def verdict(self, series: Series) -> Verdict:
        mean, sigma = self._learned_before(series)
        with np.errstate(invalid="ignore"):
            away = np.abs(series.values - mean)
            hot = (away > self._limit * sigma) & (sigma > 0)
            return Verdict(hot, away <= self._calm * sigma)

    def _learned_before(self, series: Series) -> tuple[Floats, Floats]:
        """Mean and standard deviation before each row, NaN while warming up; learns the rows."""
        devices = series.devices
        self._grow(int(devices[-1]) + 1)
        mean, sigma = self._mean[devices], self._sigma[devices]
        samples = self._samples(series)
        if not len(samples):
            return mean, sigma
        learned = self._learn(devices[samples], series.values[samples])
        newest = np.searchsorted(samples, np.arange(len(devices))) - 1  # before each row
        after = np.flatnonzero(newest >= 0)
        after = after[devices[samples[newest[after]]] == devices[after]]
        mean[after], sigma[after] = learned[:, newest[after]]
        return mean, sigma

    def _samples(self, series: Series) -> Places:
        """Rows that are learned."""
        places = np.flatnonzero(np.isfinite(series.values))
        owners, turns = series.devices[places], series.times[places] // self._every_ns
        if not len(places):
            return places
        first = np.append(True, owners[1:] != owners[:-1])
        before = np.roll(turns, 1)
        before[first] = self._turn[owners[first]]
        self._turn[owners[np.append(first[1:], True)]] = turns[np.append(first[1:], True)]
        return places[turns > before]

    def _learn(self, devices: DeviceIds, values: Floats) -> Floats:
        """(mean, standard deviation)[n] after each value."""
        found = np.full((2, len(devices)), np.nan)
        for at, (device, value) in enumerate(zip(devices.tolist(), values.tolist(), strict=True)):
            model = self._models.get(device) or self._made(device, value)
            if model is None:
                continue
            model.learn(value)
            if model.count >= self._count:
                found[0, at], sigma = model.usual()
                found[1, at] = max(sigma, self._noise)
        # Devices are sorted: the last of each stays.
        self._mean[devices], self._sigma[devices] = found
        return found

    def _made(self, device: int, value: float) -> _Model | None:
        if len(self._models) >= MODELS_MAX:
            if not self._is_full:
                log.error("a rule `deviation` has models of only %d devices", MODELS_MAX)
            self._is_full = True
            return None
        model = self._models[device] = _Model(value, fading(self._count))
        return model

    def _grow(self, count: int) -> None:
        have = len(self._mean)
        if count > have:
            more = max(count, 2 * have) - have
            self._mean = np.concatenate([self._mean, np.full(more, np.nan)])
            self._sigma = np.concatenate([self._sigma, np.full(more, np.nan)])
            self._turn = np.concatenate([self._turn, np.full(more, NEVER)])


def fading(count: int) -> float:
    """The weight of the newest value, so that one ``count`` values ago has 1/e of it."""
    return -math.expm1(-1.0 / count)


class _Model:
    """Of one device."""

    __slots__ = ("_mean", "_origin", "_variance", "count")

    def __init__(self, origin: float, weight: float) -> None:
        from river.stats import EWMean, EWVar  # an extra: 13 MB, only where a rule needs it

        self._origin = origin
        self._mean = EWMean(weight)
        self._variance = EWVar(weight)
        self.count = 0

    def learn(self, value: float) -> None:
        self._mean.update(value - self._origin)
        self._variance.update(value - self._origin)
        self.count += 1

    def usual(self) -> Sequence[float]:
        """(mean, standard deviation); rounding may leave a variance just below 0."""
        return self._origin + self._mean.get(), math.sqrt(max(0.0, self._variance.get()))
