"""Small tables for notebooks, with every text escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

__all__ = ["listing", "table"]


def table(caption: str, rows: Iterable[Sequence[str]]) -> str:
    """Write rows of text as an HTML table.

    Example:
        >>> table("a < b", [("x", "1")])
        "<table><caption>a &lt; b</caption><tr><td style='text-align:left'>x</td><td style='text-align:left'>1</td></tr></table>"
    """
    cells = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table><caption>{html.escape(caption)}</caption>{cells}</table>"


def listing(items: Sequence[str]) -> str:
    """Write texts as an HTML list; nothing for none.

    Example:
        >>> listing(["<b>"])
        '<ul><li>&lt;b&gt;</li></ul>'
    """
    return f"<ul>{''.join(f'<li>{html.escape(item)}</li>' for item in items)}</ul>" if items else ""


def _cell(text: str) -> str:
    return f"<td style='text-align:left'>{html.escape(text)}</td>"
