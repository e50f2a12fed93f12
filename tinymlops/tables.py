"""Small tables: HTML for notebooks, with every text escaped, and columns of text for terminals and pipes."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

__all__ = ["html_list", "html_table", "text_table"]


def html_table(caption: str, rows: Iterable[Sequence[str]]) -> str:
    """Write rows of text as an HTML table.

    Example:
        >>> html_table("a < b", [("x", "1")])
        "<table><caption>a &lt; b</caption><tr><td style='text-align:left'>x</td><td style='text-align:left'>1</td></tr></table>"
    """
    cells = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption>{cells}</table>"


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
    return f"<td style='text-align:left'>{html.escape(text)}</td>"
