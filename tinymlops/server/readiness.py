"""Whether a workspace can answer: its models load, and the code here is the code that was applied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.errors import DefinitionError, TinyMLOpsError
from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.features.context import Context
    from tinymlops.workspace import Workspace

__all__ = ["ages_of", "in_place_of", "require_ready", "starved_of"]


def require_ready(ws: Workspace) -> None:
    """Load the model of every alias, and find every function that an answer may need.

    Raises:
        TinyMLOpsError: If the workspace does not open, or of the kind of the first problem, naming all.
    """
    context = ws._context()  # noqa: SLF001 - the server stands on the facade, and this is no verb of a user
    context.environment.check()
    problems = dict(_problems(ws, context))
    if problems:
        message = "; ".join(f"{name}: {error.message}" for name, error in problems.items())
        first = next(iter(problems.values()))
        raise type(first)(message, hint=first.hint or "see what `tinymlops doctor` says")


def starved_of(ws: Workspace) -> dict[str, str] | msgspec.UnsetType:
    """Return the models that get no new rows of a source that they read, and why; unset if there are none."""
    from tinymlops.features.standing import starved_models

    return starved_models(ws._context(), ws.models) or msgspec.UNSET  # noqa: SLF001 - as above


def ages_of(ws: Workspace) -> dict[str, float] | msgspec.UnsetType:
    """Return the seconds since the newest event of each source; unset if none has events."""
    from tinymlops.features.law.freshness import ages

    return ages(ws._context()) or msgspec.UNSET  # noqa: SLF001 - as above


def in_place_of(ws: Workspace) -> list[str] | msgspec.UnsetType:
    """Return the sources that are read in place, which have no age; unset if there are none."""
    from tinymlops.features.law.freshness import in_place

    return in_place(ws._context()) or msgspec.UNSET  # noqa: SLF001 - as above


def _problems(ws: Workspace, context: Context) -> Iterator[tuple[str, TinyMLOpsError]]:
    yield from _other_code(context, "")
    for newest in ws.models.list():
        for alias in ws.models.aliases(newest.name):
            reference = f"{alias.name}@{alias.alias}"
            try:
                model = ws.load_model(reference)
            except TinyMLOpsError as error:
                yield reference, error
            else:
                yield from _other_code(model.context(context), f"{reference}, ")


def _other_code(context: Context, whose: str) -> Iterator[tuple[str, TinyMLOpsError]]:
    """Name the functions called for an answer or a push that are not what was applied."""
    for spec in context.definitions.all:
        if isinstance(spec, OnDemandSpec) or (isinstance(spec, SourceSpec) and spec.row_wise):
            if spec.code is None:
                continue
            try:
                context.function(spec)
            except DefinitionError as error:
                yield whose + spec.name, error
