"""`verify`: whether what was built and answered comes out the same again."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tinymlops.errors import IntegrityError
from tinymlops_cli.commands import command
from tinymlops_cli.failures import EXIT_CODES
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.features.verifying import VerifiedBuild
    from tinymlops.serving.verifying import VerifiedOnline

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app)(verify)


def verify(
    session: Session,
    training_set: Annotated[
        str | None,
        typer.Argument(metavar="[NAME_OR_ID]", help="A training set's name, for its newest build, or a build's id."),
    ] = None,
    *,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only predictions from this moment on (ISO 8601).")
    ] = None,
) -> Answer:
    """Build a training set again, or recompute the features of logged predictions: they must come out the same."""
    workspace = session.workspace
    if training_set is not None:
        return _build(workspace.verify(training_set))
    return _online(workspace.verify_online(since=since))


def _build(verified: "VerifiedBuild") -> Answer:
    data = {**msgspec.structs.asdict(verified), "same": verified.same}
    engines = [(name, then, now) for name, (then, now) in verified.engines.items()]
    view: list[str | Table] = [repr(verified).strip("<>")]
    if engines:
        view.append(Table(["engine", "then", "now"], engines))
    return Answer(data, view, code=0 if verified.same else EXIT_CODES[IntegrityError])


def _online(verified: "VerifiedOnline") -> Answer:
    data = {**msgspec.structs.asdict(verified), "same": verified.same}
    view: list[str | Table] = [repr(verified).strip("<>")]
    if not verified.same:
        columns = ["prediction", "feature", "logged", "recomputed"]
        view.append(Table(columns, [msgspec.structs.astuple(example) for example in verified.examples]))
    return Answer(data, view, code=0 if verified.same else EXIT_CODES[IntegrityError])
