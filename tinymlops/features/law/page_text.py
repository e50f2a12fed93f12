"""A page as text for terminals, as HTML for notebooks and as Markdown for files."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from dataclasses import dataclass

from tinymlops.features.definitions.definitions import in_words
from tinymlops.notebook import in_notebook
from tinymlops.pictures import sparkline, svg_bars
from tinymlops.printable import printable
from tinymlops.tables import text_table

__all__ = ["Page", "Picture", "Section"]

_TAG = re.compile(r"<(?=[a-zA-Z/!?])")


@dataclass(frozen=True)
class Picture:
    """A cell that is drawn: the counts of a distribution."""

    counts: list[int]

    def __str__(self) -> str:
        return sparkline(self.counts)


@dataclass(frozen=True)
class Section:
    """A table under a title.

    Args:
        title: What it holds.
        head: Names of its columns; empty for none.
        rows: Of as many cells.
    """

    title: str
    head: tuple[str, ...]
    rows: Sequence[Sequence[str | Picture]]


@dataclass(frozen=True, kw_only=True)
class Page:
    """What is known of one definition. Prints as text, and as HTML in a notebook.

    Example:
        >>> print(Page(kind="term", name="late", version=1, text="Not on time.", facts={"owner": "ana"}, sections=[]))
        term late, version 1
        owner  ana
        <BLANKLINE>
        Not on time.
    """

    kind: str
    name: str
    version: int
    text: str
    """Its docstring."""
    facts: dict[str, str]
    sections: list[Section]

    @property
    def title(self) -> str:
        """What it is, its name and its version."""
        return f"{in_words(self.kind)} {self.name}, version {self.version}"

    def __str__(self) -> str:
        parts = [self.title]
        parts += [text_table(list(self.facts.items()))] if self.facts else []
        parts += ["", self.text] if self.text else []
        for section in self.sections:
            lines = [[_line(cell) for cell in row] for row in section.rows]
            head = [[*section.head]] if section.head else []
            parts += ["", section.title, text_table([*head, *lines])]
        return printable("\n".join(parts))

    __repr__ = __str__

    def _repr_html_(self) -> str:
        facts = "".join(
            f"<dt>{html.escape(name)}</dt><dd>{html.escape(fact)}</dd>" for name, fact in self.facts.items()
        )
        text = f"<pre>{html.escape(self.text)}</pre>" if self.text else ""
        return in_notebook(f"<h3>{html.escape(self.title)}</h3><dl>{facts}</dl>{text}", *map(_html, self.sections))

    def markdown(self) -> str:
        """Return the page as Markdown."""
        parts = [f"# {_plain(self.title)}", "", *(f"- {name}: {_plain(fact)}" for name, fact in self.facts.items())]
        # A docstring may be Markdown itself, and not HTML.
        parts += ["", _TAG.sub("&lt;", self.text)] if self.text else []
        for section in self.sections:
            width = len(section.rows[0])
            head = section.head or ("",) * width
            parts += ["", f"## {_plain(section.title)}", "", _row(head), _row(["---"] * width)]
            parts += [_row([_plain(_line(cell)) for cell in row]) for row in section.rows]
        return printable("\n".join(parts)) + "\n"


def _line(cell: str | Picture) -> str:
    return " ".join(str(cell).split()) if isinstance(cell, str) else str(cell)


def _html(section: Section) -> str:
    head = "".join(f"<th>{html.escape(name)}</th>" for name in section.head)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in section.rows)
    first = f"<tr>{head}</tr>" if head else ""
    return f"<table><caption>{html.escape(section.title)}</caption>{first}{rows}</table>"


def _cell(cell: str | Picture) -> str:
    shown = svg_bars(cell.counts) if isinstance(cell, Picture) else html.escape(cell)
    return f"<td>{shown}</td>"


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _plain(text: str) -> str:
    """Write text so that Markdown takes none of it for its own."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", text).replace("<", "&lt;")
