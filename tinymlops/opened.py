"""A workspace's directory while it is open: its stores, the definitions in force in it, and what a crash left undone."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from tinymlops._forks import require_threads
from tinymlops.errors import TinyMLOpsError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from tinymlops.config import Config
    from tinymlops.features.context import Context, NeighbourRows
    from tinymlops.features.definitions.applied import Noun
    from tinymlops.features.definitions.asking import Asked
    from tinymlops.features.online.reading import OnlineFeatures
    from tinymlops.registry.scope import Scope
    from tinymlops.stores.online_store import Snapshot
    from tinymlops.times import Clock

__all__ = ["OpenWorkspace", "neighbours_of"]


class OpenWorkspace:
    """What every verb of a workspace stands on: the open stores, and the state that features work on.

    Args:
        scope: Who works on which stores, by which clock.
        root: The project's directory.
        config: What its `tinymlops.toml` says.
    """

    def __init__(self, scope: Scope, root: Path, config: Config) -> None:
        from tinymlops.features.in_force import in_force
        from tinymlops.features.law.connections import Connections
        from tinymlops.features.law.data_checks import Checks
        from tinymlops.features.vectors.noun import Vectors
        from tinymlops.registry.audit import Audit
        from tinymlops.registry.catalog import Catalog
        from tinymlops.registry.jobs import Jobs
        from tinymlops.registry.models import Models
        from tinymlops.registry.page_sessions import PageSessions
        from tinymlops.registry.readers import Accesses, ReaderLog
        from tinymlops.registry.runs import Runs
        from tinymlops.registry.saved_queries import SavedQueries
        from tinymlops.registry.tokens import Tokens
        from tinymlops.serving.log import prediction_log
        from tinymlops.serving.resolve import Resolver
        from tinymlops.sinks.noun import Sinks

        self._scope = scope
        self._environment = scope.environment
        self._clock = scope.clock
        self._root = root
        self._config = config
        self._functions: dict[str, Callable[..., Any]] = {}
        self._known: Context | None = None
        self._closed = False
        self._log = prediction_log(scope.environment.database)
        self._readers = ReaderLog(scope)
        self.catalog = Catalog(scope)
        self.checks = Checks(self._context)
        self.connections = Connections(self._context)
        self.runs = Runs(scope)
        self.models = Models(scope)
        self.sinks = Sinks(self._context, self.models, self._log.flush)
        self.tokens = Tokens(scope, self._readers)
        self._page_sessions = PageSessions(scope, self.tokens)
        self.access = Accesses(scope, self._readers.flush)
        self.audit = Audit(scope)
        self.jobs = Jobs(scope)
        self.queries = SavedQueries(scope)
        self.vectors = Vectors(self._context)
        self._in_force = in_force(self.catalog)
        self._resolver = Resolver(self.models)
        self._read_online: Callable[..., OnlineFeatures] | None = None

    @classmethod
    def _open(cls, path: Path, *, create: bool, clock: Clock, root: str | Path | None) -> Self:
        """Open a directory as `connect` does."""
        from tinymlops.config import read_config
        from tinymlops.registry.scope import Scope, system_user
        from tinymlops.stores.environment import open_environment
        from tinymlops.stores.file_systems import require_private, warn_of_place

        project = Path(root if root is not None else path.resolve().parent).resolve()
        config = read_config(project)
        require_private(path.resolve())
        environment = open_environment(path, create=create, clock=clock)
        workspace = cls(Scope(environment, clock, system_user()), project, config)
        try:
            warn_of_place(environment.path)
            _cap(config.threads)
            workspace._recover()
        except BaseException:
            workspace.close()  # else the next attempt would find the stores in the state that made this one fail
            raise
        return workspace

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        said = "closed" if self._closed else f"{len(self.catalog.list())} definitions"
        return f"<workspace {self._environment.path.name}: {said}>"

    def close(self) -> None:
        """Give the directory back; closing twice does nothing."""
        if not self._closed:
            self._closed = True
            with ExitStack() as stack:
                stack.callback(self._environment.release)
                stack.callback(self._readers.close)
                stack.callback(self._log.close)
                stack.callback(self.runs.close)

    def _reader(self, consumer: str | None) -> str | None:
        if consumer is None:
            return None
        from tinymlops.registry.readers import check_consumer

        return check_consumer(consumer)

    def _note_features(
        self, context: Context, consumer: str | None, how: Literal["online", "historical"], features: Asked
    ) -> None:
        def names() -> list[str]:
            from tinymlops.features.history.historical import names_of

            return names_of(context, features)

        self._readers.note(consumer, how, tuple(features), names, self._clock)

    def _context(self) -> Context:
        with self._environment.online.read() as snapshot:
            return self._context_in(snapshot)

    def _context_in(self, snapshot: Snapshot) -> Context:
        """Return the state as of a snapshot of the online store, the one from before if it is the same."""
        definitions, known = self._in_force.read(snapshot), self._known
        if known is None or known.definitions is not definitions or known.clock is not self._clock:
            from tinymlops.features.context import Context

            require_threads()
            scope = replace(self._scope, clock=self._clock)
            known = self._known = Context(scope, definitions, self._functions, self._root, self._config, neighbours_of)
        return known

    def _named(self, nouns: Sequence[Noun | str]) -> tuple[Context, list[str]]:
        """Return the state, and the names of what a user passes, which must be what was applied."""
        from tinymlops.features.definitions.applied import applied_names

        context = self._context()
        return context, applied_names(nouns, context.definitions)

    def _recover(self) -> None:
        """Finish the work of a crashed process: let what is derived from the rows follow, and bring back what it lost."""
        from tinymlops.features.in_force import finish_change
        from tinymlops.features.intake.followers import followers_of, keep_up

        self._environment.online.drop_other_format()
        finish_change(self._environment)
        followers = followers_of(self._environment, self._context)
        for error in keep_up(followers, self._environment.database.sequence, rebuild=True):
            # It stays behind, or its reads come from history: whoever pushes, ingests or materializes is told.
            if not isinstance(error, TinyMLOpsError):
                raise error


def _cap(threads: int | None) -> None:
    """Let the kernels' pool, which the whole process shares, have so many threads; None leaves it as it is."""
    if threads is not None:
        from tinymlops.kernels.threads import set_threads

        set_threads(threads)


def neighbours_of(*args: Any, **options: Any) -> NeighbourRows:
    """Find neighbours as `neighbour_rows` does, which a `Context` is given: the join stands below vectors."""
    from tinymlops.features.vectors.neighbour_rows import neighbour_rows

    return neighbour_rows(*args, **options)
