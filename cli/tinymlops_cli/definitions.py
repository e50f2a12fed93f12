"""`plan` and `apply`: put the definitions of the project's code in force."""

import typer

from tinymlops_cli.commands import command
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    command(app)(plan)
    command(app)(apply)


def plan(session: Session) -> Answer:
    """Show what apply would change."""
    project = session.project
    found = session.workspace.plan(project)
    return Answer({"project": project.name, "changes": found.changes, "notes": found.notes}, [str(found)])


def apply(session: Session) -> Answer:
    """Make the project's definitions the ones in force."""
    project = session.project
    done = session.workspace.apply(project)
    return Answer({"project": project.name, "changes": done.changes, "notes": done.notes}, [str(done)])
