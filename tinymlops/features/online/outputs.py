"""Convert the cells of a feature to values: the meaning of the kernel's words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from tinymlops.features.definitions.expressions import Aggregate
    from tinymlops.features.online.variants import Layout

__all__ = ["Output", "output_of"]


class Output(NamedTuple):
    """The conversion of a feature's cells to values."""

    feature: str
    aggregate: Aggregate
    kind: Literal["float", "int", "bool", "text", "object", "word"]
    dtype: str
    slot: int | None


def output_of(name: str, feature: Aggregate, layout: Layout) -> Output:
    """Return the conversion of a feature's cells to values, for a layout of rows."""
    slot = layout.place_of(feature)
    dtype = "Float64"
    if feature.function in ("first", "last"):
        assert slot is not None
        kept = layout.slots[slot]
        kinds: dict[str, Literal["float", "int", "bool", "text"]] = {
            "Float64": "float",
            "Boolean": "bool",
            "String": "text",
        }
        other: Literal["object", "int", "word"] = "object" if kept.form == "object" else "word"
        other = "int" if kept.dtype.startswith(("Int", "UInt")) and kept.form == "word" else other
        return Output(name, feature, kinds.get(kept.dtype, other), kept.dtype, slot)
    if feature.function in ("any", "all"):
        return Output(name, feature, "bool", "Boolean", slot)
    if feature.function in ("count", "n_unique"):
        dtype = "Int64"
    elif feature.function in ("sum", "min", "max"):
        assert slot is not None
        dtype = "Float64" if layout.slots[slot].dtype.startswith("Float") else "Int64"
    return Output(name, feature, "float" if dtype == "Float64" else "int", dtype, slot)
