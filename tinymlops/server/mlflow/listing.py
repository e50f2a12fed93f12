"""Labels of files listed as a client expects directories: those right below a path, files and directories."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.server.mlflow.answers import File

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tinymlops.records import Artifact, OpaqueFile

__all__ = ["below", "listed"]


def listed(files: Sequence[Artifact | OpaqueFile], path: str, *, full: bool = False) -> list[File]:
    """Return what lies right below a path; below one that is a file lies nothing, by which clients tell it from a directory.

    Args:
        files: All, by label.
        path: The beginning of labels, up to a slash; empty for all.
        full: Return whole labels instead of what follows the path.
    """
    path = path.strip("/")
    if any(one.name == path for one in files):
        return []
    prefix = f"{path}/" if path else ""
    answered: dict[str, File] = {}
    for one in below(files, path):
        rest = one.name[len(prefix) :]
        name, slash, _ = rest.partition("/")
        shown = prefix + name if full else name
        answered[name] = File(path=shown, is_dir=bool(slash), file_size=None if slash else one.bytes)
    return [answered[name] for name in sorted(answered)]


def below(files: Sequence[Artifact | OpaqueFile], path: str) -> list[Artifact | OpaqueFile]:
    """Return the files whose labels lie below a path; all if it is empty."""
    path = path.strip("/")
    return [one for one in files if not path or one.name.startswith(f"{path}/")]
