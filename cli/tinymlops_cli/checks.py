"""`checks`: what rows must be like, what was found, and the rows that are kept aside."""

from typing import Annotated, Any

import msgspec
import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.output import Answer, Table, head_of
from tinymlops_cli.session import Session

__all__ = ["add_to"]

Number = Annotated[int, typer.Argument(metavar="QUARANTINE", help="Its number.")]
Ids = Annotated[
    list[str] | None,
    typer.Option("--id", metavar="ID", help="Only the rows of this event; may be given more than once."),
]
Rows = Annotated[
    list[int] | None, typer.Option("--row", metavar="N", min=0, help="Only this __row; may be given more than once.")
]
Target = Annotated[
    str | None,
    typer.Argument(
        metavar="TARGET", help="A source, a transformation or a feature view.", autocompletion=completion.sources
    ),
]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "checks", "Checks on data, what they found, and the rows that they keep aside.")
    command(inner, "list")(list_checks)
    for function in (results, quarantined, release, drop, infer, run):
        command(inner)(function)


def list_checks(session: Session) -> Answer:
    """List the checks in force."""
    from tinymlops.features.definitions.rules import in_code

    checks = [
        {"name": spec.name, "target": spec.target, "action": spec.action, "rule": in_code(rule)}
        for spec in session.workspace.checks.list()
        for rule in spec.rules
    ]
    return Answer(checks, [Table.of(checks) if checks else "there are no checks: project.check(orders, ...)"])


def results(
    session: Session,
    target: Target = None,
    *,
    limit: Annotated[int, typer.Option(metavar="N", min=1, help="At most so many.")] = 50,
) -> Answer:
    """Show what rules said of batches, the newest first; of pushes only what did not pass is kept."""
    found = session.workspace.checks.results(target, limit=limit)
    return Answer(list(found), [repr(found)])


def quarantined(
    session: Session,
    number: Annotated[int | None, typer.Argument(metavar="QUARANTINE", help="Show the rows of this one.")] = None,
    *,
    source: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="Only of this source.", autocompletion=completion.sources)
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that were released or dropped too.")] = False,
) -> Answer:
    """List the batches of rows that are kept aside, or show the rows of one."""
    checks = session.workspace.checks
    if number is not None:
        rows = checks.rows(number)
        return Answer({"quarantine": number, "rows": rows.to_dicts()}, head_of(rows))
    found = checks.quarantined(source, status=None if every else "waiting")
    shown = [
        {
            "quarantine": one.id,
            "source": one.source,
            "rows": one.rows,
            "at": one.at,
            "status": one.status,
            "rules": one.rules,
        }
        for one in found
    ]
    return Answer(found, [Table.of(shown) if shown else "no rows are in quarantine"])


def release(
    session: Session,
    number: Number,
    *,
    id: Ids = None,  # noqa: A002 - the option's name
    row: Rows = None,
    replace_newer: Annotated[
        bool,
        typer.Option(
            "--replace-newer", help="Let them take the place of versions that were stored with them or since."
        ),
    ] = False,
) -> Answer:
    """Let rows of a quarantine go in as if they came now; what came again meanwhile is known, the others wait on."""
    report: Any = session.workspace.checks.release(number, ids=id, rows=row, replace_newer=replace_newer)
    counts = {
        name: value for name, value in msgspec.structs.asdict(report).items() if name.startswith("rows_") and value
    }
    shown = {name.removeprefix("rows_").replace("_", " "): value for name, value in counts.items()}
    return Answer(report, [Table.of([{"source": report.source, **shown}])])


def drop(
    session: Session,
    number: Number,
    *,
    id: Ids = None,  # noqa: A002 - the option's name
    row: Rows = None,
) -> Answer:
    """Give up rows of a quarantine: their values are removed, and the same rows stay out when they come again."""
    dropped = session.workspace.checks.drop(number, ids=id, rows=row)
    return Answer(dropped, [f"{dropped.rows:,} rows of {dropped.source} are dropped"])


def infer(
    session: Session,
    source: Annotated[
        str, typer.Argument(metavar="SOURCE", help="A source or a transformation.", autocompletion=completion.sources)
    ],
) -> Answer:
    """Propose checks that all stored rows of a source pass, as code to paste."""
    proposal = session.workspace.checks.infer(source)
    code = str(proposal)
    return Answer({**msgspec.structs.asdict(proposal), "code": code}, [code])


def run(session: Session, target: Target = None) -> Answer:
    """Ask the checks about the rows that are stored; the exit code is 1 if something does not pass."""
    found = session.workspace.checks.run(target)
    return Answer(list(found), [repr(found)], code=int(any(one.passed is False for one in found)))
