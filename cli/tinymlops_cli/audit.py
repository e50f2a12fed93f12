"""`audit`: who changed what, when, as a table, JSON or CSV; and whether the log is what was written."""

import csv
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from tinymlops.errors import IntegrityError
from tinymlops.printable import printable
from tinymlops_cli import completion
from tinymlops_cli.commands import command
from tinymlops_cli.failures import EXIT_CODES
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.records import AuditEntry

__all__ = ["add_to"]

_COLUMNS = ("n", "at", "actor", "action", "subject", "detail")
_FORMULAS = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a spreadsheet takes for the beginning of a formula, in the wide forms too."""


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    command(app)(audit)


def audit(
    session: Session,
    *,
    subject: Annotated[
        str | None,
        typer.Option(
            metavar="WHAT",
            help="A name, id, batch id, or a person such as customer:7.",
            autocompletion=completion.audited("subject"),
        ),
    ] = None,
    who: Annotated[
        str | None, typer.Option(metavar="ACTOR", help="The actor.", autocompletion=completion.audited("actor"))
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="Only entries from this time on (ISO 8601).")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only entries before this time.")] = None,
    action: Annotated[
        str | None,
        typer.Option(
            metavar="ACTION",
            help="Such as model.promote, or model. for all on models.",
            autocompletion=completion.audited("action"),
        ),
    ] = None,
    before: Annotated[
        int | None, typer.Option(metavar="N", help="Only entries with a smaller number: the next page.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", help="The most entries, at most 10,000.")] = 100,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="HEAD",
            help="Instead, check that the log was not changed since this head (n:hash), or the backup in this directory.",
        ),
    ] = None,
) -> Answer:
    """Show who changed what, the newest first: the audit log. Text from callers is in it as a keyed hash alone."""
    log = session.workspace.audit
    if against is not None:
        return _verified(session, against)
    entries = log.list(subject=subject, who=who, since=since, until=until, action=action, before=before, limit=limit)
    data = {"head": str(log.head()), "entries": entries}
    if as_csv:
        return Answer(data, [_csv(entries)])
    rows = [[getattr(entry, name) for name in _COLUMNS] for entry in entries]
    more = [f"older ones: --before {entries[-1].n}"] if len(entries) == limit and entries[-1].n > 1 else []
    return Answer(data, [Table(_COLUMNS, rows) if rows else "there is no such entry", *more, f"head: {log.head()}"])


def _verified(session: Session, against: str) -> Answer:
    verified = session.workspace.audit.verify(against)
    data = {"head": str(verified.head), "against": str(verified.against), "problems": verified.problems}
    told = [*verified.problems] or [
        f"nothing was changed up to entry {verified.against.n:,}" if verified.against else ""
    ]
    return Answer(data, [*told, f"head: {verified.head}"], code=0 if verified.intact else EXIT_CODES[IntegrityError])


def _csv(entries: "Sequence[AuditEntry]") -> str:
    """Write entries as CSV, with an apostrophe before what a spreadsheet would compute."""
    file = io.StringIO()
    writer = csv.writer(file, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow([*_COLUMNS, "previous", "hash"])
    for entry in entries:
        detail = msgspec.json.encode(entry.detail).decode()
        texts = (entry.at.isoformat(), entry.actor, entry.action, entry.subject, detail, entry.previous, entry.hash)
        writer.writerow([entry.n, *map(_safe, texts)])
    return file.getvalue().rstrip("\n")


def _safe(text: str) -> str:
    return printable("'" + text if text.lstrip().startswith(_FORMULAS) else text, line=True)
