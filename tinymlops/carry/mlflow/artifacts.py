"""Where MLflow's artifacts are on this machine: only below directories that were named, whatever a store says."""

from __future__ import annotations

import os
import stat
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from tinymlops.carry.carried import CarriedFile
from tinymlops.times import from_micros

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["ArtifactRoots", "files_in"]

_SERVED = "mlflow-artifacts"


class ArtifactRoots:
    """The directories that artifacts may be read from.

    A store may come from a stranger, and says where its artifacts are: what lies elsewhere is not read.

    Args:
        roots: Such as `mlruns` and `mlartifacts`; those that do not exist are left out.
    """

    def __init__(self, roots: Sequence[Path]) -> None:
        self.roots = list(dict.fromkeys(root.resolve() for root in roots if root.is_dir()))

    def find(self, address: str | None, *tail: str) -> tuple[Path | None, str]:
        """Return the directory of a run's or a model's artifacts.

        Args:
            address: What the store says.
            tail: Where it is below a root unless the address says otherwise, such as ("0", "3f2...", "artifacts").

        Returns:
            The directory, or None and why; the reason is empty where there may be no artifacts at all.
        """
        parsed = urlparse(address or "")
        said = PurePosixPath(unquote(parsed.path))
        below = [PurePosixPath(*tail)]
        if parsed.scheme == _SERVED:
            below.insert(0, said.relative_to("/") if said.is_absolute() else said)
        for root in self.roots:
            for path in below:
                if found := self._inside(root / path):
                    return found, ""
        if parsed.scheme in ("", "file"):
            if found := self._inside(Path(said)):
                return found, ""
            if os.path.isdir(said):
                return None, f"its artifacts are in {said}, which was not named: add --artifacts {_root(said, tail)}"
            return None, f"its artifacts were in {said}, which is not there: name where they are now with --artifacts"
        if parsed.scheme == _SERVED:
            return None, ""
        return None, f"its artifacts are in {address}: copy them here and name the directory with --artifacts"

    def _inside(self, path: Path) -> Path | None:
        if ".." in path.parts or not path.is_dir():
            return None
        real = path.resolve()
        return real if any(real.is_relative_to(root) for root in self.roots) else None


def _root(said: PurePosixPath, tail: tuple[str, ...]) -> PurePosixPath:
    """Return the directory that holds those of all runs, where a run's is in its usual place below it."""
    is_usual = said.parts[-len(tail) :] == tail
    return said.parents[len(tail) - 1] if is_usual else said


def files_in(directory: Path, left_out: list[str], *, below: str = "") -> list[CarriedFile]:
    """Return the regular files in a directory and in those inside it, by name.

    Args:
        directory: To look through; links are not followed.
        left_out: Gets a line for each entry that is not a regular file.
        below: What their names begin with, such as "model/".
    """
    return sorted(_walk(directory, below, left_out), key=lambda file: file.name)


def _walk(directory: Path, below: str, left_out: list[str]) -> Iterator[CarriedFile]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        left_out.append(f"{below or 'its artifacts'}: the directory cannot be read ({error.strerror})")
        return
    for entry in entries:
        name = below + os.fsencode(entry.name).decode(errors="replace")
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            yield from _walk(Path(entry.path), f"{name}/", left_out)
        elif stat.S_ISREG(status.st_mode):
            at = from_micros(status.st_mtime_ns // 1_000)
            yield CarriedFile(name=name, content=Path(entry.path), at=at)
        else:
            what = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "neither a file nor a directory"
            left_out.append(f"artifact {name} is {what}")
