"""The work of a child on a failing disk: the verb, then reads, then the verb again."""

import os
from pathlib import Path

from torture import world


def survive(path, *, verb, before, after):
    """Do a verb on a failing disk, read, and do it again once the disk works.

    Args:
        path: The workspace.
        verb: The verb.
        before: The result of `measure` before it.
        after: The result of `measure` after it.

    Returns:
        The error of the first try, None if there was none, and the failures.
    """
    error = _error_of(verb, path)
    problems = []
    if error is not None and not (error["typed"] and error["hint"]):
        problems.append(f"the error has no type or hint: {error}")
    found = world.finish(path, verb, before, after, acknowledged=error is None)
    return {"error": error, "problems": problems + [one for sentences in found.values() for one in sentences]}


def fill(path, *, verb, left, before, after):
    """Do a verb with a number of bytes left on the disk, read, make room, and do it again.

    Args:
        path: The workspace, on a file system of its own.
        verb: The verb.
        left: The bytes left.
        before: The result of `measure` before it.
        after: The result of `measure` after it.
    """
    ballast = path.with_name("ballast")
    _take_all_but(ballast, left)
    error = _error_of(verb, path)
    problems = []
    if error is not None and not (error["typed"] and error["hint"]):
        problems.append(f"the error has no type or hint: {error}")
    ballast.unlink()
    found = world.finish(path, verb, before, after, acknowledged=error is None)
    return {"error": error, "problems": problems + [one for sentences in found.values() for one in sentences]}


def _error_of(verb, path):
    from torture.child import named

    try:
        world.run(verb, path, lambda _: None)
    except Exception as error:
        return named(error)
    return None


def _take_all_but(ballast: Path, left: int) -> None:
    status = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_frsize - left))
