"""The `tinymlops` command: one function for each verb of the workspace."""

from __future__ import annotations

from typing import Annotated

import typer

import tinymlops

__all__ = ["app", "main"]

app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, pretty_exceptions_enable=False)


@app.callback(invoke_without_command=True)
def root(
    *,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """The whole machine-learning workflow of a small team in one process on one machine."""
    if version:
        typer.echo(f"tinymlops {tinymlops.__version__}")


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
