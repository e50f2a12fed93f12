"""How much of what is defined is documented: docstrings, owners, and units of numbers."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import TinyMLOpsError
from tinymlops.features.columns import known_types
from tinymlops.features.definitions.definitions import in_words, kind_of
from tinymlops.features.definitions.on_demand import FEATURE, expressions_of, inputs_of
from tinymlops.features.definitions.specs import CheckSpec, FeatureRequest, LabelSpec, OnDemandSpec, SinkSpec, ViewSpec
from tinymlops.features.law.pages import about_said

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import AnySpec

__all__ = ["Documented", "Lack", "documented"]


class Lack(msgspec.Struct, frozen=True):
    """What one definition or feature lacks."""

    kind: str
    """A definition's kind, or `feature`."""
    name: str
    """Of a feature `view:feature`."""
    lacks: list[str]
    """`docstring`, `owner` or `unit`."""

    def __str__(self) -> str:
        return f"{in_words(self.kind)} {self.name}: no {', no '.join(self.lacks)}"


class Documented(msgspec.Struct, frozen=True):
    """How much is documented, and what lacks."""

    checked: int
    """Definitions and features."""
    lacking: list[Lack]

    @property
    def share(self) -> float:
        """The share of them that lack nothing; 1 where there is none."""
        return 1 - len(self.lacking) / self.checked if self.checked else 1.0

    def __str__(self) -> str:
        told = f"{self.checked - len(self.lacking):,} of {self.checked:,} definitions and features are documented"
        return "\n".join([f"{told} ({self.share:.1%})", *(f"  {lack}" for lack in self.lacking)])

    __repr__ = __str__


def documented(context: Context) -> Documented:
    """Look at every definition in force, and at every feature of a view.

    A definition needs a docstring and an owner; a check and a sink neither. A feature needs the docstring of its view or
    on-demand view, and a unit where it is a number; so does a label. Types are known once rows were ingested or where the source
    takes pushes; of others no unit is asked for.
    """
    import polars as pl

    types: dict[str, Mapping[str, pl.DataType]] = {**known_types(context)}
    for spec in context.definitions.of(OnDemandSpec).values():
        if spec.nearest is msgspec.UNSET:
            types[spec.name] = _computed(context, spec, types)
        else:
            types.setdefault(spec.name, dict.fromkeys(spec.nearest.features, pl.Null()))
    looked_at = [spec for spec in context.definitions.all if not isinstance(spec, CheckSpec | SinkSpec)]
    every = [one for spec in looked_at for one in _looked_at(spec, types.get(spec.name, {}))]
    return Documented(len(every), [one for one in every if one.lacks])


def _computed(
    context: Context, spec: OnDemandSpec, types: Mapping[str, Mapping[str, pl.DataType]]
) -> dict[str, pl.DataType]:
    """Return the features of an on-demand view and their types, Null where one is not known; none without its code."""
    import polars as pl

    requests = []
    for name in spec.views:
        views = [view for view in context.definitions.of(ViewSpec) if name.endswith(view)]
        requests += [
            FeatureRequest(view=view, prefix=name.removesuffix(view)) for view in [*sorted(views, key=len)][-1:]
        ]
    known = {
        f"{FEATURE}{one.prefix}{feature}": dtype
        for one in requests
        for feature, dtype in types.get(one.view, {}).items()
    }
    found: dict[str, pl.DataType] = {}
    with suppress(TinyMLOpsError):
        function = context.function(spec)
        for name, one in expressions_of(spec, function, inputs_of(spec, requests, context.definitions)).items():
            found[name] = pl.Null()
            with suppress(pl.exceptions.PolarsError):
                found[name] = pl.LazyFrame(schema=known).select(one).collect_schema().dtypes()[0]
    return found


def _looked_at(spec: AnySpec, types: Mapping[str, pl.DataType]) -> list[Lack]:
    about = about_said(spec)
    has_text = bool(spec.description.strip())
    lacks = [*([] if has_text else ["docstring"]), *([] if about.owner else ["owner"])]

    def without_unit(name: str) -> list[str]:
        is_number = name in types and types[name].is_numeric()
        return ["unit"] if is_number and name not in about.units else []

    if isinstance(spec, LabelSpec):
        lacks += without_unit(spec.name)
    found = [Lack(kind_of(spec), spec.name, lacks)]
    names = spec.features if isinstance(spec, ViewSpec) else types if isinstance(spec, OnDemandSpec) else ()
    text = [] if has_text else ["docstring"]
    found += [Lack("feature", f"{spec.name}:{name}", text + without_unit(name)) for name in names]
    return found
