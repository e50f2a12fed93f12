"""Small tables: HTML for notebooks, with every text escaped, and columns of text for terminals and pipes."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

__all__ = ["html_frame", "html_list", "html_table", "text_table"]

_SHOWN = 20
"""Rows of a frame that are shown."""


def html_table(caption: str, rows: Iterable[Sequence[str]]) -> str:
    """Write rows of text as an HTML table.

    Example:
        >>> html_table("a < b", [("x", "1")])
        '<table><caption>a &lt; b</caption><tr><td>x</td><td>1</td></tr></table>'
    """
    cells = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption>{cells}</table>"


def html_frame(caption: str, frame: pl.DataFrame) -> str:
    """Write the first rows of a frame as an HTML table, numbers to the right.

    Example:
        >>> import polars as pl
        >>> html_frame("1 row", pl.DataFrame({"a": [1]}))[-54:]
        '<tbody><tr><td class="num">1</td></tr></tbody></table>'
    """
    kinds = [' class="num"' if dtype.is_numeric() else "" for dtype in frame.dtypes]
    head = "".join(f"<th{kind}>{html.escape(name)}</th>" for name, kind in zip(frame.columns, kinds, strict=True))
    rows = "".join(
        f"<tr>{''.join(f'<td{kind}>{html.escape(_value(value))}</td>' for value, kind in zip(row, kinds, strict=True))}</tr>"
        for row in frame.head(_SHOWN).iter_rows()
    )
    more = f"<p>and {frame.height - _SHOWN:,} more rows</p>" if frame.height > _SHOWN else ""
    table = (
        f"<table><caption>{html.escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    )
    return table + more


def html_list(items: Sequence[str]) -> str:
    """Write texts as an HTML list; empty for no texts.

    Example:
        >>> html_list(["<b>"])
        '<ul><li>&lt;b&gt;</li></ul>'
    """
    return f"<ul>{''.join(f'<li>{html.escape(item)}</li>' for item in items)}</ul>" if items else ""


def text_table(rows: Sequence[Sequence[str]], *, numbers: bool = False) -> str:
    """Write rows as aligned columns, a line for each row.

    Args:
        rows: Each with the same number of texts.
        numbers: Whether all columns but the first hold numbers, which are aligned right.

    Example:
        >>> print(text_table([["metric", "live"], ["auc", "0.7012"]], numbers=True))
        metric    live
        auc     0.7012
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            text.rjust(width) if numbers and place else text.ljust(width)
            for place, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cell(text: str) -> str:
    return f"<td>{html.escape(text)}</td>"


def _value(value: object) -> str:
    if value is None:
        return "null"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
