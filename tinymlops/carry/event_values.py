"""What a value of an event file is: a number, text, a histogram, pictures or sound, or hyperparameters."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tinymlops.carry.event_files import Fields

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.carry.event_files import Value
    from tinymlops.records import Scalar

__all__ = ["Histogram", "Hyperparameters", "Picture", "Plain", "Read", "Text", "read_value"]

_SIMPLE, _IMAGE, _HISTOGRAM, _AUDIO, _TENSOR = 2, 4, 5, 6, 8
_STRING = 7
_DTYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    9: "<i8",
    10: "?",
    17: "<u2",
    19: "<f2",
    22: "<u4",
    23: "<u8",
}
_PACKED = {1: (5, "<f4"), 2: (6, "<f8")}
_NUMBERS = {3: 7, 4: 7, 5: 7, 6: 7, 9: 10, 10: 11, 17: 7, 22: 16, 23: 17}
_SUFFIXES = {b"\x89PNG": ".png", b"\xff\xd8\xff": ".jpg", b"GIF8": ".gif", b"RIFF": ".wav", b"BM": ".bmp"}


@dataclass(frozen=True)
class Plain:
    """A number."""

    value: float


@dataclass(frozen=True)
class Text:
    """One or more texts."""

    texts: Sequence[str]

    def rows(self) -> list[dict[str, object]]:
        """Return them as rows of a table."""
        return [{"text": text} for text in self.texts]


@dataclass(frozen=True)
class Histogram:
    """Buckets: from, to and how many."""

    edges: Sequence[tuple[float, float]]
    counts: Sequence[float]

    def rows(self) -> list[dict[str, object]]:
        """Return it as one row of a table."""
        lower, upper = [low for low, _ in self.edges], [high for _, high in self.edges]
        return [{"lower": lower, "upper": upper, "count": list(self.counts)}]


@dataclass(frozen=True)
class Picture:
    """Encoded pictures, or sound."""

    contents: Sequence[bytes]
    kind: str = "image"

    @property
    def suffix(self) -> str:
        """What their files end in."""
        start = self.contents[0] if self.contents else b""
        return next((suffix for magic, suffix in _SUFFIXES.items() if start.startswith(magic)), ".bin")


@dataclass(frozen=True)
class Hyperparameters:
    """What the plugin hparams writes when a session starts or ends."""

    params: dict[str, Scalar] = field(default_factory=dict)
    group: str | None = None
    status: int = 0


Read = Plain | Text | Histogram | Picture | Hyperparameters | None


def read_value(value: Value, plugin: str) -> Read:
    """Return what a value is; None if there is no place for it here.

    Args:
        value: Of a summary.
        plugin: Which its tag belongs to; empty if it was never said.

    Raises:
        ValueError: If it is damaged.
    """
    fields = value.fields
    if plugin == "hparams":
        return _hyperparameters(value.plugin_content)
    if fields.has(_SIMPLE):
        return Plain(fields.float(_SIMPLE))
    if fields.has(_IMAGE):
        return Picture([fields.message(_IMAGE).bytes(4)])
    if fields.has(_HISTOGRAM):
        return _old_histogram(fields.message(_HISTOGRAM))
    if fields.has(_AUDIO):
        return Picture([fields.message(_AUDIO).bytes(4)], kind="file")
    return _of_tensor(fields.message(_TENSOR), plugin) if fields.has(_TENSOR) else None


def _of_tensor(tensor: Fields, plugin: str) -> Read:
    shape = [dimension.integer(1) for dimension in tensor.message(2).messages(2)]
    if tensor.integer(1) == _STRING:
        return _of_strings([bytes(one) for one in tensor.chunks(8)], shape, plugin)
    numbers = _numbers(tensor)
    if plugin == "histograms" and len(shape) == 2 and shape[1] == 3:
        rows = numbers.astype(np.float64).reshape(-1, 3).tolist()
        return Histogram([(low, high) for low, high, _ in rows], [count for _, _, count in rows])
    if plugin in ("scalars", "") and numbers.size == 1:
        return Plain(float(numbers[0]))
    return None


def _of_strings(strings: list[bytes], shape: list[int], plugin: str) -> Read:
    if plugin == "text":
        return Text([one.decode(errors="replace") for one in strings])
    if plugin == "images":  # width and height come first, as text
        return Picture(strings[2:])
    if plugin == "audio":  # pairs of sound and label
        return Picture(strings[::2] if len(shape) == 2 else strings, kind="file")
    return None


def _numbers(tensor: Fields) -> np.ndarray:
    kind = tensor.integer(1)
    if tensor.has(4):
        if kind not in _DTYPES:
            raise ValueError(f"a tensor of the type {kind} cannot be read")
        return np.frombuffer(tensor.bytes(4), dtype=_DTYPES[kind])
    if kind in _PACKED:
        return tensor.packed(*_PACKED[kind])
    if kind in _NUMBERS:
        return np.array(tensor.integers(_NUMBERS[kind]))
    raise ValueError(f"a tensor of the type {kind} cannot be read")


def _old_histogram(message: Fields) -> Histogram:
    limits, counts = message.packed(6, "<f8").tolist(), message.packed(7, "<f8").tolist()
    if len(limits) != len(counts):
        raise ValueError("a histogram has not as many limits as counts")
    lowest, highest = message.float(1), message.float(2)
    # The outermost limits are the least and the greatest float: the values' own bounds say more.
    lower = [min(lowest, limits[0]) if limits else lowest, *limits[:-1]]
    upper = [*limits[:-1], max(highest, limits[-2]) if len(limits) > 1 else highest]
    return Histogram(list(zip(lower, upper, strict=False)), counts)


def _hyperparameters(content: bytes) -> Read:
    data = Fields(content)
    if data.has(3):
        start = data.message(3)
        params = dict(_param(entry) for entry in start.messages(1))
        return Hyperparameters(params, start.text(4) or None)
    if data.has(4):
        return Hyperparameters(status=data.message(4).integer(1))
    return Hyperparameters()


def _param(entry: Fields) -> tuple[str, Scalar]:
    return entry.text(1), _json_value(entry.message(2))


def _json_value(value: Fields) -> Any:
    """Return a `google.protobuf.Value`; what is not a scalar as text."""
    if value.has(2):
        return value.float(2)
    if value.has(3):
        return value.text(3)
    if value.has(4):
        return bool(value.integer(4))
    if value.has(6):
        return str([_json_value(one) for one in value.message(6).messages(1)])
    return None
