"""The place of a workspace: locks and fsync are reliable on a local file system only, and others must be kept out."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from tinymlops._warn import warn

__all__ = ["kind_of", "network_note", "privacy_note", "warn_of_place"]

_NETWORK = ("nfs", "cifs", "smb", "9p", "fuse.sshfs", "afs", "ceph", "gluster", "lustre")


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
    may = "write to" if mode & (stat.S_IWGRP | stat.S_IWOTH) else "read"
    return f"other users may {may} this workspace (its mode is {mode:04o}): chmod 700 {path}"


def warn_of_place(path: Path) -> None:
    """Warn of a workspace on a network file system, or that others may enter, once per path and process."""
    if path in _looked_at:
        return
    _looked_at.add(path)
    for note in (network_note(kind_of(path)), privacy_note(path)):
        if note:
            warn(f"{path}: {note}")


_looked_at: set[Path] = set()
