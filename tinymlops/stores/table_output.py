"""A table written to a file outside of the workspace, complete or not at all."""

from __future__ import annotations

import errno
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinymlops.errors import DataError, NotFoundError, TinyMLOpsError
from tinymlops.stores.publish import fsync, fsync_directory
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
    if not output.parent.is_dir():
        raise NotFoundError(f"there is no directory {output.parent}", hint="create it first")
    if output.is_dir():
        raise DataError(f"{output} is a directory", hint="name the file to write")
    unfinished = output.parent / f".{output.name}.{secrets.token_hex(6)}.part"
    try:
        with unfinished.open("xb") as file:
            writer = table_writer(output, file)
            try:
                yield writer.write
            finally:
                writer.close()
            fsync(file.fileno())
        unfinished.replace(output)
        fsync_directory(output.parent)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise TinyMLOpsError(
                f"the disk of {output} is full; nothing was written", hint="free some space"
            ) from error
        raise TinyMLOpsError(
            f"{output} cannot be written: {error.strerror or error}",
            hint="look at the directory, and at limits of the system",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
