"""One process at a time makes vectors and what is derived from them."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError
from tinymlops.stores.locks import FileLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.features.context import Context

__all__ = ["alone"]

_PATIENCE = 0.5


@contextmanager
def alone(context: Context) -> Iterator[None]:
    """Let one process at a time make vectors, so that no text is embedded twice.

    Raises:
        ConflictError: If another one does.
    """
    lock = FileLock(context.environment.path / "vectors.lock", context.environment.directory)
    try:
        with lock.exclusive(deadline=_PATIENCE):
            yield
    except ConflictError as error:
        if str(lock.path) not in error.message:
            raise
        raise ConflictError(
            "vectors are being made by another process or thread", hint="wait until it is done"
        ) from error
