"""Draw curves as an SVG, written as plain text."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 800, 420
LEFT, RIGHT, TOP, BOTTOM = 70, 240, 44, 56
COLORS = ("#1b6ca8", "#c8553d", "#3a7d44", "#7b5ea7", "#8a6d3b", "#555555")
STEPS = 5


def draw(
    curves: Mapping[str, Sequence[tuple[float, float]]],
    *,
    title: str,
    x_label: str,
    y_label: str,
    marks: Mapping[str, float] | None = None,
) -> str:
    """Return a picture with a logarithmic x axis and a y axis from zero.

    Args:
        curves: Name to points.
        title: Above.
        x_label: Below.
        y_label: At the left.
        marks: Name to an x where a dashed line stands.
    """
    points = [point for curve in curves.values() for point in curve]
    least, most = (math.log10(pick(x for x, _ in points)) for pick in (min, max))
    top = max(y for _, y in points) * 1.1

    def place(x: float, y: float) -> tuple[float, float]:
        share = (math.log10(x) - least) / ((most - least) or 1)
        return LEFT + share * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - y / top * (HEIGHT - TOP - BOTTOM)

    parts = [_text(LEFT, 24, title, size=15), _text(LEFT, HEIGHT - 14, x_label)]
    parts.append(_text(16, HEIGHT - BOTTOM, y_label, turned=True))
    for i in range(STEPS + 1):
        value = top * i / STEPS
        y = place(points[0][0], value)[1]
        parts.append(_line(LEFT, y, WIDTH - RIGHT, y, "#dddddd"))
        parts.append(_text(LEFT - 8, y + 4, f"{value:.3g}", anchor="end"))
    below = HEIGHT - BOTTOM + 18
    parts += [_text(place(x, 0)[0], below, short(x), anchor="middle") for x in sorted({x for x, _ in points})]
    for name, x in (marks or {}).items():
        if 10**least <= x <= 10**most:
            across = place(x, 0)[0]
            parts.append(_line(across, TOP, across, HEIGHT - BOTTOM, "#999999", dash="4 4"))
            parts.append(_text(across + 4, TOP + 10, name))
    for i, (name, curve) in enumerate(curves.items()):
        color = COLORS[i % len(COLORS)]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in curve))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in (place(*p) for p in curve)]
        parts.append(_text(WIDTH - RIGHT + 12, TOP + 16 + 20 * i, name, color=color))
    body = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n{body}\n</svg>\n'
    )


def short(count: float) -> str:
    """Write 10,000,000 as 10M."""
    for size, letter in ((1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:g}{letter}"
    return f"{count:g}"


def _text(
    x: float,
    y: float,
    text: str,
    *,
    size: int = 12,
    color: str = "#333333",
    anchor: str = "start",
    turned: bool = False,
) -> str:
    turn = f' transform="rotate(-90 {x:.1f} {y:.1f})"' if turned else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" text-anchor="{anchor}"{turn}>'
        f"{escape(text)}</text>"
    )


def _line(x1: float, y1: float, x2: float, y2: float, color: str, *, dash: str = "none") -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" stroke-dasharray="{dash}"/>'
