"""What a document tells of a run."""

from __future__ import annotations

import base64
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

from markupsafe import Markup

from tinymlops.display.curve_pictures import curve_svg
from tinymlops.display.discretion import class_of_error, plain_settings
from tinymlops.records import LoggedModel, ModelVersion, TrainingSetBuild

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.features.context import Context
    from tinymlops.records import Artifact, MetricSummary, Run
    from tinymlops.registry.runs import Runs
    from tinymlops.registry.runs.curves import Curve

__all__ = ["run_values"]

_CURVES = 24
_PIXELS = 175
"""Of a curve: it is drawn 700 wide, and each column has four points."""
_SETTINGS, _METRICS = 500, 1_000
"""How many parameters, tags and metrics a file tells of at most."""
_FILES = 200
_CHILDREN = 50
_PICTURES, _LARGEST = 8, 1_000_000
"""How many pictures are embedded, and the bytes of one at most."""
_CONSOLE = 12_000
"""Characters from the end of the console."""
_MACHINE = ("system", "python", "processor", "cores", "memory", "gpus")
"""What is told of a machine, which is all but its name."""
_PIXELS_OF = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}


class _Drawn(NamedTuple):
    summary: MetricSummary
    curve: Curve
    picture: Markup


class _Picture(NamedTuple):
    name: str
    address: Markup
    """Of the picture itself, as `data:`."""


def run_values(context: Context, runs: Runs, run: Run, *, rows: bool) -> dict[str, Any]:
    """Return what the template of a run names.

    Args:
        context: The workspace's state.
        runs: The runs of the workspace.
        run: The one that is told of.
        rows: Whether with what may hold values of rows: texts it was given, what it printed, its error and its pictures.
    """
    database = context.environment.database
    sums = [one for one in runs.summaries(run.id).get(run.id, []) if not one.name.startswith("system/")]
    curves = [one for one in sums if one.count > 1]
    artifacts = runs.artifacts(run.id)
    params = plain_settings(run.params, rows=rows)
    tags = plain_settings(run.tags, rows=rows)
    children = runs.children(run.id)
    patch = runs.patch(run.id)
    build = None if run.training_set is None else database.get(TrainingSetBuild, id=run.training_set)
    return {
        "run": run,
        "experiment": runs.experiment(run.experiment).name,
        "params": params[:_SETTINGS],
        "more_params": max(0, len(params) - _SETTINGS),
        "tags": tags[:_SETTINGS],
        "metrics": sums[:_METRICS],
        "more_metrics": max(0, len(sums) - _METRICS),
        "drawn": [_drawn(runs, one) for one in curves[:_CURVES]],
        "curves": len(curves),
        "inputs": runs.inputs(run.id),
        "build": build,
        "models": database.list(LoggedModel, where={"run": run.id}, order="name"),
        "registered": database.list(ModelVersion, where={"run": run.id}, order="name"),
        "artifacts": artifacts[:_FILES],
        "files": len(artifacts),
        "machine": [(name, run.machine[name]) for name in _MACHINE if name in run.machine],
        "patch": 0 if patch is None else len(patch),
        "children": children[:_CHILDREN],
        "more_children": max(0, len(children) - _CHILDREN),
        "error": None if run.error is None else run.error if rows else class_of_error(run.error),
        "console": runs.console(run.id)[-_CONSOLE:] if rows else "",
        "pictures": list(_pictures(runs, artifacts)) if rows else [],
    }


def _drawn(runs: Runs, summary: MetricSummary) -> _Drawn:
    curve = runs.curve(summary.run, summary.name, pixels=_PIXELS)
    return _Drawn(summary, curve, curve_svg([curve]))


def _pictures(runs: Runs, artifacts: list[Artifact]) -> Iterator[_Picture]:
    """Yield the pictures made of pixels; what else a file may hold, a browser might run."""
    found = [one for one in artifacts if PurePosixPath(one.name).suffix.lower() in (".png", ".jpg", ".jpeg")]
    for one in [one for one in found if one.bytes <= _LARGEST][:_PICTURES]:
        content = runs.read_artifact(one.run, one.name)
        kind = next((kind for begins, kind in _PIXELS_OF.items() if content.startswith(begins)), None)
        if kind is not None:
            address = f"data:{kind};base64,{base64.b64encode(content).decode()}"
            yield _Picture(one.name, Markup(address))  # noqa: S704 - letters and digits, which are no text to look through
