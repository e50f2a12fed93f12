"""What a build read of sources in place: enough to say later which file is not what it was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tinymlops.connectors.connector import ReadFile
from tinymlops.errors import DataError, NotFoundError, TinyMLOpsError, UnavailableError
from tinymlops.features.definitions import graph, specs
from tinymlops.features.definitions.specs import SourceSpec
from tinymlops.features.history.content import table_hash
from tinymlops.features.history.in_place import file_now, read_in_place, shown_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinymlops.features.context import Context
    from tinymlops.features.history.in_place import Operation, ReadOfSource

__all__ = ["KeptRead", "changed_since", "kept_reads", "require_unchanged"]


class KeptRead(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one operation read of one source."""

    source: str
    definition: str
    """The fingerprint of the definition that it was read by."""
    statement: str
    """The SQL, table or pattern that was read."""
    connection: str = ""
    """The connection that it is of; empty for files of this machine."""
    rows: int
    files: tuple[ReadFile, ...] = ()
    """Paths start at the project's directory, or at the prefix of the connection."""
    rows_sha256: str = ""
    """Of the rows in the order of their times; empty where the hashes of files tell."""


def kept_reads(operation: Operation) -> tuple[KeptRead, ...]:
    """Return what an operation read, with hashes of files, or of rows where there are no files."""
    return tuple(_kept(read) for read in operation.found.values())


def _kept(read: ReadOfSource) -> KeptRead:
    source = read.source
    return KeptRead(
        source=source.name,
        definition=specs.fingerprint(source),
        statement=str(source.query if source.sql is None else source.sql),
        connection=source.connection if isinstance(source.connection, str) else "",
        rows=read.height,
        files=read.files,
        rows_sha256="" if read.files else table_hash(read.rows),
    )


def changed_since(context: Context, kept: Sequence[KeptRead]) -> list[str]:
    """Say what is not there as it was read, such as "orders/3.parquet changed".

    Files of this machine are hashed; a database is read again, within `reading_once` once for all.

    Args:
        context: The workspace's state, by the definitions that it was read by.
        kept: What was read.
    """
    return [said for one in kept for said in _changed(context, one)]


def require_unchanged(context: Context, kept: Sequence[KeptRead], build: str) -> None:
    """Refuse to make a build again from rows that are not those it was made of.

    Raises:
        DataError: If a file or a table has changed, is gone, or is new; it is named, and so is the build.
    """
    found = changed_since(context, kept)
    if found:
        raise DataError(f"{build} cannot be made again: {'; '.join(found)}", hint=_hint(kept))


def _hint(kept: Sequence[KeptRead]) -> str:
    names = ", ".join(dict.fromkeys(one.source for one in kept))
    return f"bring back what it read, or build anew; what is stored is kept as it was: leave store=False out of {names}"


def _changed(context: Context, kept: KeptRead) -> Iterator[str]:
    if kept.files and not kept.connection:
        now = {shown_path(context, path): path for path in context.files_of(kept.statement)}
        yield from _differing(kept, {path: file_now(context, name) for path, name in now.items()})
        return
    try:
        again = _kept(read_in_place(context, _source_of(context, kept)))
    except UnavailableError:
        raise  # nothing is known of it
    except TinyMLOpsError as error:
        yield f"{_what(kept)} cannot be read: {error.message}"
        return
    if kept.files:
        yield from _differing(kept, {file.path: file for file in again.files})
    elif again.rows_sha256 != kept.rows_sha256:
        yield f"{_what(kept)} gives other rows: {kept.rows:,} then, {again.rows:,} now"


def _differing(kept: KeptRead, now: dict[str, ReadFile]) -> Iterator[str]:
    where = f" of connection {kept.connection}" if kept.connection else ""
    then = {file.path: file for file in kept.files}
    for path, file in then.items():
        if path not in now:
            yield f"{path}{where} is gone"
        elif now[path].sha256 != file.sha256:
            yield f"{path}{where} changed"
    for path in now:
        if path not in then:
            yield f"{path}{where} is new"


def _what(kept: KeptRead) -> str:
    if kept.connection:
        return f"{kept.statement.strip()[:80]!r} of connection {kept.connection}"
    return f"the SQL of source {kept.source}"


def _source_of(context: Context, kept: KeptRead) -> SourceSpec:
    """Return the definition that it was read by."""
    for definitions in (context.definitions, *graph.named_versions(context.definitions)):
        source = definitions.of(SourceSpec).get(kept.source)
        if source is not None and specs.fingerprint(source) == kept.definition:
            return source
    raise NotFoundError(f"the definition that source {kept.source!r} was read by is not there any more")
