"""`plan`, `apply` and `lint`: what the project's definitions change, put in force, and what is wrong with them."""

from typing import TYPE_CHECKING, Annotated

import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.features.law.planning import Plan

__all__ = ["add_to"]

_FOUND = 1
"""The exit code of `lint` where there is a finding that is no note and that the project does not allow."""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app)(plan)
    command(app)(apply)
    command(app)(lint)


def plan(
    session: Session,
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Exit with 1 if something is not applied yet, leaks, or a model would starve."),
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
    data = {
        "project": session.project.name,
        "changes": plan.changes,
        "reach": plan.reach,
        "leaks": plan.leaks,
        "notes": plan.notes,
        "unseen": plan.unseen,
    }
    return Answer(data, [str(plan)], code)


def lint(
    session: Session,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAMES", help="Training sets and services; none for all.", autocompletion=completion.spines
        ),
    ] = None,
    *,
    replay: Annotated[int, typer.Option(min=0, metavar="ROWS", help="Rows of each to compute again.")] = 200,
    seed: Annotated[int, typer.Option(help="Which rows these are.")] = 0,
    pure: Annotated[bool, typer.Option("--pure", help="Also run every definition twice.")] = False,
) -> Answer:
    """Look for leaks in the project's definitions and in what they make; exits with 1 if there is any."""
    project = session.project if session.config.modules else None
    report = session.workspace.lint(*(names or ()), project=project, replay=replay, seed=seed, pure=pure)
    data = {
        "clean": report.clean,
        "findings": [{"name": one.name, **_fields(one)} for one in report.findings],
        "allowed": [{"name": one.name, **_fields(one)} for one in report.allowed],
        "training_sets": report.training_sets,
        "services": report.services,
        "replayed": report.replayed,
        "run_twice": report.run_twice,
    }
    return Answer(data, [str(report)], code=0 if report.clean else _FOUND)


def _fields(struct: object) -> dict[str, object]:
    import msgspec

    found: dict[str, object] = msgspec.structs.asdict(struct)  # type: ignore[arg-type]  # a finding is a Struct
    return found
