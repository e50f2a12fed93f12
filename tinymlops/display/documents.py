"""Documents that stand alone: one file of HTML that asks for nothing, runs nothing and says what it may.

Its policy is `default-src 'none'`, with the hash of its one style sheet.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tinymlops.display.style import style
from tinymlops.display.words import FILTERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from jinja2 import Environment

__all__ = ["templates", "write_document"]


def write_document(template: str, values: dict[str, Any], clean: Callable[[str], str]) -> str:
    """Write a document.

    Args:
        template: The name of a file in `templates/`.
        values: What it names.
        clean: Leaves out of a text what does not belong there; each text of the document passes it.
    """
    from markupsafe import Markup

    sheet = style()
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    policy = (
        "default-src 'none'",
        f"style-src 'sha256-{digest}'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
    )
    return (
        templates(clean)
        .get_template(template)
        .render(
            policy=Markup("; ".join(policy)),  # noqa: S704 - ours, and quoted by the template
            sheet=Markup(sheet),  # noqa: S704 - a file of this package
            package=f"tinymlops {metadata.version('tinymlops')}",
            **values,
        )
    )


def templates(clean: Callable[[str], str]) -> Environment:
    """Return the templates, which escape every text.

    Args:
        clean: Each text passes it before it is escaped; what is markup already was made of texts that did.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    from tinymlops.display.pictures import PICTURES

    def finalize(value: Any) -> Any:
        return clean(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    found = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=finalize,
    )
    found.filters.update(FILTERS)
    found.globals.update(PICTURES)
    return found
