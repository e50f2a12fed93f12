"""The place of a workspace: locks and fsync are reliable on a local file system only, and others must be kept out."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops._warn import warn
from tinymlops.errors import AccessError
from tinymlops.owners import own_users, writers

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "kind_of",
    "network_note",
    "parents_note",
    "privacy_note",
    "require_private",
    "warn_of_place",
    "writing_note",
]

_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "afs", "ceph", "gluster", "lustre")
_DATABASE = "meta.db"
_LOOKED_AT = (_DATABASE, "blobs", "segments", "indexes", "online", "images", "tmp")
"""What is looked at each time that a workspace is opened."""
_CURE = "chmod 700 {path} && chmod -R go-w {path}; if others could write to it for long: restore a backup"


def kind_of(path: Path) -> str:
    """Return the type of the nearest mount point above a path; empty where the system does not list them."""
    mounts = Path("/proc/self/mounts")
    if sys.platform != "linux" or not mounts.exists():
        return ""
    best, kind = "", ""
    for line in mounts.read_text(errors="surrogateescape").splitlines():
        _, point, found, *_ = line.split(" ")
        point = point.encode().decode("unicode_escape")
        if path.is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind


def network_note(kind: str) -> str:
    """Return what is wrong with a kind of file system; empty for a local one."""
    if kind.startswith(_NETWORK):
        return f"{kind} is a network file system: keep the workspace on a local disk"
    return ""


def privacy_note(path: Path) -> str:
    """Return who else may enter a directory; empty if only its owner may."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return ""
    return f"other users may read this workspace (its mode is {mode:04o}): chmod 700 {path}"


def writing_note(path: Path, *, all_files: bool = False) -> str:
    """Return what of a workspace other users may write to; empty if nothing.

    Args:
        path: Its directory.
        all_files: Look at every file, and not only at the directories and the database.
    """
    below = _everything_below(path) if all_files else (path / name for name in _LOOKED_AT)
    found = [(place, said) for place in (path, *below) if (said := _said_of(place))]
    if not found:
        return ""
    (place, said), more = found[0], len(found) - 1
    others = f", and {more:,} more of its files and directories are like that" if more else ""
    return f"{place} {said}{others}"


def parents_note(path: Path) -> str:
    """Return who else may put another directory in the place of this one; empty if nobody."""
    for parent in path.resolve().parents:
        status = parent.stat()
        kept = status.st_mode & stat.S_ISVTX and status.st_uid in own_users()
        if (said := _said_of(parent)) and not kept:
            return f"other users may put another directory in its place: {parent} {said}"
    return ""


def require_private(path: Path) -> None:
    """Refuse a workspace that others may write to: what they change would be believed. One that is not there yet is fine.

    Raises:
        AccessError: If its directory, one below, or its database is such.
    """
    if not (path / _DATABASE).exists():
        return
    note = writing_note(path)
    if note and os.geteuid() == 0 and not _is_open(path):
        return  # of another user, as the superuser sees it: warned of
    if note:
        raise AccessError(f"the workspace {path} is not used, because {note}", hint=_CURE.format(path=path))


def warn_of_place(path: Path) -> None:
    """Warn of a workspace on a network file system, or that others may enter, once per path and process."""
    if path in _looked_at:
        return
    _looked_at.add(path)
    for note in (network_note(kind_of(path)), privacy_note(path), writing_note(path), parents_note(path)):
        if note:
            warn(f"{path}: {note}")


def _everything_below(path: Path) -> Iterator[Path]:
    for folder, directories, files in os.walk(path):
        yield from (Path(folder, name) for name in sorted((*directories, *files)))


def _is_open(path: Path) -> bool:
    """Return whether the mode of a directory, or what is below it, lets others write."""
    return any(writers(place.stat()) for place in (path, *(path / name for name in _LOOKED_AT)) if place.exists())


def _said_of(path: Path) -> str:
    """Return who else may write to a file or directory, in words."""
    try:
        status = path.stat()
    except OSError:  # it is not there, or leads nowhere
        return ""
    if status.st_uid not in own_users():
        return f"belongs to another user (uid {status.st_uid})"
    writing = writers(status)
    return f"may be written to by {writing} (its mode is {stat.S_IMODE(status.st_mode):04o})" if writing else ""


_looked_at: set[Path] = set()
