"""`plan`, `apply` and `lint`: from the project's code to the definitions in force, and what is wrong with them."""

from typing import Annotated

import typer

from tinymlops_cli.commands import command
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

__all__ = ["add_to"]

_FOUND = 1
"""The exit code of `lint` where there is a finding that is no note and that the project does not allow."""


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app)(plan)
    command(app)(apply)
    command(app)(lint)


def plan(session: Session) -> Answer:
    """Say what apply would change."""
    project = session.project
    found = session.workspace.plan(project)
    return Answer({"project": project.name, "changes": found.changes, "notes": found.notes}, [str(found)])


def apply(session: Session) -> Answer:
    """Make the project's definitions the ones in force."""
    project = session.project
    done = session.workspace.apply(project)
    return Answer({"project": project.name, "changes": done.changes, "notes": done.notes}, [str(done)])


def lint(
    session: Session,
    names: Annotated[list[str] | None, typer.Argument(metavar="TRAINING_SETS", help="Which; none for all.")] = None,
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
        "replayed": report.replayed,
        "run_twice": report.run_twice,
    }
    return Answer(data, [str(report)], code=0 if report.clean else _FOUND)


def _fields(struct: object) -> dict[str, object]:
    import msgspec

    found: dict[str, object] = msgspec.structs.asdict(struct)  # type: ignore[arg-type]  # a finding is a Struct
    return found
