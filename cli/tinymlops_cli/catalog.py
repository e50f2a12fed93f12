"""`status`, `show`, `log`, `why`, `note`, `mark`, `marks` and `keep`: definitions and models as they were and are."""

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command
from tinymlops_cli.differences import definition_of
from tinymlops_cli.output import Answer, Table
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.registry.remarks import VersionStory

__all__ = ["add_to"]

Reference = Annotated[
    str,
    typer.Argument(
        metavar="NAME[@vN]", help="A definition or a model, or one of its versions.", autocompletion=completion.named
    ),
]
Kind = Annotated[str | None, typer.Option("--kind", help="Which of several that have the name, such as source.")]


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    for function in (status, show, log, why, note, mark, marks, keep):
        command(app)(function)


def status(session: Session) -> Answer:
    """Say what is not applied yet, and where sources, views and models stand."""
    project = session.project if session.config.modules else None
    found = session.workspace.status(project)
    return Answer(found, [str(found)])


def show(session: Session, reference: Reference, *, kind: Kind = None) -> Answer:
    """Show a version of a definition as it was applied."""
    row = definition_of(session, reference, kind)
    fields = [[name, value] for name, value in row.spec.items() if value not in (None, "", [], {})]
    if row.spec.get("store") is False:
        fields.append(["rows", "in place: read where they are, never stored"])
    covers = (row.spec.get("code") or {}).get("covers")
    if covers is not None:
        fields = [[name, _without(value, "covers") if name == "code" else value] for name, value in fields]
        packages = [f"{name} {version}".rstrip() for name, version in covers.get("packages", {}).items()]
        fields.append(["digest covers", ", ".join(covers.get("parts", ()))])
        fields.append(["digest does not see", "; ".join([*covers.get("unseen", ()), *packages]) or "nothing known"])
    return Answer(row, [Table(["field", f"{row.name}@v{row.version}"], fields)])


def _without(fields: dict[str, object], name: str) -> dict[str, object]:
    return {key: value for key, value in fields.items() if key != name}


def log(session: Session, reference: Reference, *, kind: Kind = None) -> Answer:
    """List the versions of a definition or a model, newest first."""
    stories = session.workspace.catalog.why(reference, kind=kind)
    rows = [
        {"version": f"v{one.version}", "at": one.at, "author": one.author, "mark": one.mark or "", "why": one.message}
        for one in stories
    ]
    return Answer(stories, [Table.of(rows)])


def why(session: Session, reference: Reference, *, kind: Kind = None) -> Answer:
    """Tell why a definition or a model is as it is: every version, who, when, what they wrote, and the runs that used it."""
    stories = session.workspace.catalog.why(reference, kind=kind)
    return Answer(stories, ["\n".join(line for story in stories for line in _told(story))])


def note(
    session: Session,
    reference: Reference,
    text: Annotated[str, typer.Argument(help="Why, in plain words.")],
    *,
    kind: Kind = None,
) -> Answer:
    """Keep a note about a version, for those who come later."""
    kept = session.workspace.catalog.note(reference, text, kind=kind)
    return Answer(kept, [f"noted on {kept.name}@v{kept.version}"])


def mark(
    session: Session,
    reference: Reference,
    mark: Annotated[str, typer.Argument(help="golden, silver or experimental; none takes the mark away.")],
    *,
    kind: Kind = None,
) -> Answer:
    """Mark how far a version is trusted; a model marked experimental cannot become champion."""
    kept = session.workspace.catalog.mark(reference, None if mark == "none" else mark, kind=kind)
    return Answer(
        kept, [f"{reference} has no mark now" if kept is None else f"{kept.name}@v{kept.version} is {kept.mark}"]
    )


def marks(session: Session) -> Answer:
    """Count models, definitions, authors and predictions by mark."""
    found = session.workspace.catalog.remarks.marks()
    calls = session.workspace.catalog.remarks.calls()
    rows = []
    for name in sorted({one.mark for one in found}):
        of = [one for one in found if one.mark == name]
        kinds = Counter("models" if one.kind == "model" else "definitions" for one in of)
        rows.append(
            {
                "mark": name,
                "models": kinds["models"],
                "definitions": kinds["definitions"],
                "authors": len({one.author for one in of}),
                "predictions": sum(calls.get((one.name, one.version), 0) for one in of if one.kind == "model"),
            }
        )
    return Answer({"marks": found, "counts": rows}, [Table.of(rows) if rows else "nothing is marked"])


def keep(
    session: Session,
    reference: Reference,
    *,
    off: Annotated[bool, typer.Option("--off", help="Let it go: gc drops it where nothing names it.")] = False,
    kind: Kind = None,
) -> Answer:
    """Let a version that is not in force stay beside its successors."""
    row = session.workspace.catalog.keep(reference, not off, kind=kind)
    return Answer(
        row, [f"{row.name}@v{row.version} {'goes with the next gc, if nothing names it' if off else 'stays'}"]
    )


def _told(story: "VersionStory") -> list[str]:
    state = "in force" if story.in_force else "" if story.replaced_by is None else f"replaced by v{story.replaced_by}"
    head = [
        f"{story.name}@v{story.version}",
        story.at.isoformat(timespec="minutes"),
        story.author,
        story.mark or "",
        state,
    ]
    lines = ["  ".join(part for part in head if part)]
    lines += [f"    {story.message}"] if story.message else []
    lines += [f"    note by {one.author}, {one.at.date()}: {one.text}" for one in story.notes]
    for run, metrics in story.runs.items():
        measured = " ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        lines.append(f"    run {run}: {measured or 'no metrics'}")
    return lines
