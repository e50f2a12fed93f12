"""A forest plot as SVG: a point and a line for each effect and its interval, for notebooks and files."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Sequence

from tinymlops.printable import printable
from tinymlops.training.ablation.intervals import Difference, places

__all__ = ["forest"]

_WIDTH, _ROW, _TOP, _BOTTOM, _PAD = 720, 22, 12, 46, 14
_LETTER = 7.0
"""The width of a letter: that of the font's widest usual ones."""
_LONGEST = 36
_LEAST = 1e-300
_CLEAR, _UNCLEAR = "#2563eb", "#7a7f87"


def forest(rows: Sequence[tuple[str, Difference]], *, title: str, axis: str) -> str:
    """Draw effects with their intervals.

    An effect whose interval leaves out zero is blue, another is grey; one without an interval is a ring.

    Args:
        rows: Names and effects, from top to bottom.
        title: What a screen reader says first.
        axis: What the horizontal axis means.
    """
    height = _TOP + max(len(rows), 1) * _ROW + _BOTTOM
    left = _PAD + _LETTER * max((len(_short(name)) for name, _ in rows), default=0) + _PAD
    right = _WIDTH - _PAD - _LETTER * 11
    ticks = _ticks(rows)
    low, high = ticks[0], ticks[-1]

    def across(value: float) -> float:
        return round(left + (value - low) / (high - low) * (right - left), 1)

    bottom = height - _BOTTOM
    parts = [_grid(tick, across(tick), bottom, ticks) for tick in ticks]
    digits = places(end for _, effect in rows for end in effect.ends)
    for place, (name, effect) in enumerate(rows):
        y = _TOP + (place + 0.5) * _ROW
        said = f"{name}: {effect!r}".replace("<difference ", "").replace(">", "")
        label = _text(left - _PAD, y + 4, _short(name), "end")
        value = _text(_WIDTH - _PAD, y + 4, f"{effect.mean:+,.{digits}f}", "end")
        parts.append(f"<g><title>{_escaped(said)}</title>{label}{_mark(effect, y, across)}{value}</g>")
    parts.append(_text((left + right) / 2, bottom + 36, axis, "middle"))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'role="img" aria-label="{_escaped(title)}" font-family="system-ui, sans-serif" font-size="12" '
        f'fill="currentColor"><title>{_escaped(title)}</title>{"".join(parts)}</svg>'
    )


def _grid(tick: float, x: float, bottom: float, ticks: Sequence[float]) -> str:
    zero = tick == 0
    line = (
        f'<line x1="{x}" y1="{_TOP}" x2="{x}" y2="{bottom}" stroke="currentColor" '
        f'stroke-opacity="{0.8 if zero else 0.15}"/>'
    )
    return line + _text(x, bottom + 16, _number(tick, ticks[1] - ticks[0]), "middle")


def _mark(effect: Difference, y: float, across: Callable[[float], float]) -> str:
    """Draw a point with its interval, or a ring."""
    color = _CLEAR if effect.is_clear else _UNCLEAR
    point = f'<circle cx="{across(effect.mean)}" cy="{y}" r="4"'
    if effect.low is None or effect.high is None:
        return f'{point} fill="none" stroke="{color}" stroke-width="2"/>'
    line = f'<line x1="{across(effect.low)}" y1="{y}" x2="{across(effect.high)}" y2="{y}"'
    return f'{line} stroke="{color}" stroke-width="2"/>{point} fill="{color}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{round(x, 1)}" y="{round(y, 1)}" text-anchor="{anchor}">{_escaped(text)}</text>'


def _escaped(text: str) -> str:
    """Write text as XML, which has no control characters."""
    return html.escape(printable(text))


def _ticks(rows: Sequence[tuple[str, Difference]]) -> list[float]:
    """Return round numbers from below the least end to above the greatest, zero among them."""
    ends = [0.0]
    for _, effect in rows:
        ends += [end for end in effect.ends if end is not None]
    low, high = min(ends), max(ends)
    if high - low < _LEAST:
        return [-1.0, 0.0, 1.0]
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [number * step for number in range(math.floor(low / step), math.ceil(high / step) + 1)]


def _number(tick: float, step: float) -> str:
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    return f"{tick:,.{digits}f}" if digits < 7 else f"{tick:.1e}"


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…"
