"""A few values that a process made of a workspace's files and keeps for the next call, each with its version."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Remembered"]

_MOST = 32


class Remembered:
    """The values used last; safe for threads.

    A value holds what it was made from, such as mapped files: it goes when another version of it is asked for, when others
    take its place, or with the workspace.
    """

    def __init__(self) -> None:
        self._values: OrderedDict[Hashable, tuple[Hashable, Any]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: Hashable, version: Hashable) -> Any:
        """Return the value of a key; None if there is none of this version, and an older one is then forgotten."""
        with self._lock:
            found = self._values.get(key)
            if found is None:
                return None
            if found[0] != version:
                del self._values[key]
                return None
            self._values.move_to_end(key)
            return found[1]

    def put(self, key: Hashable, version: Hashable, value: Any) -> None:
        """Keep a value in the place of the one that the key had."""
        with self._lock:
            self._values[key] = version, value
            self._values.move_to_end(key)
            while len(self._values) > _MOST:
                self._values.popitem(last=False)

    def clear(self) -> None:
        """Forget every value."""
        with self._lock:
            self._values.clear()
