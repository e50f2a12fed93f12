"""Code of the user's that brings rows: whatever goes wrong in it is an error of ours that names its source."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinymlops.errors import DataError, TinyMLOpsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.features.definitions.specs import SourceSpec

__all__ = ["reading"]

_SHOWN = 300


@contextmanager
def reading(source: SourceSpec) -> Iterator[None]:
    """Run a source's function or SQL, and read what it returns as a table, lazy frames and streams included.

    Raises:
        DataError: If it raises anything of its own, or of a library: that is the cause of the error.
        TinyMLOpsError: What it raises of ours, with the source's name before the message.
    """
    import polars as pl

    what = f"{'transformation' if source.inputs else 'source'} {source.name!r}"
    try:
        yield
    except TinyMLOpsError as error:
        if f"source {source.name!r}" not in error.message and what not in error.message:
            error.message = f"{what}: {error.message}"
            error.args = (error.message,)
        raise
    # A panic of Polars is no Exception, and would end whatever runs this.
    except (Exception, pl.exceptions.PanicException) as error:
        said = str(error).strip().partition("\n")[0][:_SHOWN]
        raise DataError(
            f"{what} failed: {type(error).__name__}{f': {said}' if said else ''}",
            hint="correct its SQL or function; its own error is the cause of this one",
        ) from error
