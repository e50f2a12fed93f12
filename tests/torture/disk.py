"""The work of a child on a failing disk: the verb, then reads, then the verb again."""

import os
from functools import partial
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


def log_on(path, *, left, before):
    """Log to a run while the disk fills up, make room, and go on: nothing that was acknowledged is lost, nothing is there twice.

    Args:
        path: The workspace, on a file system of its own.
        left: The bytes left once the run goes on.
        before: How many points are logged before.
    """
    ballast, problems, large = path.with_name("ballast"), [], os.urandom(2**20)
    with world.connect(path) as ws:
        run, logged = ws.start_run("long", params={"depth": 3}), 0

        def log(count):
            """Log as one does who is told now and then that the disk is full: what was not taken is logged again."""
            nonlocal logged
            until = logged + count
            while logged < until:
                told = _error(partial(run.log_metric, "loss", logged * 0.5))
                errors.append(told)
                logged += told is None

        errors = []
        log(before)
        run.flush()
        _take_all_but(ballast, left)
        refused = _error(lambda: run.log_artifact("large.bin", large))
        log(2_000)
        errors += [refused, _error(run.flush)]
        problems += [
            f"the error has no type or hint: {one}" for one in errors if one and not (one["typed"] and one["hint"])
        ]
        problems += [] if refused else ["a file found room where there was none"]
        seen = _error(lambda: ws.runs.points(run.id, "loss"))
        problems += [f"reading: {seen}"] if seen and not seen["typed"] else []
        with world.connect(path) as other:
            found = other.runs.points(run.id, "loss").values.tolist()
        if found != [number * 0.5 for number in range(len(found))] or len(found) < before:
            problems.append(f"of {before} acknowledged points {len(found)} are there")
        ballast.unlink()
        log(500)
        run.flush()
        run.log_artifact("large.bin", large)
        run.finish()
        if ws.runs.points(run.id, "loss").values.tolist() != [number * 0.5 for number in range(logged)]:
            problems.append(f"of {logged} points {ws.runs.points(run.id, 'loss').size} are there in the end")
        if ws.runs.read_artifact(run.id, "large.bin") != large:
            problems.append("the file is another one")
    return {"error": refused, "problems": problems + world.invariants(path)}


def _error_of(verb, path):
    return _error(lambda: world.run(verb, path, lambda _: None))


def _error(act):
    from torture.child import named

    try:
        act()
    except Exception as error:
        return named(error)
    return None


def _take_all_but(ballast: Path, left: int) -> None:
    status = os.statvfs(ballast.parent)
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, status.f_bavail * status.f_frsize - left))
