"""`runs ablation` and `runs sweep`: what many runs say together."""

from typing import Annotated

import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command
from tinymlops_cli.output import Answer
from tinymlops_cli.session import Session

__all__ = ["add_to"]


def add_to(runs: typer.Typer) -> None:
    """Add the commands to those of runs."""
    command(runs, "ablation")(show_ablation)
    command(runs, "sweep")(show_sweep)


def show_ablation(
    session: Session,
    run: Annotated[
        str,
        typer.Argument(
            help="The parent run: its id, the beginning of it, or its name.", autocompletion=completion.runs
        ),
    ],
    *,
    metric: Annotated[str | None, typer.Option(help="Rank by another metric, such as log_loss.")] = None,
) -> Answer:
    """Show what each view, feature or version adds to a model, by an ablation that has ended or goes on."""
    found = session.workspace.ablation(run, metric=metric)
    return Answer(found, [repr(found)])


def show_sweep(
    session: Session,
    run: Annotated[
        str,
        typer.Argument(
            help="The sweep's run: its id, the beginning of it, or its name.", autocompletion=completion.runs
        ),
    ],
) -> Answer:
    """Show the trials of a sweep, the best first."""
    found = session.workspace.trials(run)
    return Answer(found, [repr(found)])
