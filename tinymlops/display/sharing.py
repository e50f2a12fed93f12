"""`share`: a run, a model or a build of a training set as one file of HTML, for people who have no workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import msgspec

from tinymlops.display.build_document import build_values
from tinymlops.display.discretion import Cleaner
from tinymlops.display.documents import write_document
from tinymlops.display.model_document import model_values
from tinymlops.display.run_document import run_values
from tinymlops.errors import DataError, NotFoundError, near
from tinymlops.features.history.reproducing import find_build
from tinymlops.records import ModelVersion, Run, TrainingSetBuild
from tinymlops.stores.file_output import written_file

if TYPE_CHECKING:
    from collections.abc import Callable

    from tinymlops.features.context import Context
    from tinymlops.registry.models import Models
    from tinymlops.registry.runs import Runs

__all__ = ["Shared", "Sharer"]

Kind = Literal["model", "build", "run"]
_KINDS: dict[str, Kind] = {"model": "model", "build": "build", "training_set": "build", "run": "run"}
"""What may stand before a name, and what it means; a bare name is looked for in this order."""
_WORDS: dict[Kind, str] = {"model": "model", "build": "training set", "run": "run"}
_ENDINGS = (".html", ".htm")
_ID = "0123456789abcdef-"
_SHORTEST_ID = 6
"""Characters of the beginning of an id."""


class Shared(msgspec.Struct, frozen=True, kw_only=True):
    """A file that was written to be handed on."""

    path: Path
    bytes: int
    kind: Kind
    name: str
    """Such as `baseline`, `delay@v3` or `delays`."""
    id: str
    """Of the run or the build; of a model its reference."""
    rows: bool
    """Whether it holds values of rows."""

    def __str__(self) -> str:
        held = "with values of rows" if self.rows else "without rows"
        return f"{_WORDS[self.kind]} {self.name}, {held}, {self.bytes:,} bytes: {self.path}"


class _Found(NamedTuple):
    kind: Kind
    name: str
    id: str
    template: str
    values: Callable[[], dict[str, Any]]


class Sharer:
    """Finds what is to be shared, and writes it.

    Args:
        context: The workspace's state.
        runs: Its runs.
        models: Its models.
    """

    def __init__(self, context: Context, runs: Runs, models: Models) -> None:
        self._context, self._runs, self._models = context, runs, models

    def share(self, reference: str, path: Path, *, rows: bool) -> Shared:
        """Write a document, complete or not at all; a file that is there is replaced.

        Args:
            reference: A model, "delay@champion" or "delay@v3", a run, a build or a training set, or one of these after its kind:
                "run:delay".
            path: The file, which ends in .html.
            rows: Whether with values of rows.

        Raises:
            NotFoundError: If there is no such thing, or no such directory.
            DataError: If the file is not named as HTML.
        """
        if path.suffix.lower() not in _ENDINGS:
            raise DataError(f"{path.name!r} is not the name of a page", hint=f"end it in .html: {path.stem}.html")
        found = self._find(reference, rows=rows)
        values = found.values()
        text = write_document(
            found.template,
            {
                "title": found.name,
                "kind": _WORDS[found.kind],
                "workspace": self._context.environment.path.name,
                "made_at": self._context.clock(),
                "rows": rows,
                **values,
            },
            self._cleaner(values),
        )
        content = text.encode("utf-8", "replace")  # halves of pairs cannot be written, and tell nothing
        with written_file(path) as file:
            file.write(content)
        return Shared(path=path, bytes=len(content), kind=found.kind, name=found.name, id=found.id, rows=rows)

    def _find(self, reference: str, *, rows: bool) -> _Found:
        kind, colon, rest = reference.partition(":")
        asked = [(_KINDS[kind], rest)] if colon and kind in _KINDS else []
        for one, name in [*asked, *((one, reference) for one in dict.fromkeys(_KINDS.values()))]:
            found = self._named(one, name, rows=rows)
            if found is not None:
                return found
        known = [one.name for one in self._models.list()]
        builds = {one.name for one in self._context.environment.database.list(TrainingSetBuild)}
        hint = near(reference, [*known, *builds], otherwise="list them: tinymlops runs list, tinymlops models list")
        raise NotFoundError(f"there is no run, model or build {reference[:100]!r}", hint=hint)

    def _named(self, kind: Kind, name: str, *, rows: bool) -> _Found | None:
        context = self._context
        if kind == "model":
            version = self._version(name)
            if version is None:
                return None
            said = f"{version.name}@v{version.version}"
            return _Found(
                kind, said, said, "model.html", lambda: model_values(context, self._models, version, rows=rows)
            )
        if kind == "build":
            build = self._build(name)
            if build is None:
                return None
            return _Found(kind, build.name, build.id, "build.html", lambda: build_values(context, build, rows=rows))
        run = self._run(name)
        if run is None:
            return None
        return _Found(kind, run.name, run.id, "run.html", lambda: run_values(context, self._runs, run, rows=rows))

    def _version(self, reference: str) -> ModelVersion | None:
        """Return the version of a model; None if no model has the name, so that a run may."""
        name = reference.partition("@")[0].partition(":")[0]
        if all(one.name != name for one in self._models.list()):
            return None
        return self._models.get(reference)

    def _build(self, reference: str) -> TrainingSetBuild | None:
        try:
            return find_build(self._context, reference)
        except NotFoundError:
            return None

    def _run(self, reference: str) -> Run | None:
        try:
            return self._runs.get(reference)
        except NotFoundError:
            if set(reference) <= set(_ID) and len(reference) >= _SHORTEST_ID:
                raise  # it says which runs the beginning of an id may mean
            return None

    def _cleaner(self, values: dict[str, Any]) -> Cleaner:
        run = values["run"] if "run" in values else getattr(values.get("manifest"), "run", None)
        host = getattr(run, "machine", {}).get("host")
        places = (self._context.environment.path.resolve(), self._context.root)
        return Cleaner([host] if isinstance(host, str) else [], places)
