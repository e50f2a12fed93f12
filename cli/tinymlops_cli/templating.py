"""The projects that `tinymlops init` can write."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

from tinymlops.errors import IntegrityError

__all__ = ["TEMPLATES", "files_of"]

_HERE = Path(__file__).parent
_IGNORED = "__pycache__/\n*.tm/\n"
_SUFFIXES = (".py", ".toml", ".md")
_ORDERS = (  # days ago, customer, amount
    *((41, 1, 20.0), (25, 2, 310.0), (12, 1, 35.5), (9, 3, 18.25), (6, 2, 120.0)),
    *((3, 1, 150.0), (2, 3, 42.0), (1, 1, 12.75)),
)


def files_of(template: str, now: datetime) -> dict[str, bytes]:
    """Return a template's files.

    Args:
        template: One of `TEMPLATES`.
        now: Aware; the minimal project's rows end a day before.

    Returns:
        Relative path to content.
    """
    return TEMPLATES[template](now)


def _minimal(now: datetime) -> dict[str, bytes]:
    lines = [
        f"{number},{customer},{amount},{now - timedelta(days=days):%Y-%m-%dT%H:00:00Z}"
        for number, (days, customer, amount) in enumerate(_ORDERS, start=1)
    ]
    orders = "\n".join(["order_id,customer_id,amount,ordered_at", *lines, ""])
    return {
        **_read(_HERE / "templates" / "minimal"),
        "data/orders.csv": orders.encode(),
        ".gitignore": _IGNORED.encode(),
    }


def _flights(now: datetime) -> dict[str, bytes]:  # noqa: ARG001 - real flights of 2013
    return {**_read(_flights_directory()), ".gitignore": f"{_IGNORED}data/\n*.parquet\n".encode()}


def _flights_directory() -> Path:
    """Return the example's directory: in a wheel beside this file, in a checkout at its source."""
    packed = _HERE / "templates" / "flights"
    directory = packed if packed.is_dir() else _HERE.parents[1] / "examples" / "flights"
    if not directory.is_dir():
        raise IntegrityError(f"the template {directory} is missing", hint="pip install --force-reinstall tinymlops")
    return directory


def _read(directory: Path) -> dict[str, bytes]:
    files = sorted(path for path in directory.iterdir() if path.suffix in _SUFFIXES)
    return {path.name: path.read_bytes() for path in files}


TEMPLATES: dict[str, Callable[[datetime], dict[str, bytes]]] = {"minimal": _minimal, "flights": _flights}
