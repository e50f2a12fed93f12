"""What a document tells of features: docs and owner as they were, and a distribution that shows no single row."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from tinymlops.display.pictures import bars, density
from tinymlops.display.words import count_text, number, percent
from tinymlops.features.definitions import specs
from tinymlops.features.law.pages import about_said, said_of_values
from tinymlops.kernels.drift import cuts_of_values

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup

    from tinymlops.records import Definition, FeatureField
    from tinymlops.training.baseline import Baseline, Histogram

__all__ = ["Distribution", "FeatureFacts", "distribution", "feature_facts", "numbers_told", "values_told"]

_FEWEST = 50
"""Rows of a distribution: of fewer, its parts would tell single ones."""
_SHOWN = 20
_IN_ONE_BIN = "most in one bin"


class Distribution(NamedTuple):
    """The distribution of a feature in the training rows."""

    picture: Markup
    told: str
    categories: list[tuple[str, int]]
    """Each value with its rows, the most frequent first; only where values are told."""


class FeatureFacts(NamedTuple):
    """What is told of one feature."""

    name: str
    dtype: str
    source: str
    about: str
    owner: str
    unit: str
    distribution: Distribution | None


def feature_facts(
    fields: Sequence[FeatureField], definitions: Sequence[Definition], baseline: Baseline | None, *, rows: bool
) -> list[FeatureFacts]:
    """Return what is told of the features that a model or a training set has.

    Args:
        fields: Its signature.
        definitions: Those that it was made with.
        baseline: The distributions of the training rows, if they are kept.
        rows: Whether values of rows are told.
    """
    named = {one.name: specs.decode(msgspec.json.encode(one.spec)) for one in definitions if one.kind in _VIEWS}
    found = []
    for field in fields:
        view, _, feature = field.source.partition(":")
        spec = named.get(view.partition("@")[0])
        about = "" if spec is None else said_of_values(spec.description).get(feature) or _first_line(spec.description)
        said = None if spec is None else about_said(spec)
        histogram = None if baseline is None else baseline.features.get(field.name)
        found.append(
            FeatureFacts(
                field.name,
                field.dtype,
                field.source,
                about,
                "" if said is None else said.owner,
                "" if said is None else said.units.get(feature, ""),
                None if histogram is None else distribution(field.name, histogram, rows=rows),
            )
        )
    return found


def distribution(name: str, histogram: Histogram, *, rows: bool) -> Distribution | None:
    """Return a distribution as it may be told; None of so few rows that it would tell single ones.

    The cuts between bins are values of rows: without `rows` they are rounded to about a hundredth of their range. So are
    categories, of which only the number is told, unless they are true and false.

    Args:
        name: Of the feature.
        histogram: As it was kept.
        rows: Whether values of rows are told.
    """
    count, nulls = sum(histogram.counts), histogram.counts[-1]
    if count < _FEWEST and not rows:
        return None
    label = f"distribution of {name} in the training rows"
    missing = f"; {count_text(nulls, 'null')}" if nulls else ""
    if histogram.categories is None:
        edges, counts = histogram.edges or [], histogram.counts[:-1]
        ends = numbers_told(histogram, rows=rows)
        edges, counts = (edges, counts) if rows else _coarse(edges, counts)
        return Distribution(density(edges, counts, label, 120, 18), ends + missing, [])
    pairs = values_told(histogram)
    told = rows or set(histogram.categories) == {"false", "true"}
    most = f", the most frequent in {percent(pairs[0][1] / count)} of the rows" if pairs and count else ""
    words = f"{count_text(len(pairs), 'value')}{most}{missing}"
    return Distribution(bars([one for _, one in pairs], label), words, pairs[:_SHOWN] if told else [])


def values_told(histogram: Histogram) -> list[tuple[str, int]]:
    """Return the values of a feature that are counted one by one, with their rows: the most frequent first."""
    pairs = zip(histogram.categories or [], histogram.counts, strict=False)
    return sorted(pairs, key=lambda one: (-one[1], one[0]))


def numbers_told(histogram: Histogram, *, rows: bool) -> str:
    """Say where the numbers of a feature lie, and no more than its bins know.

    Args:
        histogram: As it was kept, with cuts.
        rows: Whether values of rows are told; else they are rounded, and that of nearly all rows is left out.
    """
    edges, counts = histogram.edges or [], histogram.counts[:-1]
    cuts, filled = cuts_of_values(edges), [place for place, count in enumerate(counts) if count]
    if not cuts:
        return "no finite value" if filled else "no value"
    if cuts[0] < cuts[-1]:
        cuts = cuts if rows else _coarse(edges, counts)[0]
        return f"most from {number(cuts[0])} to {number(cuts[-1])}" if cuts else _IN_ONE_BIN
    if len(cuts) == 1:  # kept by an earlier version, which had no bin for the least value alone
        return f"most from {number(cuts[0])} on" if rows else _IN_ONE_BIN
    if filled == [1]:
        return f"one value, {number(cuts[0])}" if rows else "one value"
    return f"{number(cuts[0]) if rows else 'one value'} in {percent(counts[1] / sum(histogram.counts))} of the rows"


def _coarse(edges: list[float], counts: list[int]) -> tuple[list[float], list[int]]:
    """Return bins whose cuts are rounded to a hundredth or less of the whole; those that become one are one."""
    width = edges[-1] - edges[0] if edges else 0.0
    if not (math.isfinite(width) and width > 0):
        return [], [sum(counts)]
    digits = 1 - math.floor(math.log10(width))
    cuts, merged = list[float](), [counts[0]]
    for edge, count in zip(edges, counts[1:], strict=True):
        cut = round(edge, digits)
        if cuts and cut <= cuts[-1]:
            merged[-1] += count
        else:
            cuts.append(cut)
            merged.append(count)
    return cuts, merged


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


_VIEWS = ("feature_view", "on_demand")
