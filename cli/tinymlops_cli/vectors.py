"""`vectors`: embeddings, what makes them, and search."""

import enum
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tinymlops_cli import completion
from tinymlops_cli.commands import command, group
from tinymlops_cli.failures import UsageError
from tinymlops_cli.output import Answer, Table, head_of
from tinymlops_cli.rows import parse_rows
from tinymlops_cli.session import Session

if TYPE_CHECKING:
    from tinymlops.features.vectors.following import Followed

__all__ = ["add_to"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="An embedding.", autocompletion=completion.embeddings)]


class Mode(enum.StrEnum):
    """How rows are compared with a query."""

    vector = "vector"
    text = "text"
    hybrid = "hybrid"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "vectors", "Embeddings: search rows by vectors and by words, and make the vectors.")
    command(inner, "list")(list_embeddings)
    for function in (search, embed, rebuild, failures):
        command(inner)(function)


def list_embeddings(session: Session) -> Answer:
    """List the embeddings, and how far their vectors are."""
    found = session.workspace.vectors.list()
    columns = ["embedding", "source", "of", "model", "dimension", "waiting", "failed"]
    rows = [
        [
            one.embedding,
            one.source,
            one.text or one.vector,
            one.model or "",
            one.dimension or "",
            one.waiting,
            one.failed,
        ]
        for one in found
    ]
    return Answer(found, [Table(columns, rows) if rows else "there are no embeddings: project.embedding(...)"])


def search(
    session: Session,
    name: Name,
    query: Annotated[str, typer.Argument(metavar="QUERY", help="A text; or a vector, as a JSON list of numbers.")],
    *,
    k: Annotated[int, typer.Option("--k", metavar="N", min=1, max=10_000, help="At most so many rows.")] = 10,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="As known then, in ISO 8601; by default now.")] = None,
    as_of: Annotated[
        int | None, typer.Option(metavar="Q", help="Use only rows with a sequence up to this one.")
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Only rows with this value; may be given more than once."),
    ] = None,
    mode: Annotated[Mode, typer.Option(help="By vectors, by words, or by both.")] = Mode.vector,
) -> Answer:
    """Find the rows that are nearest to a query, of what is or was known."""
    vectors = session.workspace.vectors
    found = vectors.search(name, _query(query), k=k, at=at, as_of=as_of, where=_pairs(where or ()), mode=mode.value)
    data = {
        "timestamp": found.timestamp,
        "sequence": found.sequence,
        "covered": found.covered,
        "waiting": found.waiting,
        "failed": found.failed,
        "rows": found.to_dicts(),
    }
    view = head_of(found.to_polars()) if len(found) else ["no row is found"]
    if found.waiting:
        view.append(f"{found.waiting:,} rows have no vector yet: tinymlops vectors embed {name}")
    return Answer(data, view)


def embed(
    session: Session,
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="By default all.", autocompletion=completion.embeddings),
    ] = None,
) -> Answer:
    """Make the vectors of the rows that came; one that is stopped goes on the next time."""
    found = session.workspace.vectors.follow(*names or ())
    return Answer(found, [_told(one) for one in found] or ["there are no embeddings"])


def rebuild(
    session: Session,
    name: Name,
    *,
    purge: Annotated[
        bool, typer.Option("--purge", help="Rewrite the files without the vectors that no stored row needs.")
    ] = False,
    anew: Annotated[
        bool, typer.Option("--anew", help="Fit TF-IDF, or take the model as it is now, and embed every text by it.")
    ] = False,
) -> Answer:
    """Look at every row again: failures are tried again, and no text that has a vector is embedded again."""
    done = session.workspace.vectors.rebuild(name, purge=purge, anew=anew)
    return Answer(done, [_told(done)])


def failures(session: Session, name: Name) -> Answer:
    """Show the rows without a vector, and why."""
    found = session.workspace.vectors.failures(name)
    view = head_of(found) if found.height else ["every row with a text or a vector can be found"]
    return Answer({"embedding": name, "rows": found.to_dicts()}, view)


def _told(done: "Followed") -> str:
    failed = f", {done.failed:,} failed: tinymlops vectors failures {done.embedding}" if done.failed else ""
    return f"{done.embedding}: {done.embedded:,} texts embedded, all rows up to Q={done.covered} have vectors{failed}"


def _query(text: str) -> Any:
    """Return a query: a list of numbers is a vector, and everything else is a text."""
    import msgspec

    try:
        return msgspec.json.decode(text, type=list[float]) if text.lstrip().startswith("[") else text
    except (msgspec.MsgspecError, UnicodeEncodeError):
        return text


def _pairs(where: Iterable[str]) -> dict[str, Any] | None:
    """Return what columns must be.

    Raises:
        UsageError: If one is not COLUMN=VALUE, or a column comes twice.
    """
    pairs: dict[str, Any] = {}
    for one in where:
        name, equals, _ = one.partition("=")
        if not equals or not name or name.lstrip().startswith(("{", "[")):
            raise UsageError(f"--where {one} is not COLUMN=VALUE", hint="write --where country=AT")
        if name in pairs:
            raise UsageError(f"--where names {name} twice", hint="one value for each column")
        pairs |= parse_rows([one])[0]
    return pairs or None
