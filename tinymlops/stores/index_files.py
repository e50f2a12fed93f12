"""Directories of derived indexes: complete and durable under a new name, or not there at all.

`vectors/<embedding>/<generation>/` is written by one process, synced as a tree and renamed; then a row names it with the
SHA-256 of each of its files. A directory that no row names was left by a crash.
"""

from __future__ import annotations

import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.errors import IntegrityError
from tinymlops.stores.publish import (
    fsync,
    fsync_directory,
    hash_file,
    make_directory,
    scratch_directory,
    trust_file,
    unwritable,
    verify_file,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

__all__ = ["damaged_file", "place", "remove_others", "unnamed", "verify", "write"]

_ROOT = "vectors"


def write(root: Path, embedding: str, make: Callable[[Path], None], tmp: Path) -> tuple[str, dict[str, str]]:
    """Make a generation durable.

    Args:
        root: The workspace.
        embedding: Its name.
        make: Writes all files into a directory.
        tmp: The workspace's directory for unfinished files, on the same file system.

    Returns:
        The name of the generation, and the SHA-256 of each of its files.

    Raises:
        TinyMLOpsError: If the disk is full or fails; nothing is left behind.
    """
    name = secrets.token_hex(8)
    target = place(root, embedding, name)
    try:
        with scratch_directory(tmp) as scratch:
            unfinished = scratch / name
            unfinished.mkdir(mode=0o700)
            make(unfinished)
            hashes = _sync(unfinished)
            for directory in (target.parent.parent, target.parent):
                make_directory(directory)
            unfinished.rename(target)
            fsync_directory(target.parent)
    except OSError as error:
        raise unwritable(target, error) from error
    for file, sha256 in hashes.items():
        trust_file(target / file, sha256)
    return name, hashes


def place(root: Path, embedding: str, generation: str) -> Path:
    """Return the directory of a generation."""
    return root / _ROOT / embedding / generation


def verify(directory: Path, hashes: Mapping[str, str]) -> None:
    """Compare each file with its hash, once a process as long as it does not change.

    Raises:
        IntegrityError: If one is missing or is not what was written.
    """
    for file, sha256 in hashes.items():
        verify_file(directory / file, sha256)


def damaged_file(directory: Path, hashes: Mapping[str, str]) -> Path | None:
    """Read a whole generation, even one verified before; return a file that is damaged or missing.

    A directory that is not there at all is no damage: a backup has none.
    """
    for file, sha256 in hashes.items():
        with suppress(IntegrityError, OSError):
            if hash_file(directory / file) == sha256:
                continue
        return directory / file if directory.exists() else None
    return None


def unnamed(root: Path, named: Collection[tuple[str, str]]) -> Iterator[Path]:
    """Yield the directories of generations that are not named.

    Args:
        root: The workspace.
        named: (embedding, generation).
    """
    for path in sorted((root / _ROOT).glob("*/*")):
        if (path.parent.name, path.name) not in named:
            yield path


def remove_others(root: Path, named: Collection[tuple[str, str]], *, embedding: str | None = None) -> list[int]:
    """Remove the generations that are not named; return the bytes of each.

    Args:
        root: The workspace.
        named: (embedding, generation).
        embedding: Only of this one.
    """
    removed = list[int]()
    for path in unnamed(root, named):
        if embedding in (None, path.parent.name):
            removed.append(sum(file.lstat().st_size for file in path.rglob("*") if file.is_file()))
            shutil.rmtree(path, ignore_errors=True)
            with suppress(OSError):
                path.parent.rmdir()
    return removed


def _sync(directory: Path) -> dict[str, str]:
    """Sync every file and directory of a tree; return the SHA-256 of each file by its path in it."""
    hashes = dict[str, str]()
    for folder, _, names in os.walk(directory, topdown=False):
        for name in sorted(names):
            path = Path(folder, name)
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fsync(descriptor)
            finally:
                os.close(descriptor)
            hashes[path.relative_to(directory).as_posix()] = hash_file(path)
        fsync_directory(Path(folder))
    return hashes
