"""Labels of files: names with slashes, which are never a path on a disk."""

from __future__ import annotations

from tinymlops.errors import DataError

__all__ = ["checked_label"]

_LONGEST = 500
_SHOWN = 100


def checked_label(name: str) -> str:
    """Return a file's name, which other programs may take for a path below their own directory.

    Args:
        name: Such as "plots/roc.png".

    Raises:
        DataError: If it is empty, too long, has parts that lead elsewhere, or characters that no name has.

    Example:
        >>> checked_label("plots/roc.png")
        'plots/roc.png'
    """
    if not name or len(name) > _LONGEST or not name.isprintable() or "\\" in name:
        raise DataError(
            f"a file cannot be named {name[:_SHOWN]!r}",
            hint=f"use 1 to {_LONGEST} printable characters without backslashes",
        )
    if any(part in ("", ".", "..") for part in name.split("/")):
        raise DataError(f"a file cannot be named {name[:_SHOWN]!r}", hint="use a plain name, such as 'plots/roc.png'")
    return name
