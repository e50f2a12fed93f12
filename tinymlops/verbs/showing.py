"""What people look at: the sum of a workspace, and files that are handed on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.opened import OpenWorkspace

if TYPE_CHECKING:
    from tinymlops.display.overview import Overview
    from tinymlops.display.sharing import Shared
    from tinymlops.features.history.training_sets import TrainingData
    from tinymlops.records import Run
    from tinymlops.training.tracking import ActiveRun

__all__ = ["ShowVerbs"]


class ShowVerbs(OpenWorkspace):
    """What people look at: the sum of a workspace, and files that are handed on."""

    def show(self) -> Overview:
        """Return what there is to know now: what needs a look, champions, jobs due next, runs that go on, and sources.

        A notebook shows it as tables, a terminal as text; it stays as it was when it was asked for.
        """
        from tinymlops.display.overview import overview

        self._readers.flush()
        return overview(self._context(), self.models, self.jobs)

    def share(self, reference: ActiveRun | Run | TrainingData | str, path: str | Path, *, rows: bool = False) -> Shared:
        """Write a run, a version of a model or a build of a training set as one page of HTML, for people without a workspace.

        The page loads and runs nothing. It holds what describes, counts and measures. Without `rows` it holds no value of a row:
        texts that a run was given, names of categories and classes, messages of errors and what was printed are left out.
        Secrets, directories and names of machines are left out always.

        Args:
            reference: A run, a training set as it was built, or as text: "delay", "delay@champion" or "delay@v3"; the name of
                a training set, for its newest build; the name of a run; the id of a run or a build, or the beginning of it.
                Where a name means several things, the kind stands before it: "run:delay", "model:delay",
                "training_set:delay", "build:1f3a".
            path: The file, such as "delay.html", which appears complete or not at all; one that is there is replaced.
            rows: Put in values of rows as well: the texts, names and messages, pictures, some rows of a build, which is
                built again for that, and the last predictions of a model.

        Raises:
            NotFoundError: If there is no such thing, or no such directory.
            DataError: If the file is not named as HTML.
        """
        from tinymlops.display.sharing import Sharer

        self._log.flush()
        return Sharer(self._context(), self.runs, self.models).share(_said(reference), Path(path), rows=rows)


def _said(thing: ActiveRun | Run | TrainingData | str) -> str:
    if isinstance(thing, str):
        return thing
    build = getattr(thing, "build_id", None)
    return f"run:{getattr(thing, 'id', thing)}" if build is None else f"build:{build}"
