"""Estimates and intervals, to the bit the same as the command computes them (a test holds both together).

Sums run from the first value to the last with plain float additions, never with ``sum`` or ``math.fsum``:
since CPython 3.12 those compensate rounding, and the last digit would differ.
"""

import math
from typing import Dict, Iterable, List, Optional, Sequence, Tuple

__all__ = ["Bootstrap", "mean", "pass_at_k", "quantile", "wilson95"]

#: The two-sided 95 % quantile of the normal distribution.
_Z95 = 1.959_963_984_540_054
_MASK = (1 << 64) - 1


def _sum(values: Iterable[float]) -> float:
    total = 0.0
    for value in values:
        total += value
    return total


def mean(values: Sequence[float]) -> Optional[float]:
    """The arithmetic mean. ``None`` for no values."""
    return _sum(values) / len(values) if values else None


def quantile(ascending: Sequence[float], q: float) -> Optional[float]:
    """The ``q`` quantile (0 to 1) by linear interpolation between the nearest ranks. ``None`` for no values."""
    if not ascending:
        return None
    position = min(max(q, 0.0), 1.0) * (len(ascending) - 1)
    below = math.floor(position)
    above = min(below + 1, len(ascending) - 1)
    return ascending[below] + (ascending[above] - ascending[below]) * (position - below)


def wilson95(successes: int, n: int) -> Optional[List[float]]:
    """Wilson's 95 % interval for a proportion. ``None`` for no trials."""
    if n == 0:
        return None
    p = successes / n
    z2 = _Z95 * _Z95
    centre = (p + z2 / (2.0 * n)) / (1.0 + z2 / n)
    half = _Z95 / (1.0 + z2 / n) * math.sqrt(p * (1.0 - p) / n + z2 / (4.0 * n * n))
    return [0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half]


def pass_at_k(n: int, c: int, k: int) -> Optional[float]:
    """The unbiased estimate of pass@k from ``c`` passes in ``n`` samples. ``None`` if there are fewer than ``k``."""
    if k == 0 or k > n or c > n:
        return None
    if n - c < k:
        return 1.0
    if k == 1:
        return c / n
    all_fail = 1.0
    for i in range(n - c + 1, n + 1):
        all_fail *= 1.0 - k / i
    return 1.0 - all_fail


class Bootstrap:
    """Percentile bootstrap over problems; the generator is SplitMix64, so it is the same everywhere."""

    def __init__(self, seed: int = 0, resamples: int = 10_000) -> None:
        self.seed = seed
        self.resamples = resamples
        self._known: Dict[Tuple[float, ...], Optional[List[float]]] = {}

    def mean95(self, values: Sequence[float]) -> Optional[List[float]]:
        """The 95 % interval of the mean. ``None`` for no values."""
        key = tuple(values)
        if key not in self._known:
            self._known[key] = self._mean95(key)
        return self._known[key]

    def _mean95(self, values: Tuple[float, ...]) -> Optional[List[float]]:
        if not values or self.resamples == 0:
            return None
        if all(value == values[0] for value in values):
            # Every resample is the same sum; the draws would not change it.
            means = [_sum(values) / len(values)]
        else:
            try:
                means = self._means_with_numpy(values)
            except ImportError:
                means = self._means(values)
        means.sort()
        low, high = quantile(means, 0.025), quantile(means, 0.975)
        assert low is not None and high is not None
        return [low, high]

    def _means(self, values: Tuple[float, ...]) -> List[float]:
        n = len(values)
        state = self.seed
        means = []
        for _ in range(self.resamples):
            total = 0.0
            for _ in range(n):
                state = (state + 0x9E3779B97F4A7C15) & _MASK
                z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
                z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
                total += values[((z ^ (z >> 31)) * n) >> 64]
            means.append(total / n)
        return means

    def _means_with_numpy(self, values: Tuple[float, ...]) -> List[float]:
        """The same numbers some fifty times faster: draw i is a function of the seed and i alone."""
        import numpy as np

        n = len(values)
        table = np.array(values)
        totals = np.zeros(self.resamples)
        first = np.arange(self.resamples, dtype=np.uint64) * np.uint64(n)
        with np.errstate(over="ignore"):
            for draw in range(n):
                state = np.uint64(self.seed) + (first + np.uint64(draw + 1)) * np.uint64(0x9E3779B97F4A7C15)
                z = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
                z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
                z ^= z >> np.uint64(31)
                # The upper half of a 128-bit product, from 32-bit halves; n is far below 2^32.
                low, high = z & np.uint64(0xFFFFFFFF), z >> np.uint64(32)
                index = (high * np.uint64(n) + ((low * np.uint64(n)) >> np.uint64(32))) >> np.uint64(32)
                totals += table[index.astype(np.intp)]
        return [float(total) / n for total in totals]
