"""Values that code holds on to, written alike in every process: of closures, defaults and partial calls."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import functools
import hashlib
import re
import uuid
import zoneinfo
from collections.abc import Callable
from pathlib import PurePath
from types import BuiltinFunctionType, FunctionType, MappingProxyType, MethodType, ModuleType
from typing import Any

__all__ = ["Unseen", "written"]

_PLAIN = (bool, int, float, complex, str, bytes, type(None), type(Ellipsis), range, slice)
_BY_REPR = (
    decimal.Decimal,
    fractions.Fraction,
    dt.date,
    dt.time,
    dt.timedelta,
    dt.timezone,
    zoneinfo.ZoneInfo,
    uuid.UUID,
    PurePath,
)


class Unseen(Exception):  # noqa: N818  # it ends a walk and never reaches a user
    """A value that cannot be written down; the argument says what it is."""


def written(value: object, refer: Callable[[object], str | None]) -> str:
    """Write a value, sets in the order of what is in them.

    Args:
        value: Any.
        refer: Writes functions, classes and modules; None for what it does not know.

    Raises:
        Unseen: If it holds something that cannot be written.

    Example:
        >>> written({"b": {2, 1}}, lambda _: None)
        "dict(str 'b':set(int 1,int 2))"
    """
    return _Writer(refer).write(value)


class _Writer:
    def __init__(self, refer: Callable[[object], str | None]) -> None:
        self._refer = refer
        self._above: list[int] = []

    def write(self, value: object) -> str:
        if type(value) in _PLAIN:
            return f"{type(value).__name__} {value!a}"
        if id(value) in self._above:
            return f"above {len(self._above) - self._above.index(id(value))}"
        self._above.append(id(value))
        try:
            return self._write(value)
        finally:
            self._above.pop()

    def _write(self, value: Any) -> str:
        kind = type(value).__name__
        if isinstance(value, FunctionType | MethodType | BuiltinFunctionType | ModuleType | type):
            return self._referred(value)
        if isinstance(value, functools.partial):
            return f"partial({self.write(value.func)},{self.write(value.args)},{self.write(value.keywords)})"
        if isinstance(value, enum.Enum):
            return f"{self.write(type(value))}.{value.name}"
        if isinstance(value, re.Pattern):
            return f"pattern({self.write(value.pattern)},{value.flags})"
        if isinstance(value, _BY_REPR):
            return f"{kind} {str(value)!a}"
        if isinstance(value, set | frozenset):
            return f"{kind}({','.join(sorted(map(self.write, value)))})"
        if isinstance(value, dict | MappingProxyType):
            return f"{kind}({','.join(f'{self.write(key)}:{self.write(one)}' for key, one in value.items())})"
        if isinstance(value, list | tuple) or kind == "deque":
            named = self._referred(type(value)) if hasattr(value, "_fields") else kind
            return f"{named}({','.join(map(self.write, value))})"
        if isinstance(value, int | float | str | bytes):
            return f"{kind} {value!a}"
        return self._of_numpy(value) or self._of_object(value)

    def _referred(self, value: object) -> str:
        found = self._refer(value)
        if found is None:
            raise Unseen(_named(value))
        return found

    def _of_numpy(self, value: Any) -> str | None:
        if type(value).__module__ != "numpy":
            return None
        import numpy as np

        if not isinstance(value, np.ndarray | np.generic) or value.dtype.hasobject:
            return None
        digest = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"numpy({value.dtype.str},{value.shape},{digest})"

    def _of_object(self, value: Any) -> str:
        """Write a dataclass of the project: its class and its fields. Other objects may change at any time: they are unseen."""
        found = self._refer(type(value))
        if found is None or not found.startswith("@"):
            wrapped = getattr(value, "__wrapped__", None)
            if callable(wrapped):
                return f"wrapped({self.write(wrapped)})"
            raise Unseen(_named(type(value)))
        if not dataclasses.is_dataclass(value):
            raise Unseen(_named(type(value)))
        state = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        return f"{found}{self.write(state)}"


def _named(value: object) -> str:
    module = getattr(value, "__module__", None) or ""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", type(value).__name__)
    return f"{module}.{name}" if module and module != "builtins" else str(name)
