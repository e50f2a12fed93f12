"""Documents that stand alone: one file of HTML that asks for nothing, runs nothing and says what it may.

Its policy is `default-src 'none'`, with the hash of its one style sheet.
"""

from __future__ import annotations

import base64
import hashlib
from importlib import metadata
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from tinymlops.display.style import style
from tinymlops.display.templating import OWN, templates

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["write_document"]


def write_document(template: str, values: dict[str, Any], clean: Callable[[str], str]) -> str:
    """Write a document.

    Args:
        template: The name of a file in `templates/`.
        values: What it names.
        clean: Leaves out of a text what does not belong there; each text of the document passes it.
    """
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
        templates(OWN, clean)
        .get_template(template)
        .render(
            policy=Markup("; ".join(policy)),  # noqa: S704 - ours, and quoted by the template
            sheet=Markup(sheet),  # noqa: S704 - a file of this package
            package=f"tinymlops {metadata.version('tinymlops')}",
            **values,
        )
    )
