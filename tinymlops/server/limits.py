"""How often each may ask: a bucket of requests that fills again with time."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Rates"]

_MOST = 10_000
"""Actors that are remembered; the one that has not asked for longest is forgotten, whose bucket is fullest."""
_BURST_SECONDS = 1.0
"""A bucket holds what comes in this time, and at least one request."""


class Rates:
    """Token buckets, one for each actor, filled by a clock that never goes back.

    Args:
        clock: Seconds.

    Example:
        >>> now = 0.0
        >>> rates = Rates(clock=lambda: now)
        >>> [rates.allow("ana", 2) for _ in range(3)]
        [None, None, 0.5]
        >>> now = 0.5
        >>> rates.allow("ana", 2) is None
        True
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By actor: how much it held, and when."""

    def allow(self, actor: str, rate: float) -> float | None:
        """Take one request out of an actor's bucket; a refused one takes nothing.

        Args:
            actor: Who asks.
            rate: Requests a second, above zero.

        Returns:
            None if it may ask; else the seconds until it may.
        """
        most = max(1.0, rate * _BURST_SECONDS)
        with self._lock:
            now = self._clock()
            held, at = self._buckets.pop(actor, (most, now))
            held = min(most, held + (now - at) * rate)
            is_allowed = held >= 1.0
            self._buckets[actor] = (held - 1.0 if is_allowed else held, now)
            if len(self._buckets) > _MOST:
                self._buckets.popitem(last=False)
        return None if is_allowed else (1.0 - held) / rate

    def __len__(self) -> int:
        return len(self._buckets)
