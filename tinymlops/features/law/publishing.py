"""Pages as Markdown files in a directory."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tinymlops.errors import DataError
from tinymlops.features.definitions.definitions import in_words

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tinymlops.features.law.page_text import Page

__all__ = ["publish_pages"]

_MADE = "<!-- made by `tinymlops docs build`: a later one replaces or removes it -->\n"


def publish_pages(pages: Sequence[Page], directory: Path) -> list[Path]:
    """Write a page for each definition and an index; pages of an earlier build that are gone are removed.

    Args:
        pages: The pages.
        directory: Made if need be; other files in it stay.

    Returns:
        The files.

    Raises:
        DataError: If a file is in the way that is not a page of an earlier build, or it cannot be written.
    """
    names: dict[str, Page] = {}
    for page in pages:
        names[_file_name(page, names)] = page
    texts = {name: _MADE + page.markdown() for name, page in names.items()}
    texts["index.md"] = _MADE + _index(names)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        earlier = [path for path in directory.glob("*.md") if _is_page(path)]
        for name in texts:
            path = directory / name
            if path.exists() and path not in earlier:
                raise DataError(
                    f"{path} is not a page that was made here, and would be overwritten",
                    hint="name a directory of its own, such as docs/catalog",
                )
        for name, text in texts.items():
            (directory / name).write_text(text, encoding="utf-8")
        for path in earlier:
            if path.name not in texts:
                path.unlink()
    except OSError as error:
        raise DataError(f"{directory} cannot be written: {error}", hint="name another directory") from error
    return [directory / name for name in texts]


def _is_page(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_MADE)) == _MADE.encode()


def _file_name(page: Page, taken: dict[str, Page]) -> str:
    plain = re.sub(r"[^\w-]+", "-", f"{page.kind}-{page.name}")
    others = [name for name in taken if name.casefold() == f"{plain}.md".casefold()]
    return f"{plain}-{len(taken)}.md" if others else f"{plain}.md"


def _index(names: dict[str, Page]) -> str:
    lines = ["# Definitions"]
    kind = ""
    for name, page in sorted(names.items(), key=lambda item: (item[1].kind, item[1].name)):
        if page.kind != kind:
            kind = page.kind
            lines += ["", f"## {in_words(kind).capitalize()}", ""]
        first = page.text.strip().partition("\n")[0]
        lines.append(f"- [{page.name}]({name})" + (f": {first.replace('<', '&lt;')}" if first else ""))
    return "\n".join(lines) + "\n"
