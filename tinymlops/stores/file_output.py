"""A file outside of the workspace, which is written complete or not at all."""

from __future__ import annotations

import errno
import secrets
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING

from tinymlops.errors import DataError, NotFoundError, TinyMLOpsError
from tinymlops.stores.publish import fsync, fsync_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["written_file"]


@contextmanager
def written_file(output: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write, which appears under its name, durable, when the block ends.

    Args:
        output: The file; one that is there is replaced.

    Raises:
        NotFoundError: If there is no such directory.
        DataError: If it is a directory.
        TinyMLOpsError: If the system does not let it be written.
    """
    if not output.parent.is_dir():
        raise NotFoundError(f"there is no directory {output.parent}", hint="create it first")
    if output.is_dir():
        raise DataError(f"{output} is a directory", hint="name the file to write")
    unfinished = output.parent / f".{output.name}.{secrets.token_hex(6)}.part"
    try:
        with unfinished.open("xb") as file:
            yield file
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
