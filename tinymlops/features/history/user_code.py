"""Run user code that returns rows: any failure in it becomes an error of ours that names its source."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinymlops.errors import DataError, TinyMLOpsError
from tinymlops.features.definitions.code import told

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["reading"]


@contextmanager
def reading(source: SourceSpec, root: Path) -> Iterator[None]:
    """Run a source's function or SQL, and read what it returns as a table, lazy frames and streams included.

    Args:
        source: The source to read.
        root: The project's directory: errors name lines of its code.

    Raises:
        DataError: If it raises an error of its own or of a library, which becomes the cause of the error.
        TinyMLOpsError: If it raises one of ours; the source's name is put before the message.
    """
    import polars as pl

    what = f"{'transformation' if source.inputs else 'source'} {source.name!r}"
    try:
        yield
    except TinyMLOpsError as error:
        if f"source {source.name!r}" not in error.message and what not in error.message:
            error.args = (f"{what}: {error.message}",)
        raise
    # A panic of Polars is not an Exception, and would end the caller.
    except (Exception, pl.exceptions.PanicException) as error:
        raise DataError(
            f"{what} failed: {told(error, root)}",
            hint="correct its SQL or function; its own error is the cause of this one",
        ) from error
