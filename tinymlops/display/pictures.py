"""Pictures that the server draws, as SVG whose looks are in the style sheet alone. Each says in words what it shows."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tinymlops.display.words import moment, span
from tinymlops.kernels.drift import cuts_of_values

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PICTURES", "bars", "density", "share", "strip"]

_NOTHING = Markup("")
_STEP, _MARK = 11, 11
"""Pixels from a run to the next, and of the mark above one."""
_MOST = 40
"""Bins of one width that can be told apart in a picture."""
_MARKS = {"failed": "\N{MULTIPLICATION SIGN}", "skipped": "\N{EN DASH}"}


def bars(counts: Sequence[int], label: str, width: int = 120, height: int = 18) -> Markup:
    """Draw counts of bins of one width as bars; one that is not zero is never drawn as zero.

    Args:
        counts: Of the bins, from low to high.
        label: What it shows, for those who hear it.
        width: In pixels.
        height: In pixels.

    Example:
        >>> str(bars([0, 4], "of amount", 20, 10))[:70]
        '<svg class="bars" viewBox="0 0 20 10" width="20" height="10" role="img'
    """
    most = max(counts, default=0)
    if not most:
        return _NOTHING
    step = width / len(counts)
    gap = 1 if step > 3 else 0
    drawn = [
        _bar(place * step, step - gap, max(1.0, count / most * height), height)
        for place, count in enumerate(counts)
        if count
    ]
    return _picture("bars", label, width, height, drawn)


def density(edges: Sequence[float], counts: Sequence[int], label: str, width: int = 240, height: int = 56) -> Markup:
    """Draw counts of bins of different widths: the area of a bar is its share. The outer bins have no end, and the width of
    their neighbours. Bins that are narrower than can be seen, as those of one value, are drawn wider, and so lower.

    Args:
        edges: The cuts between the bins, rising.
        counts: Of the bins: one more than cuts.
        label: What it shows, for those who hear it.
        width: In pixels.
        height: In pixels.
    """
    cuts = cuts_of_values(edges)
    inner = [later - earlier for earlier, later in pairwise(cuts)]
    if not any(inner) or not sum(counts):
        return bars(counts, label, width, height)
    least = sum(inner) / _MOST
    widths = [max(one, least) for one in (inner[0], *inner, inner[-1])]
    heights = [count / size for count, size in zip(counts, widths, strict=True)]
    whole, most = sum(widths), max(heights)
    drawn, at = [], 0.0
    for size, high in zip(widths, heights, strict=True):
        if high:
            drawn.append(_bar(at, max(0.5, size / whole * width - 0.5), max(1.0, high / most * height), height))
        at += size / whole * width
    return _picture("bars", label, width, height, drawn)


def share(value: float, label: str, width: int = 80, height: int = 8) -> Markup:
    """Draw a share from 0 to 1 as a line that is filled so far.

    Args:
        value: The share.
        label: What it shows, for those who hear it.
        width: In pixels.
        height: In pixels.
    """
    filled = max(0.0, min(1.0, value)) * width
    drawn = [
        Markup('<rect class="ground" width="{}" height="{}"/>').format(width, height),
        _bar(0, filled, height, height),
    ]
    return _picture("bars", label, width, height, drawn)


def strip(runs: Sequence[Any], label: str, height: int = 36) -> Markup:
    """Draw runs of a job side by side: as high as each took long, with a mark above where it did not succeed.

    Args:
        runs: With `run.state` and `seconds`, the first first.
        label: What it shows, for those who hear it.
        height: In pixels.
    """
    most = max((one.seconds or 0.0 for one in runs), default=0.0) or 1.0
    drawn = []
    for place, one in enumerate(runs):
        is_good, x = one.run.state == "succeeded", place * _STEP
        mark = _MARKS.get(one.run.state, "\N{WHITE CIRCLE}")
        room = height if is_good else height - _MARK
        high = max(2.0, (one.seconds or 0.0) / most * (height - _MARK)) if is_good or one.seconds else 0.0
        kind = Markup(' class="other"') if one.run.state == "failed" else _NOTHING
        told = f"{moment(one.run.due)}: {one.run.state}, {span(one.seconds)}"
        bar = _bar(x, _STEP - 2, min(high, room), height) if high else _NOTHING
        text = (
            _NOTHING
            if is_good
            else Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(
                x + _STEP / 2 - 1, height - min(high, room) - 2, mark
            )
        )
        drawn.append(Markup("<g{}><title>{}</title>{}{}</g>").format(kind, told, bar, text))
    return _picture("bars", label, max(1, len(runs)) * _STEP, height, drawn)


def _bar(x: float, width: float, high: float, height: float) -> Markup:
    return Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(x, height - high, width, high)


def _picture(kind: str, label: str, width: int, height: int, drawn: Sequence[Markup]) -> Markup:
    head = Markup('<svg class="{}" viewBox="0 0 {} {}" width="{}" height="{}" role="img" aria-label="{}">')
    return head.format(kind, width, height, width, height, label) + Markup("").join(drawn) + Markup("</svg>")


PICTURES: dict[str, Callable[..., Markup]] = {"bars": bars, "density": density, "share": share, "strip": strip}
"""What templates may draw with."""
