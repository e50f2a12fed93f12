"""JSON text as it is stored: SQLite and JSON hold no non-finite float, so it is the text 'NaN', 'Infinity' or '-Infinity'."""

from __future__ import annotations

import math

import msgspec

__all__ = ["spelled_float", "to_json"]

_JSON = msgspec.json.Encoder()  # keeps the order of a dict: it is the order of a view's features


def to_json(value: object) -> str:
    """Write JSON text: keys in order, non-finite floats as 'NaN', 'Infinity' and '-Infinity'."""
    text = _JSON.encode(value)
    # msgspec writes NaN and the infinities as null, where they would be lost.
    if b"null" in text and _is_lossy(plain := msgspec.to_builtins(value)):
        text = _JSON.encode(_spelled(plain))
    return text.decode()


def _is_lossy(value: object) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else (value,)
    for item in items:
        if item.__class__ is float:
            if item - item != 0.0:  # the difference is zero only for a finite one
                return True
        elif isinstance(item, dict | list) and _is_lossy(item):
            return True
    return False


def _spelled(value: object) -> object:
    if isinstance(value, float):
        return spelled_float(value)
    if isinstance(value, dict):
        return {key: _spelled(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    return value


def spelled_float(value: float | str) -> float | str:
    """Return a float as it is stored: one that is not finite as text."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value
