"""Series that are not numbers, kept as a table of a run: text, histograms."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from tinymlops.carry.carried import CarriedFile

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["file_name", "table_file"]

_UNFIT = re.compile(r'[\x00-\x1f\x7f"\\]')


def table_file(name: str, rows: Sequence[dict[str, object]]) -> CarriedFile:
    """Make a Parquet file of a run of some rows.

    Args:
        name: Of the series.
        rows: With the same keys.
    """
    import polars as pl

    content = io.BytesIO()
    pl.DataFrame(rows, infer_schema_length=None, strict=False).write_parquet(content)
    return CarriedFile(name=file_name(f"{name}.parquet"), content=content.getvalue(), kind="table")


def file_name(name: str) -> str:
    """Return a name that an artifact can have: a label without a beginning slash, `..` and control characters."""
    parts = [part.strip() for part in _UNFIT.sub("_", name).split("/")]
    return "/".join(part if part != ".." else "__" for part in parts if part not in ("", ".")) or "_"
