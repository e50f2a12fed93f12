"""Foreign names and texts made to fit: what cannot be a name here is spelled otherwise, and what is too long becomes a file."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

from tinymlops.carry.carried import CarriedFile
from tinymlops.carry.tables import file_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tinymlops.carry.carried import CarriedRun
    from tinymlops.records import Scalar

__all__ = ["fitted", "fitting_name"]

T = TypeVar("T")

_LONGEST_NAME, _LONGEST_EXPERIMENT = 250, 500
_LONGEST_PARAM, _LONGEST_TEXT = 16_384, 100_000
_LARGEST_STEP = 2.0**53
_SHOWN = 60


def fitting_name(name: str, longest: int = _LONGEST_NAME) -> str:
    """Return a name that a run, a metric, a parameter or a tag can have; a fitting one as it is.

    Example:
        >>> fitting_name("loss"), fitting_name('the "loss"')
        ('loss', "the 'loss'")
    """
    plain = "".join("'" if c == '"' else "/" if c == "\\" else c if c.isprintable() else "_" for c in name)
    if len(plain) > longest:
        plain = f"{plain[: longest - 9]}~{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
    return plain if plain.strip() else "_"


def fitted(run: CarriedRun) -> CarriedRun:
    """Make a run fit, in place; what changes is said among its remarks."""
    whole_name = run.name
    run.name = fitting_name(run.name)
    run.group = fitting_name(run.group) if run.group else None
    run.experiment = fitting_name(run.experiment, _LONGEST_EXPERIMENT) if run.experiment else None
    if run.name != whole_name:
        run.tags.setdefault("origin.name", whole_name)
    if run.foreign not in (run.id, run.name):
        run.tags.setdefault("origin.id", run.foreign)
    run.params = _renamed(run, run.params, "parameter")
    run.tags = _renamed(run, run.tags, "tag")
    run.points = _renamed(run, run.points, "metric")
    _shorten(run)
    _leave_out_far_steps(run)
    _rename_files(run)
    return run


def _renamed(run: CarriedRun, values: dict[str, T], what: str) -> dict[str, T]:
    names = _unique_names(values, fitting_name)
    run.remarks += [f"{what} {old[:_SHOWN]!r} is called {new[:_SHOWN]!r}" for old, new in names.items() if new != old]
    return {names[old]: value for old, value in values.items()}


def _unique_names(wanted: Iterable[str], fit: Callable[[str], str]) -> dict[str, str]:
    """Return old names with new ones, of which no two are the same."""
    olds = list(wanted)
    names: dict[str, str] = {}
    taken = {old for old in olds if fit(old) == old}
    for old in olds:
        new = fit(old)
        if new != old and new in taken:
            new = f"{new[: _LONGEST_NAME - 9]}~{hashlib.sha256(old.encode(errors='replace')).hexdigest()[:8]}"
        taken.add(new)
        names[old] = new
    return names


def _shorten(run: CarriedRun) -> None:
    def kept(folder: str, name: str, text: str, longest: int) -> str:
        file = file_name(f"{folder}/{name}.txt")
        run.files.append(CarriedFile(name=file, content=text.encode(errors="replace"), kind="text"))
        run.remarks.append(
            f"{folder} {name[:_SHOWN]} has {len(text):,} characters: all of it is the file {file[:_SHOWN]}"
        )
        return text[: longest - 1] + "…"

    def param(name: str, value: Scalar) -> Scalar:
        is_long = isinstance(value, str) and len(value) > _LONGEST_PARAM
        return kept("params", name, str(value), _LONGEST_PARAM) if is_long else value

    run.params = {name: param(name, value) for name, value in run.params.items()}
    for name, text in run.tags.items():
        if len(text) > _LONGEST_TEXT:
            run.tags[name] = kept("tags", name, text, _LONGEST_TEXT)
    if run.notes is not None and len(run.notes) > _LONGEST_TEXT:
        run.notes = kept("notes", "notes", run.notes, _LONGEST_TEXT)


def _leave_out_far_steps(run: CarriedRun) -> None:
    far = 0
    for name, points in run.points.items():
        near = abs(points.steps) <= _LARGEST_STEP  # false for NaN too
        if not near.all():
            far += int((~near).sum())
            run.points[name] = points.take(near)
    run.points = {name: points for name, points in run.points.items() if points.size}
    if far:
        run.left_out.append(f"points at steps beyond 2**53, which have no exact float: {far:,}")


def _rename_files(run: CarriedRun) -> None:
    def fit(name: str) -> str:
        plain = file_name(fitting_name(name))
        return plain if len(plain) <= _LONGEST_NAME else fitting_name(plain)

    names = _unique_names([file.name for file in run.files], fit)
    files, seen = [], set()
    for file in run.files:
        new = names[file.name]
        if new in seen:
            run.left_out.append(f"artifact {file.name}: there are two of that name")
            continue
        seen.add(new)
        if new != file.name:
            run.remarks.append(f"artifact {file.name[:_SHOWN]!r} is called {new[:_SHOWN]!r}")
        files.append(CarriedFile(**{**vars(file), "name": new}))
    run.files = files
