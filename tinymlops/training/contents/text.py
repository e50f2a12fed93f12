"""Text, as a file in UTF-8."""

from __future__ import annotations

from pathlib import PurePosixPath

from tinymlops.errors import DataError
from tinymlops.training.contents.content import Content

__all__ = ["text_content"]


def text_content(name: str, text: str) -> Content:
    """Return a text as a file; a name without a suffix gets `.txt`.

    Raises:
        DataError: If it is not text, or holds halves of surrogate pairs.
    """
    if not isinstance(text, str):
        raise DataError(
            f"the text {name!r} is a {type(text).__name__}",
            hint="pass a str; other files are logged with log_artifact, tables with log_table",
        )
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"the text {name!r} cannot be encoded: character {error.start} is half of a surrogate pair",
            hint="decode it with errors='replace' where it is read",
        ) from error
    return Content(name if PurePosixPath(name).suffix else f"{name}.txt", content, "text")
