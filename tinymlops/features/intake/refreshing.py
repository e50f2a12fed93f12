"""`materialize`: bring views up to date, with the rebuilt transformations that they depend on, several at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from tinymlops.errors import ConflictError
from tinymlops.features.definitions import graph
from tinymlops.features.definitions.specs import ViewSpec
from tinymlops.features.intake.followers import follow
from tinymlops.features.intake.transforming import recompute
from tinymlops.features.online.materialization import Covered, materialize
from tinymlops.kernels.threads import thread_count
from tinymlops.progress import progress

if TYPE_CHECKING:
    from tinymlops.features.context import Context

__all__ = ["refresh"]


def refresh(context: Context, names: Sequence[str]) -> list[Covered]:
    """Bring views up to date in the online store; what is done of one stays done if another fails.

    Args:
        context: The workspace's state.
        names: Of views; none for all.

    Returns:
        What the online store holds of each.

    Raises:
        NotFoundError: If a name is unknown, with the near match.
        ConflictError: If somebody else is materializing in this workspace.
    """
    definitions = context.definitions
    views = [definitions.get(ViewSpec, name) for name in names] or list(definitions.of(ViewSpec).values())
    with _alone(context):
        for source in graph.rebuilt_under(context.definitions, views):
            recompute(context, source)
        follow(context)  # all views at once; if a requested one cannot, its own `materialize` raises the reason
        if len(views) == 1:
            return [materialize(context, views[0])]
        with progress("materializing", len(views)) as advance, ThreadPoolExecutor(thread_count()) as pool:
            parts = [pool.submit(materialize, context, view) for view in views]
            for _ in as_completed(parts):
                advance(1)
        return [part.result() for part in parts]


@contextmanager
def _alone(context: Context) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(context.environment.materialize_lock.exclusive(deadline=0))
        except ConflictError as error:
            raise ConflictError(
                "views of this workspace are being materialized already",
                hint="wait until that is done: it covers all that is stored by then",
            ) from error
        yield
