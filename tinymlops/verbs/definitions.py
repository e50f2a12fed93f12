"""Definitions: planned, applied, looked at, searched and documented."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tinymlops.opened import OpenWorkspace

if TYPE_CHECKING:
    from tinymlops.features.definitions.nouns import Service, TrainingSet
    from tinymlops.features.definitions.project import Project
    from tinymlops.features.law.documented import Documented
    from tinymlops.features.law.health import HealthReport
    from tinymlops.features.law.lineage_answer import Lineage
    from tinymlops.features.law.page_text import Page
    from tinymlops.features.law.planning import Plan
    from tinymlops.features.law.status import WorkspaceStatus
    from tinymlops.findings import LintReport
    from tinymlops.registry.search import SearchResult

__all__ = ["DefinitionVerbs"]


class DefinitionVerbs(OpenWorkspace):
    """Definitions: planned, applied, looked at, searched and documented."""

    def plan(self, project: Project) -> Plan:
        """Say what `apply` would change, after checking that the definitions fit together; no source is read."""
        from tinymlops.features.law.planning import plan

        self._readers.flush()
        return plan(project, self._context(), self.catalog, self.models)

    def apply(self, project: Project, *, message: str = "") -> Plan:
        """Make a project's definitions the ones in force; if one of them does not fit, nothing is written.

        The columns of SQL, of lazy frames and of pushes are known without reading a row and checked now. A note names each
        source whose columns are known only once it was ingested.

        Args:
            project: The definitions.
            message: Why; it is kept with every version that this writes, and `ws.catalog.why` shows it.

        Raises:
            ConflictError: If somebody else applied between the plan and the change, or a name is another project's.
        """
        from tinymlops.features.law.planning import apply

        applied = apply(project, self._context(), self.catalog, self.models, message=message)
        self._functions.update(project.functions())
        return applied

    def status(self, project: Project | None = None) -> WorkspaceStatus:
        """Say where the workspace stands: what is not applied yet, sources, online views, and models in use.

        Args:
            project: The project that the workspace should follow, if it is at hand.
        """
        from tinymlops.features.law.status import status

        planned = None if project is None else self.plan(project)
        return status(self._context(), self.models, planned)

    def lineage(self, reference: str | None = None, *, downstream: bool = False, upstream: bool = False) -> Lineage:
        """Say what is made of something and what it is made of, by column; `ws.sql` has all of it as `lineage`.

        Args:
            reference: A definition, column, feature, model, run, build or consumer: "orders", "orders.amount",
                "spending:last", "delay:3", "delay@champion"; where kinds share a name, "training_set:delay". None for
                everything.
            downstream: Only what is made of it.
            upstream: Only what it is made of.

        Returns:
            Nodes and edges; its text is a tree, in a notebook it is a picture.

        Raises:
            NotFoundError: If there is no such thing, with the near match.
        """
        from tinymlops.features.law.lineage import lineage

        self._readers.flush()
        return lineage(self._context(), reference, downstream=downstream, upstream=upstream)

    def lint(
        self,
        *names: TrainingSet | Service | str,
        project: Project | None = None,
        replay: int = 200,
        seed: int = 0,
        pure: bool = False,
    ) -> LintReport:
        """Look for leaks, and on request for definitions that do not give the same twice; nothing is recorded.

        Args:
            names: Training sets and services; none for all.
            project: Whose definitions, applied or not; None for those in force.
            replay: How many rows of each are computed again from what was visible at their time.
            seed: Which rows these are.
            pure: Also run every definition twice: rows shuffled, one thread and several, another hash seed.

        Returns:
            What was found, each with its fix (`clean` if nothing but notes was), and what `tinymlops.toml` allows.
        """
        from tinymlops.features.law.linting import lint
        from tinymlops.features.law.numbering import definitions_to_apply

        context, chosen = self._named(names)
        if project is not None:
            context = context.with_project(definitions_to_apply(project.specs(), self.catalog), project.functions())
        return lint(context, chosen, rows=replay, seed=seed, pure=pure)

    def search(self, text: str, *, limit: int = 20) -> SearchResult:
        """Find definitions, terms, models, runs, builds and notes by words, also by misspelled ones.

        Args:
            text: Words in any order, such as "late arrivals".
            limit: At most so many.
        """
        from tinymlops.registry.search import Search

        return Search(self._scope).find(text, limit=limit)

    def docs(self, name: str) -> Page:
        """Return the page of a definition: docstring, owner, types, statistics, readers, versions.

        Args:
            name: The definition's, or a term's.

        Raises:
            NotFoundError: If there is none, with the near match.
        """
        from tinymlops.features.law.pages import page

        self._readers.flush()
        return page(self._context(), self.catalog.list(), name)

    def build_docs(self, directory: str | Path) -> list[Path]:
        """Write a Markdown page for every definition into a directory, and an index; return the files."""
        from tinymlops.features.law.pages import pages
        from tinymlops.features.law.publishing import publish_pages

        self._readers.flush()
        return publish_pages(pages(self._context(), self.catalog.list()), Path(directory))

    def check_docs(self) -> Documented:
        """Say which definitions and features lack a docstring, an owner, or a unit of a number."""
        from tinymlops.features.law.documented import documented

        return documented(self._context())

    def health(self) -> HealthReport:
        """Say which definitions stand on sources that are late or failed, and which were unused for 90 days."""
        from tinymlops.features.law.health import health

        self._log.flush()
        self._readers.flush()
        return health(self._context(), self.catalog.list())
