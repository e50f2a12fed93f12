"""Templates that escape every text: those of the pages of the server, and those of documents that stand alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from tinymlops.display.pictures import PICTURES
from tinymlops.display.words import FILTERS

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["OWN", "templates"]

OWN = Path(__file__).parent / "templates"
"""The folder of documents, and of what notebooks show."""


def templates(folder: Path, clean: Callable[[str], str] | None = None) -> Environment:
    """Return the templates of a folder, with the filters and pictures that all have.

    Args:
        folder: Where they are.
        clean: Each text passes it before it is escaped; what is markup already was made of texts that did.
    """

    def finalize(value: Any) -> Any:
        if clean is None or isinstance(value, Markup) or not isinstance(value, str):
            return value
        return clean(value)

    found = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=None if clean is None else finalize,
    )
    found.filters.update(FILTERS)
    found.globals.update(PICTURES)
    return found
