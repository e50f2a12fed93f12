"""The SELECT that reads what a source names: a table, or a SELECT of the user's own."""

from __future__ import annotations

import re

from tinymlops.errors import DefinitionError

__all__ = ["files_of", "quoted", "relation", "require_text", "table_of"]

_PART = r'(?:[^\W\d][\w$]*|"(?:[^"\x00]|"")+")'
_TABLE = re.compile(rf"{_PART}(?:\.{_PART}){{0,2}}")
_SELECT = re.compile(r"(?:\s|--[^\n]*\n|/\*.*?\*/|\()*(?:select|with|values|table)\b", re.IGNORECASE | re.DOTALL)


_FILES = re.compile(r"(?!/)[\w./*?= -]*\.(?:parquet|csv)")


def files_of(text: str) -> str | None:
    """Return a path or a pattern of files in an object store; None for anything else.

    Example:
        >>> files_of("orders/day=*/part-?.parquet")
        'orders/day=*/part-?.parquet'
    """
    stripped = text.strip()
    return stripped if _FILES.fullmatch(stripped) and ".." not in stripped.split("/") else None


def require_text(text: str) -> None:
    """Refuse what is neither a table, files nor a SELECT.

    Raises:
        DefinitionError: If so.
    """
    if files_of(text) is None:
        table_of(text)


def quoted(name: str) -> str:
    """Return an identifier as SQL writes it, whatever is in it.

    Example:
        >>> quoted('a"b')
        '"a""b"'
    """
    return '"' + name.replace('"', '""') + '"'


def table_of(text: str) -> tuple[str, ...] | None:
    """Return the parts of a table's name; None for a SELECT.

    Raises:
        DefinitionError: If the text is neither.

    Example:
        >>> table_of('shop."Order Items"')
        ('shop', 'Order Items')
        >>> table_of("select 1") is None
        True
    """
    stripped = text.strip()
    if _TABLE.fullmatch(stripped):
        parts = re.findall(_PART, stripped)
        return tuple(part[1:-1].replace('""', '"') if part.startswith('"') else part for part in parts)
    if _SELECT.match(text) is None:
        raise DefinitionError(
            f"{stripped[:80]!r} is neither the name of a table nor a SELECT",
            hint='return a name such as "orders" or "shop.orders", one SELECT, or files such as "orders/*.parquet"',
        )
    return None


def relation(text: str) -> str:
    """Return what stands in FROM for a table or a SELECT.

    Example:
        >>> relation("shop.orders")
        '"shop"."orders"'
        >>> print(relation("select * from orders -- all of them"))
        (select * from orders -- all of them
        ) as "source"
    """
    table = table_of(text)
    if table is not None:
        return ".".join(map(quoted, table))
    return f'({text.strip().rstrip(";").rstrip()}\n) as "source"'
