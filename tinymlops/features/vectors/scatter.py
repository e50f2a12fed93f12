"""Points in a plane, by group: an SVG with axes and a legend for notebooks, and characters for terminals."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Scatter", "scatter_svg", "scatter_text"]

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM, _LEGEND = 760, 420, 70, 14, 48, 230
_ROW = 18
_COLUMNS, _LINES = 72, 20
_COLORS = ("#2563eb", "#d97706", "#059669", "#dc2626", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")
_SIGNS = "0123456789abcdefghijklmnopqrstuvwxyz"


class Scatter(NamedTuple):
    """Points in a plane."""

    x: Sequence[float]
    y: Sequence[float]
    group: Sequence[int]
    """Of each point: which of the names."""
    names: Sequence[str]
    axes: tuple[str, ...]
    """What x and y are."""
    total: int
    """How many points there are; fewer may be drawn."""


def scatter_svg(points: Scatter, *, title: str) -> str:
    """Draw points as SVG: a color and a shape for each group, so that neither alone tells them apart.

    Args:
        points: What is drawn.
        title: What a screen reader says first.
    """
    height = max(_HEIGHT, _TOP + _ROW * (len(points.names) + 2) + _BOTTOM)
    right, bottom = _WIDTH - _LEGEND, height - _BOTTOM
    across, ticks_x = _scaled(points.x, _LEFT, right)
    down, ticks_y = _scaled(points.y, bottom, _TOP)
    parts = [
        _tick(across(tick), bottom, across(tick), _TOP, across(tick), bottom + 16, label, "middle")
        for tick, label in ticks_x
    ]
    parts += [
        _tick(_LEFT, down(tick), right, down(tick), _LEFT - 8, down(tick) + 4, label, "end") for tick, label in ticks_y
    ]
    parts += [_shape(group, across(x), down(y)) for x, y, group in zip(points.x, points.y, points.group, strict=True)]
    for place, name in enumerate(points.names):
        y = _TOP + _ROW * (place + 0.5)
        parts.append(_shape(place, right + 20, y) + _text(right + 32, y + 4, name))
    parts.append(_text(right + 14, _TOP + _ROW * (len(points.names) + 1), _drawn(points)))
    parts.append(_text((_LEFT + right) / 2, bottom + 38, points.axes[0], "middle"))
    middle = (_TOP + bottom) / 2
    parts.append(f'<g transform="rotate(-90 14 {middle})">{_text(14, middle, points.axes[1], "middle")}</g>')
    said = html.escape(printable(title))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{said}" font-family="system-ui, sans-serif" font-size="12" fill="currentColor">'
        f"<title>{said}</title>{''.join(parts)}</svg>"
    )


def scatter_text(points: Scatter) -> str:
    """Draw points as lines of characters: of each place the sign of the group that has most points there."""
    across, _ = _scaled(points.x, 0, _COLUMNS - 1)
    down, _ = _scaled(points.y, _LINES - 1, 0)
    counts = dict[tuple[int, int], dict[int, int]]()
    for x, y, group in zip(points.x, points.y, points.group, strict=True):
        of_groups = counts.setdefault((round(down(y)), round(across(x))), {})
        of_groups[group] = of_groups.get(group, 0) + 1
    lines = [[" "] * _COLUMNS for _ in range(_LINES)]
    for (line, column), of_groups in counts.items():
        group = min(of_groups, key=lambda one: (-of_groups[one], one))
        lines[line][column] = _SIGNS[group] if group < len(_SIGNS) else "+"
    drawn = "\n".join(f"│{''.join(line)}".rstrip() for line in lines)
    more = ", groups from 36 on are +" if len(points.names) > len(_SIGNS) else ""
    return f"{drawn}\n└{'─' * _COLUMNS}\nacross: {points.axes[0]}; up: {points.axes[1]}; {_drawn(points)}{more}"


def _drawn(points: Scatter) -> str:
    if len(points.x) == points.total:
        return f"all {points.total:,} rows"
    return f"{len(points.x):,} of {points.total:,} rows, by lot"


def _scaled(
    values: Sequence[float], begin: float, end: float
) -> tuple[Callable[[float], float], list[tuple[float, str]]]:
    """Return what places a value between two ends, and ticks at round numbers."""
    low, high = min(values), max(values)
    if not high > low:
        low, high = low - (abs(low) or 1.0), high + (abs(high) or 1.0)
    step = _step((high - low) / 5)
    first = math.ceil(low / step)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    ticks = [number * step for number in range(first, math.floor(high / step) + 1)]
    labels = [f"{tick:.{digits}f}" if digits < 5 and abs(tick) < 1e6 else f"{tick:.2g}" for tick in ticks]
    margin = (end - begin) * 0.02

    def place(value: float) -> float:
        return round(begin + margin + (value - low) / (high - low) * (end - begin - 2 * margin), 1)

    return place, list(zip(ticks, labels, strict=True))


def _step(rough: float) -> float:
    power = 10.0 ** math.floor(math.log10(rough))
    return next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= rough)


def _tick(x1: float, y1: float, x2: float, y2: float, x: float, y: float, label: str, anchor: str) -> str:
    line = f'<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="currentColor" stroke-opacity="0.15"/>'
    return line + _text(x, y, label, anchor)


def _shape(group: int, x: float, y: float) -> str:
    """Draw a circle, a square, a triangle or a diamond: 32 groups look different."""
    color, shape = _COLORS[group % len(_COLORS)], (group + group // len(_COLORS)) % 4
    look = f'fill="{color}" fill-opacity="0.7"'
    if shape == 0:
        return f'<circle cx="{x}" cy="{y}" r="3" {look}/>'
    if shape == 1:
        return f'<rect x="{round(x - 3, 1)}" y="{round(y - 3, 1)}" width="6" height="6" {look}/>'
    corners = [(0, -4), (4, 3), (-4, 3)] if shape == 2 else [(0, -4), (4, 0), (0, 4), (-4, 0)]
    where = " ".join(f"{round(x + dx, 1)},{round(y + dy, 1)}" for dx, dy in corners)
    return f'<polygon points="{where}" {look}/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{round(x, 1)}" y="{round(y, 1)}" text-anchor="{anchor}">{html.escape(printable(text))}</text>'
