"""Pictures of runs as SVG: they need no script, take their looks from the style sheet, and can be seen at any width."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup, escape

from tinymlops.display.words import brief, exact

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinymlops.registry.runs.curves import Curve

__all__ = ["SERIES", "Axis", "curve_svg", "parallel_svg"]

SERIES = 6
"""So many lines have a look of their own; more are quiet."""
_WIDTH, _HEIGHT = 700, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 8, 8, 22
_AXIS = 120
"""Pixels between two axes."""
_TICKS = 8
"""Values that are written at an axis at most."""
_LONGEST = 16


class Axis(NamedTuple):
    """An axis of parallel coordinates: a number or a text of each run; None where a run has none."""

    label: str
    values: list[float | str | None]


def curve_svg(curves: Sequence[Curve], *, along: Callable[[float], str] = exact) -> Markup:
    """Draw curves over the same axes. What is not finite leaves a gap; the greatest and the least are written.

    Args:
        curves: At least one; the first ones have a look of their own.
        along: Writes the ends of what they go along.
    """
    xs = [one for curve in curves for one in curve.x.tolist() if math.isfinite(one)]
    ys = [one for curve in curves for one in curve.y.tolist() if math.isfinite(one)]
    if not xs or not ys:
        return Markup('<p class="empty">There is no finite value to draw.</p>')
    x, y = _Scale(min(xs), max(xs), _LEFT, _WIDTH - _RIGHT), _Scale(min(ys), max(ys), _HEIGHT - _BOTTOM, _TOP)
    lines = [
        Markup('<path class="{}" d="{}"/>').format(_look(place, len(curves)), _path(curve, x, y))
        for place, curve in reversed(list(enumerate(curves)))
    ]
    texts = [
        _text(_LEFT - 6, _TOP + 8, brief(y.high), "end"),
        _text(_LEFT - 6, _HEIGHT - _BOTTOM, brief(y.low), "end") if y.high > y.low else Markup(),
        _text(_LEFT, _HEIGHT - 6, along(x.low), "start"),
        _text(_WIDTH - _RIGHT, _HEIGHT - 6, along(x.high), "end") if x.high > x.low else Markup(),
    ]
    base = _HEIGHT - _BOTTOM
    axis = Markup('<path class="axis" d="M{} {}V{}H{}"/>').format(_LEFT, _TOP, base, _WIDTH - _RIGHT)
    return _svg("curves", _WIDTH, _HEIGHT, [axis, *lines, *texts])


def parallel_svg(axes: Sequence[Axis], names: Sequence[str], order: Sequence[int]) -> Markup:
    """Draw runs as lines through parallel axes.

    Args:
        axes: Two or more, with a value of each run.
        names: Of the runs.
        order: The places of the runs, the best first: those have looks of their own, and lie on top.
    """
    width, height = _LEFT + _AXIS * (len(axes) - 1) + _LEFT + 24, _HEIGHT + 60
    scales = [_places(axis, 34, height - 12) for axis in axes]
    parts = []
    for index, (axis, scale) in enumerate(zip(axes, scales, strict=True)):
        at = _LEFT + _AXIS * index
        parts.append(Markup('<path class="axis" d="M{} 34V{}"/>').format(at, height - 12))
        label = Markup("<title>{}</title>{}").format(axis.label, _short(axis.label))
        parts.append(Markup('<text class="label" x="{}" y="16" text-anchor="middle">{}</text>').format(at, label))
        parts += [_text(at + 5, place + 4, _short(text), "start") for text, place in scale.marks]
    lines = []
    for rank, run in enumerate(order):
        points = [scale.of(axis.values[run]) for axis, scale in zip(axes, scales, strict=True)]
        title = Markup("<title>{}</title>").format(names[run])
        path = _through([(_LEFT + _AXIS * place, point) for place, point in enumerate(points)])
        lines.append(Markup('<path class="{}" d="{}">{}</path>').format(_look(rank, len(order)), path, title))
    return _svg("parallel", width, height, [*reversed(lines), *parts])


class _Scale(NamedTuple):
    low: float
    high: float
    start: float
    stop: float

    def of(self, value: float) -> float:
        # Halves, for the difference of two great numbers may be infinite.
        width = self.high / 2 - self.low / 2
        part = 0.5 if width <= 0 else (value / 2 - self.low / 2) / width
        return round(self.start + part * (self.stop - self.start), 1)


class _Places(NamedTuple):
    """Where the values of an axis lie, and which are written."""

    numbers: _Scale | None
    texts: dict[str, float]
    marks: list[tuple[str, float]]

    def of(self, value: float | str | None) -> float | None:
        if value is None or (isinstance(value, float) and math.isnan(value)):
            return None
        if self.numbers is None or isinstance(value, str):
            return self.texts.get(str(value))
        return self.numbers.of(value) if math.isfinite(value) else None


def _places(axis: Axis, top: float, bottom: float) -> _Places:
    known = [one for one in axis.values if one is not None]
    numbers = [float(one) for one in known if not isinstance(one, str) and math.isfinite(one)]
    if numbers and not any(isinstance(one, str) for one in known):
        scale = _Scale(min(numbers), max(numbers), bottom, top)
        ends = dict.fromkeys((scale.low, scale.high))
        return _Places(scale, {}, [(brief(one), scale.of(one)) for one in ends])
    texts = sorted({str(one) for one in known})
    spread = _Scale(0, max(len(texts) - 1, 1), top, bottom)
    places = {text: spread.of(place) for place, text in enumerate(texts)}
    return _Places(None, places, list(places.items())[:_TICKS])


def _path(curve: Curve, x: _Scale, y: _Scale) -> str:
    points: list[tuple[float, float | None]] = []
    for one, other in zip(curve.x.tolist(), curve.y.tolist(), strict=True):
        points.append((x.of(one) if math.isfinite(one) else 0.0, y.of(other) if math.isfinite(other) else None))
    if len(points) == 1 and points[0][1] is not None:
        return f"M{points[0][0] - 1} {points[0][1]}h2"
    return _through(points)


def _through(points: Sequence[tuple[float, float | None]]) -> str:
    """Write a path; it is broken where a point is missing."""
    parts, verb = [], "M"
    for x, y in points:
        if y is None:
            verb = "M"
        else:
            parts.append(f"{verb}{x:g} {y:g}")
            verb = "L"
    return "".join(parts)


def _look(place: int, count: int) -> str:
    if count == 1:
        return "series s1"
    return f"series s{place + 1}" if place < SERIES else "series quiet"


def _text(x: float, y: float, text: str, anchor: str) -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}">{}</text>').format(x, y, anchor, text)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _svg(kind: str, width: float, height: float, parts: Sequence[Markup]) -> Markup:
    # The figure around it tells what it is; its lines say nothing to those who hear it.
    whole = Markup().join(parts)
    box = escape(f"0 0 {width:g} {height:g}")
    size = (kind, f"{width:g}", f"{height:g}", box, whole)
    return Markup('<svg class="{}" width="{}" height="{}" viewBox="{}" aria-hidden="true">{}</svg>').format(*size)
