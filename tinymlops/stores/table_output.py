"""A table written to a file outside of the workspace, complete or not at all."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinymlops.stores.file_output import written_file
from tinymlops.table_files import table_writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import polars as pl

__all__ = ["written_table"]


@contextmanager
def written_table(output: Path) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Yield a function that adds rows to a file, which appears, durable, when the block ends.

    Args:
        output: The file: CSV if it is named `.csv`, else Parquet; one that is there is replaced.

    Raises:
        NotFoundError: If there is no such directory.
        DataError: If it is a directory, or named as something else.
        TinyMLOpsError: If the system does not let it be written.
    """
    with written_file(output) as file:
        writer = table_writer(output, file)
        try:
            yield writer.write
        finally:
            writer.close()
