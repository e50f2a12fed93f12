"""Whose a file is, and who else may write to it: what others can change decides nothing here, and is never run."""

from __future__ import annotations

import os
import stat

__all__ = ["own_users", "writers"]


def own_users() -> set[int]:
    """Return the users whose files are this user's own: the user, the superuser, and under sudo the one who called it."""
    own = {os.geteuid(), 0}
    if os.geteuid() == 0 and os.environ.get("SUDO_UID", "").isdigit():
        own.add(int(os.environ["SUDO_UID"]))
    return own


def writers(status: os.stat_result) -> str:
    """Return who may write to a file besides its owner, in words; empty if nobody, or only a group of that user alone."""
    if stat.S_ISLNK(status.st_mode):
        return ""
    if status.st_mode & stat.S_IWOTH:
        return "every user"
    if status.st_mode & stat.S_IWGRP and not _is_of_one(status.st_gid, status.st_uid):
        return f"its group ({_name(status.st_gid)})"
    return ""


def _is_of_one(group: int, user: int) -> bool:
    """Return whether a group has no other member than one user, as the own group that many systems give each user."""
    import grp
    import pwd

    try:
        name = pwd.getpwuid(user).pw_name
        members = {*grp.getgrgid(group).gr_mem, *(one.pw_name for one in pwd.getpwall() if one.pw_gid == group)}
    except KeyError:  # without a name, such as in a container: nobody knows who is in it
        return False
    return members <= {name}


def _name(group: int) -> str:
    import grp

    try:
        return grp.getgrgid(group).gr_name
    except KeyError:
        return str(group)
