"""`search`: what the workspace says in words, found by them. Which columns these are, the records declare."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from tinymlops.errors import DataError
from tinymlops.notebook import in_notebook
from tinymlops.printable import printable
from tinymlops.records import TABLES, Definition, Record, RenamedSource, SourceState
from tinymlops.stores.rows import CHECK, codec_for, quoted
from tinymlops.stores.text_index import Entry, TextIndex
from tinymlops.tables import html_list, html_table, text_table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tinymlops.registry.scope import Scope
    from tinymlops.stores.database import Database
    from tinymlops.stores.text_index import Match, Place

__all__ = ["Found", "Search", "SearchResult"]

_RECORDS = {cls.table: cls for cls in TABLES if cls.search}
_KINDS = {
    "runs": "run",
    "artifacts": "file of a run",
    "model_versions": "model",
    "training_sets": "build",
    "source_states": "source",
    "notes": "note",
    "readers": "reader",
    "opaque_models": "model logged by MLflow",
    "registered_models": "model registered by MLflow",
    "opaque_versions": "version registered by MLflow",
}
"""Table to what one of its rows is; a definition says so itself."""
_VERSIONED = ("definitions", "source_states", "model_versions", "training_sets")
"""Tables whose rows are found once for each name: the version in force, else the one that fits best."""
_NAMES = ("aliases",)
_PROSE = ("description", "text")
_UNSPOKEN = frozenset(
    ("kind", "op", "via", "digest", "file", "fingerprint", "covers", "logic", "ambiguous", "date_means", "known")
)
"""Fields of a definition whose values are not words of its author's."""
_NAMING = frozenset(("features", "columns", "keys", "units", "params", "tags"))
"""Fields whose keys are names of their own."""
_MOST = 1_000


class Found(msgspec.Struct, frozen=True):
    """One thing that a search found."""

    kind: str
    """Of a definition its kind, such as `feature_view`; else `run`, `model`, `build`, `note` or `file of a run`."""
    name: str
    version: int | None
    """Null where it has none."""
    in_force: bool
    """False of a version of a definition that was replaced or removed."""
    excerpt: str
    """The words around those that were found."""

    def __str__(self) -> str:
        version = "" if self.version is None else f"@v{self.version}"
        gone = "" if self.in_force else " (not in force)"
        return f"{'on-demand view' if self.kind == 'on_demand' else self.kind.replace('_', ' ')} {self.name}{version}{gone}"


class SearchResult(msgspec.Struct, frozen=True):
    """What a search found, the best first; iterates over it.

    Example:
        >>> SearchResult([Found("feature_view", "delays", 2, True, "late arrivals a day")], {"arival": ["arrival"]})
        no word 'arival'; searched for arrival
        feature view delays@v2  late arrivals a day
    """

    found: list[Found]
    corrected: dict[str, list[str]]
    """Words that stand nowhere, each with those that were looked for in its place."""

    def __len__(self) -> int:
        return len(self.found)

    def __iter__(self) -> Iterator[Found]:
        return iter(self.found)

    def __repr__(self) -> str:
        lines = [text_table(self._rows)] if self.found else ["nothing found"]
        return printable("\n".join([*self.corrections, *lines]))

    def _repr_html_(self) -> str:
        found = html_table("found" if self.found else "nothing found", self._rows)
        return in_notebook(html_list(self.corrections), found)

    @property
    def corrections(self) -> list[str]:
        """Say which words were searched for in place of others, in a line each."""
        return [f"no word {word!r}; searched for {', '.join(others)}" for word, others in self.corrected.items()]

    @property
    def _rows(self) -> list[tuple[str, str]]:
        return [(str(one), one.excerpt) for one in self.found]


