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
    from tinymlops.features.vectors.answer import Answer as Found
    from tinymlops.features.vectors.following import Followed

__all__ = ["add_to"]

Name = Annotated[str, typer.Argument(metavar="NAME", help="An embedding.", autocompletion=completion.embeddings)]

At = Annotated[str | None, typer.Option(metavar="TIME", help="As known then, in ISO 8601; by default now.")]
AsOf = Annotated[int | None, typer.Option(metavar="Q", help="Use only rows with a sequence up to this one.")]


class Mode(enum.StrEnum):
    """How rows are compared with a query."""

    vector = "vector"
    text = "text"
    hybrid = "hybrid"


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    inner = group(app, "vectors", "Embeddings: search rows by vectors and by words, and make the vectors.")
    command(inner, "list")(list_embeddings)
    for function in (search, duplicates, cluster, embed, rebuild, failures):
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
    at: At = None,
    as_of: AsOf = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Only rows with this value; may be given more than once."),
    ] = None,
    mode: Annotated[Mode, typer.Option(help="By vectors, by words, or by both.")] = Mode.vector,
    exact: Annotated[bool, typer.Option("--exact", help="Compare every vector, though there is an index.")] = False,
) -> Answer:
    """Find the rows that are nearest to a query, of what is or was known."""
    vectors = session.workspace.vectors
    condition = _pairs(where or ())
    found = vectors.search(name, _query(query), k=k, at=at, as_of=as_of, where=condition, mode=mode.value, exact=exact)
    data = _rests_on(found) | {"generation": found.generation, "indexed": found.indexed, "rows": found.to_dicts()}
    view = head_of(found.to_polars()) if len(found) else ["no row is found"]
    if found.waiting:
        view.append(f"{found.waiting:,} rows have no vector yet: tinymlops vectors embed {name}")
    return Answer(data, view)


def duplicates(
    session: Session,
    name: Name,
    *,
    at: At = None,
    as_of: AsOf = None,
    threshold: Annotated[
        float | None, typer.Option(metavar="SCORE", help="The least score of a pair; by cosine 0.95.")
    ] = None,
    limit: Annotated[
        int, typer.Option(metavar="N", min=1, max=10_000, help="At most so many pairs, the best.")
    ] = 1_000,
) -> Answer:
    """Find the pairs of rows with nearly the same vector, of what is or was known."""
    found = session.workspace.vectors.duplicates(name, at=at, as_of=as_of, threshold=threshold, limit=limit)
    data = _rests_on(found) | {"threshold": found.threshold, "count": found.count, "rows": found.to_dicts()}
    said = f"{found.count:,} pairs from score {found.threshold} on"
    return Answer(data, [*(head_of(found.to_polars()) if len(found) else ()), said])


def cluster(
    session: Session,
    name: Name,
    *,
    k: Annotated[int, typer.Option("--k", metavar="N", min=1, max=100, help="At most so many clusters.")] = 8,
    at: At = None,
    as_of: AsOf = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Where the search for clusters begins.")] = 0,
) -> Answer:
    """Put rows with similar vectors into clusters, and say what each is."""
    found = session.workspace.vectors.cluster(name, k, at=at, as_of=as_of, seed=seed)
    data = _rests_on(found) | {"clusters": found.summary.to_dicts(), "rows": found.to_dicts()}
    columns = ["cluster", "rows", "share", "distance", "words", "values", "nearest"]
    rows = [
        [
            one["cluster"],
            one["rows"],
            f"{one['share']:.1%}",
            f"{one['distance']:.3g}",
            ", ".join(one["words"] or ()),
            ", ".join(one["values"]),
            ", ".join(map(str, one["nearest"])),
        ]
        for one in found.summary.to_dicts()
    ]
    return Answer(data, [Table(columns, rows) if rows else "no row has a vector"])


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


def _rests_on(found: "Found") -> dict[str, Any]:
    """Return what every kind of answer says of itself."""
    names = ("timestamp", "sequence", "covered", "waiting", "failed", "fitted_at")
    return {name: getattr(found, name) for name in names}


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
