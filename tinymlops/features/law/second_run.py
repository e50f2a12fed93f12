"""Python definitions run once more in a process beside this one: with another hash seed, and one thread in Polars."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import TinyMLOpsError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.code import find_function, told
from tinymlops.features.definitions.definitions import Definitions
from tinymlops.features.definitions.on_demand import expressions_of, inputs_of
from tinymlops.features.definitions.specs import AnySpec, OnDemandSpec, SourceSpec
from tinymlops.features.history.storable import storable
from tinymlops.frames import to_polars

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    import polars as pl

    from tinymlops.features.context import Context

__all__ = ["Ran", "expression_texts", "main", "run_beside"]

_START = (
    "import sys; sys.path[:] = {path!r}; from tinymlops.features.law.second_run import main; from pathlib import Path; "
    "main(Path({folder!r}))"
)
_LONGEST = 3600
"""Seconds that all definitions together may take."""


class Ran(msgspec.Struct, frozen=True):
    """What came of one definition in the process beside."""

    error: str = ""
    texts: dict[str, str] = {}
    """Of an on-demand view: feature to its expression."""
    file: str = ""
    """Of a source: where its rows are."""


class _Job(msgspec.Struct, frozen=True):
    root: str
    definitions: tuple[AnySpec, ...]
    sources: dict[str, dict[str, str]]
    """Source to the files of its inputs."""
    on_demand: list[str]


def run_beside(
    context: Context, sources: Mapping[str, Mapping[str, pl.DataFrame]], on_demand: list[str]
) -> tuple[dict[str, Ran], dict[str, pl.DataFrame]]:
    """Run Python definitions in another process.

    Args:
        context: The workspace's state.
        sources: Name to its inputs; none for one that is not derived.
        on_demand: Names of on-demand views.

    Returns:
        What came of each, and the rows of the sources that went well.
    """
    import polars as pl

    with TemporaryDirectory(dir=context.environment.tmp) as directory:
        folder = Path(directory)
        job = _Job(str(context.root), context.definitions.all, _written(folder, sources), on_demand)
        (folder / "job.json").write_bytes(msgspec.json.encode(job))
        error = _run(folder)
        if error:
            return {name: Ran(error=error) for name in (*sources, *on_demand)}, {}
        ran = msgspec.json.decode((folder / "ran.json").read_bytes(), type=dict[str, Ran])
        return ran, {name: pl.read_ipc(one.file) for name, one in ran.items() if one.file}


def _written(folder: Path, sources: Mapping[str, Mapping[str, pl.DataFrame]]) -> dict[str, dict[str, str]]:
    written: dict[str, dict[str, str]] = {}
    for place, (name, inputs) in enumerate(sources.items()):
        written[name] = {}
        for number, (one, frame) in enumerate(inputs.items()):
            written[name][one] = str(folder / f"input-{place}-{number}.arrow")
            frame.write_ipc(written[name][one])
    return written


def _run(folder: Path) -> str:
    """Run the process; return what went wrong with it as a whole."""
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = {**os.environ, "PYTHONHASHSEED": seed, "POLARS_MAX_THREADS": "1"}
    start = _START.format(path=sys.path, folder=str(folder))
    try:
        done = subprocess.run(  # noqa: S603 - our own interpreter, with the paths it has here
            [sys.executable, "-c", start],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=_LONGEST,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return (
        "" if done.returncode == 0 else (done.stderr.strip().rpartition("\n")[2] or f"it ended with {done.returncode}")
    )


def main(folder: Path) -> None:
    """Do the work of the process beside: read the job from a directory and write there what came of it."""
    job = msgspec.json.decode((folder / "job.json").read_bytes(), type=_Job)
    definitions, root = Definitions(job.definitions), Path(job.root)
    ran: dict[str, Ran] = {}
    for place, (name, inputs) in enumerate(job.sources.items()):
        out = folder / f"output-{place}.arrow"
        ran[name] = _attempt(root, partial(_source, definitions, root, name, inputs, out))
    for name in job.on_demand:
        ran[name] = _attempt(root, partial(_on_demand, definitions, root, name))
    (folder / "ran.json").write_bytes(msgspec.json.encode(ran))


def _attempt(root: Path, work: Callable[[], Ran]) -> Ran:
    try:
        return work()
    except TinyMLOpsError as error:
        return Ran(error=error.message)
    except Exception as error:  # noqa: BLE001 - the user's code may raise anything
        return Ran(error=told(error, root))


def _source(definitions: Definitions, root: Path, name: str, inputs: Mapping[str, str], out: Path) -> Ran:
    import polars as pl

    source = definitions.get(SourceSpec, name)
    assert source.code is not None, "only Python runs here"
    function: Callable[..., Any] = find_function(source.code, root)
    if source.inputs:
        given = function(**{one: pl.read_ipc(file).lazy() for one, file in inputs.items()})
    else:
        given = function(None) if source.takes_since else function()
    storable(to_polars(given), source).write_ipc(out)
    return Ran(file=str(out))


def _on_demand(definitions: Definitions, root: Path, name: str) -> Ran:
    spec = definitions.get(OnDemandSpec, name)
    assert spec.code is not None, "only Python runs here"
    return Ran(texts=expression_texts(definitions, spec, find_function(spec.code, root)))


def expression_texts(definitions: Definitions, spec: OnDemandSpec, function: Callable[..., Any]) -> dict[str, str]:
    """Return the expressions that an on-demand view's function gives, as text."""
    inputs = inputs_of(spec, graph.views_under(definitions, spec), definitions)
    return {name: str(one) for name, one in expressions_of(spec, function, inputs).items()}
