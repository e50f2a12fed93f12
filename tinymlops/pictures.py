"""Small pictures of distributions: a line of characters for text, an SVG for HTML."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["sparkline", "svg_bars"]

_BLOCKS = "▁▂▃▄▅▆▇█"
_WIDTH, _HEIGHT = 8, 24


def sparkline(counts: Sequence[int]) -> str:
    """Draw counts as a line of characters; one that is not zero is never drawn as zero, which is a space.

    Example:
        >>> sparkline([0, 1, 5, 10, 2])
        ' ▁▄█▂'
    """
    most = max(counts, default=0)
    return "".join(" " if not count else _BLOCKS[-(-count * len(_BLOCKS) // most) - 1] for count in counts)


def svg_bars(counts: Sequence[int]) -> str:
    """Draw counts as bars in an inline SVG.

    Example:
        >>> svg_bars([1, 2])[:37]
        '<svg width="16" height="24" role="img'
    """
    most = max(counts, default=0) or 1
    heights = [-(-count * _HEIGHT // most) for count in counts]
    bars = "".join(
        f'<rect x="{place * _WIDTH}" y="{_HEIGHT - height}" width="{_WIDTH - 1}" height="{height}"/>'
        for place, height in enumerate(heights)
    )
    width = _WIDTH * len(counts)
    return (
        f'<svg width="{width}" height="{_HEIGHT}" role="img" aria-label="distribution" fill="currentColor">{bars}</svg>'
    )
