"""`plan` and `apply`: put the definitions of the project's code in force."""

from typing import TYPE_CHECKING, Annotated

import typer

from tinymlops_cli.commands import command
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.features.law.planning import Plan

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app)(plan)
    command(app)(apply)


def plan(
    session: Session,
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Exit with 1 if something is not applied yet, or a model would starve.")
    ] = False,
) -> Answer:
    """Say what apply would change, and what that reaches."""
    project = session.project  # before the workspace: what is wrong with the code is told first
    found = session.workspace.plan(project)
    return _answer(session, found, code=1 if check and (found or found.breaks) else 0)


def apply(
    session: Session,
    *,
    message: Annotated[
        str, typer.Option("--message", "-m", metavar="WHY", help="Why; kept with every version that this writes.")
    ] = "",
) -> Answer:
    """Make the project's definitions the ones in force."""
    project = session.project
    return _answer(session, session.workspace.apply(project, message=message))


def _answer(session: Session, plan: "Plan", code: int = 0) -> Answer:
    data = {"project": session.project.name, "changes": plan.changes, "reach": plan.reach, "notes": plan.notes}
    return Answer(data, [str(plan)], code)