class Search:
    """Finds definitions, terms, models, runs, builds and notes by words.

    Args:
        scope: Who works on which workspace.
    """

    def __init__(self, scope: Scope) -> None:
        self._database = scope.environment.database
        self._index = TextIndex(scope.environment.path)

    def find(self, text: str, *, limit: int = 20, tables: Sequence[str] | None = None) -> SearchResult:
        """Find what has these words, the best first: in names, then in prose, then in columns and values.

        Words may be in any order, beginnings of words, misspelled, or another name of a term. What has all of them comes
        before what has some.

        Args:
            text: The words.
            limit: At most so many.
            tables: Those to look in, as if there were no others; None for all that have words.

        Raises:
            DataError: If there is no word in the text.
        """
        if not isinstance(text, str) or not any(map(str.isalnum, text)):
            raise DataError(f"{text!r} has no word to search for", hint='write words, such as "late arrivals"')
        if not 1 <= limit <= _MOST:
            raise DataError(f"limit={limit} is not from 1 to {_MOST:,}", hint="use 20")
        self._update()
        matches = self._index.search(text, limit=limit, records=tables)
        names = {one.place: one.name for one in self._database.list(RenamedSource, order="at")}
        return SearchResult([_found(match, names) for match in matches.found], matches.corrected)

    def refresh(self) -> None:
        """Bring the index up to date where there is one: text that is gone from the database is overwritten in it."""
        if self._index.path.exists():
            self._update()

    def _update(self) -> None:
        # The number of the commit is read first: what is committed meanwhile is found, and looked for again next time.
        self._index.update(self._database.commits(), self._checksums, self._entries)

    def _checksums(self) -> dict[Place, int]:
        sql = f"SELECT rowid, {CHECK} FROM "
        return {(table, row): check for table in _RECORDS for row, check in self._database.rows(sql + quoted(table))}

    def _entries(self, places: Sequence[Place]) -> Iterator[Entry]:
        for table, cls in _RECORDS.items():
            numbers = [row for name, row in places if name == table]
            if numbers:
                yield from _of_table(self._database, cls, numbers)


def _of_table(database: Database, cls: type[Record], numbers: Sequence[int]) -> Iterator[Entry]:
    codec = codec_for(cls)
    sql = f"SELECT rowid, {codec.columns} FROM {codec.table} WHERE rowid IN (SELECT value FROM json_each(?))"
    for number, *row in database.rows(sql, [msgspec.json.encode(numbers).decode()]):
        yield _entry(codec.decode(row), number, row[-1])


def _entry(record: Record, row: int, check: int) -> Entry:
    spec = record.spec if isinstance(record, Definition) else {}
    name = str(getattr(record, "name", None) or getattr(record, record.key[0]))
    titles, prose, rest = [name, *_texts(spec.get("aliases"))], [], []
    for column in record.search:
        value = getattr(record, column)
        if column == "name":
            continue
        if isinstance(value, dict) and column == "spec":
            prose += [value[field] for field in _PROSE if isinstance(value.get(field), str)]
            rest += _texts({key: one for key, one in value.items() if key not in (*_PROSE, *_NAMES, "name")})
        elif isinstance(value, dict):
            rest += _texts({column: value} if column in _NAMING else value)
        else:
            (prose if column == "text" else rest).extend(_texts(value))
    kind = record.kind if isinstance(record, Definition) else _KINDS.get(record.table, record.table)
    return Entry(
        place=(record.table, row),
        checksum=check,
        kind=kind,
        name=name,
        thing=f"{kind}:{name}" if record.table in _VERSIONED else f"{record.table}:{row}",
        version=getattr(record, "version", None),
        in_force=getattr(record, "removed_at", None) is None,
        title="\n".join(titles),
        prose="\n".join(prose),
        rest=" ".join(rest),
        phrases=tuple(titles) if kind == "term" else (),
    )


def _texts(value: Any, field: str = "") -> list[str]:
    """Return the texts in a value, and the keys that are names."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, dict):
        found = [str(key) for key in value] if field in _NAMING else []
        for key, one in value.items():
            if key not in _UNSPOKEN or field in _NAMING:
                found += _texts(one, str(key) if field not in _NAMING else "")
        return found
    if isinstance(value, list | tuple):
        return [text for one in value for text in _texts(one)]
    return []


def _found(match: Match, names: dict[str, str]) -> Found:
    name = names.get(match.name, match.name) if match.record == SourceState.table else match.name
    return Found(match.kind, name, match.version, match.in_force, " ".join(match.excerpt.split()))
