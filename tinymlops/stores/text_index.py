"""`search.db`: a full-text index of what the workspace's database says in words. It is derived, and made anew if need be.

It is a file of its own, so that a write to the workspace never waits for it and a backup does without it. Each entry has the
checksum of the row that it was made from: bringing it up to date compares these alone, and reads only rows that differ.
What is removed from it is overwritten.
"""

from __future__ import annotations

import re
import sqlite3
import unicodedata
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from tinymlops.errors import IntegrityError
from tinymlops.stores._distance import distance
from tinymlops.stores._sqlite import translated

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["Entry", "Match", "Matches", "Place", "TextIndex", "words_of"]

Place = tuple[str, int]
"""A table, and the number of a row in it."""

_FORMAT = 2
_PATIENCE = 10.0
_OVERWRITES = (3, 42)
"""From this version of SQLite on, the index itself overwrites what is removed; before, a rewrite of all of it does."""
_LONGEST_PHRASE = 6
_VERSIONS = 3
"""Matches that are looked at for each that is given: several may be versions of one thing."""
_WORD = re.compile(r"[^\W_]+")
_ACCENTS = re.compile("[\u0300-\u036f]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_WEIGHTS = (10.0, 4.0, 1.0)
"""Of a word in a name, in prose, and elsewhere."""
_TABLES = (
    """CREATE TABLE entries (
        id INTEGER PRIMARY KEY, record TEXT NOT NULL, row INTEGER NOT NULL, checksum INTEGER NOT NULL, kind TEXT NOT NULL,
        name TEXT NOT NULL, thing TEXT NOT NULL, version INTEGER, in_force INTEGER NOT NULL, UNIQUE (record, row)
    ) STRICT""",
    "CREATE TABLE phrases (phrase TEXT NOT NULL, entry INTEGER NOT NULL, PRIMARY KEY (phrase, entry)) STRICT",
    "CREATE INDEX phrases_of_entry ON phrases (entry)",
    "CREATE TABLE words (word TEXT NOT NULL, record TEXT NOT NULL, PRIMARY KEY (word, record)) STRICT, WITHOUT ROWID",
    "CREATE TABLE state (seen INTEGER NOT NULL) STRICT",
    "INSERT INTO state VALUES (-1)",
    "CREATE VIRTUAL TABLE texts USING fts5(name, prose, rest, tokenize = 'unicode61 remove_diacritics 2')",
)


class Entry(NamedTuple):
    """One thing that can be found."""

    place: Place
    checksum: int
    """Of the row that it was made from."""
    kind: str
    name: str
    thing: str
    """What it is a version of, or itself: of one thing only the best match is given."""
    version: int | None
    in_force: bool
    title: str
    """Its name and its other names, in words."""
    prose: str
    rest: str
    phrases: tuple[str, ...] = ()
    """Names of one and the same thing: who searches for one of them finds the others."""


class Match(NamedTuple):
    """What was found."""

    record: str
    row: int
    kind: str
    name: str
    thing: str
    version: int | None
    in_force: bool
    excerpt: str
    """The words around what was found."""


class Matches(NamedTuple):
    """What was found, the best first."""

    found: list[Match]
    corrected: dict[str, list[str]]
    """Words that stand nowhere, each with the words that were looked for in its place."""


class TextIndex:
    """The index of one workspace.

    Args:
        workspace: Its directory; the index is `search.db` there, and is made if need be.
    """

    def __init__(self, workspace: Path) -> None:
        self.path = workspace / "search.db"

    def update(
        self,
        seen: int,
        checksums: Callable[[], Mapping[Place, int]],
        entries: Callable[[Sequence[Place]], Iterable[Entry]],
    ) -> None:
        """Bring the index up to date; a damaged one is made anew.

        Args:
            seen: A number that changes whenever what is indexed may have changed, read before the rest.
            checksums: Says which rows there are, with their checksums.
            entries: Makes the entries of some of them.
        """
        try:
            self._update(seen, checksums, entries)
        except IntegrityError:
            self.drop()
            self._update(seen, checksums, entries)

    def _update(
        self,
        seen: int,
        checksums: Callable[[], Mapping[Place, int]],
        entries: Callable[[Sequence[Place]], Iterable[Entry]],
    ) -> None:
        with self._open() as connection:
            if _seen(connection) == seen:
                return
            with _transaction(connection):
                if _seen(connection) == seen:
                    return
                stored = {
                    (record, row): (number, checksum)
                    for number, record, row, checksum in connection.execute(
                        "SELECT id, record, row, checksum FROM entries"
                    )
                }
                wanted = checksums()
                outdated = [number for place, (number, check) in stored.items() if wanted.get(place) != check]
                missing = [place for place, check in wanted.items() if stored.get(place, (0, None))[1] != check]
                _remove(connection, outdated)
                for entry in entries(missing) if missing else ():
                    _add(connection, entry)
                if outdated and sqlite3.sqlite_version_info < _OVERWRITES:
                    connection.execute("INSERT INTO texts (texts) VALUES ('optimize')")
                connection.execute("UPDATE state SET seen = ?", (seen,))

    def search(self, text: str, *, limit: int, records: Sequence[str] | None = None) -> Matches:
        """Find entries by words, by the beginnings of words, and by words that are misspelled.

        Args:
            text: Words in any order. Entries with all of them come first, then those with some.
            limit: At most so many.
            records: The tables to look in, as if there were no others; None for all.

        Raises:
            IntegrityError: If the index is damaged.
        """
        words = words_of(text)
        if not words:
            return Matches([], {})
        of = "" if records is None else f" AND record IN ({', '.join(map(_literal, records))})"
        with self._open() as connection:
            meant = {word: _meant(connection, word, of) for word in words}
            corrected = {word: found for word, found in meant.items() if found != [_stem(word)]}
            every = " AND ".join(f"({_any(meant[word])})" for word in words)
            queries = [" OR ".join([f"({every})", *(f'"{phrase}"' for phrase in _other_names(connection, words))])]
            if len(words) > 1:
                queries.append(" OR ".join(_any(meant[word]) for word in words))
            found: dict[str, Match] = {}
            for query in queries:
                if len(found) < limit:
                    for match in _matches(connection, query, limit * _VERSIONS, of):
                        found.setdefault(match.thing, match)
        return Matches(list(found.values())[:limit], corrected)

    def problems(self) -> list[str]:
        """Return what is damaged in it, a sentence each; none where there is no index."""
        if not self.path.exists():
            return []
        try:
            with self._open() as connection:
                found = [text for (text,) in connection.execute("PRAGMA integrity_check") if text != "ok"]
                connection.execute("INSERT INTO texts (texts) VALUES ('integrity-check')")
                return found
        except IntegrityError as error:
            return [error.message]

    def drop(self) -> None:
        """Remove it; the next search makes it anew."""
        for suffix in ("", "-journal"):
            with suppress(FileNotFoundError):
                self.path.with_name(self.path.name + suffix).unlink()

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with translated(self.path, "the search index"):
                self.path.touch(mode=0o600)
                with closing(sqlite3.connect(self.path, isolation_level=None, timeout=_PATIENCE)) as connection:
                    # It is derived: what a failing machine leaves of it is found damaged, and made anew.
                    connection.execute("PRAGMA synchronous = NORMAL")
                    connection.execute("PRAGMA secure_delete = ON")
                    ((version,),) = connection.execute("PRAGMA user_version")
                    if version != _FORMAT:
                        _create(connection)
                    yield connection
        except IntegrityError as error:
            if str(self.path) not in error.message:  # of the workspace's database, which is read meanwhile
                raise
            raise IntegrityError(error.message, hint="tinymlops doctor --repair makes it anew") from error


def words_of(text: str) -> list[str]:
    """Return the words of a text, each once, in lower case and without accents; "_" and a capital within one end a word.

    Example:
        >>> words_of("lateArrivals of Zürich_30d")
        ['late', 'arrivals', 'of', 'zurich', '30d']
    """
    plain = _ACCENTS.sub("", unicodedata.normalize("NFD", _CAMEL.sub(" ", text)))
    return list(dict.fromkeys(_WORD.findall(unicodedata.normalize("NFC", plain.lower()))))


def _create(connection: sqlite3.Connection) -> None:
    with _transaction(connection):
        ((version,),) = connection.execute("PRAGMA user_version")
        if version == _FORMAT:
            return
        names = [
            name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE sql LIKE 'CREATE VIRTUAL%'")
        ]
        names += ["entries", "phrases", "words", "state"]
        for name in names:
            connection.execute(f"DROP TABLE IF EXISTS {name}")
        for statement in _TABLES:
            connection.execute(statement)
        if sqlite3.sqlite_version_info >= _OVERWRITES:
            connection.execute("INSERT INTO texts (texts, rank) VALUES ('secure-delete', 1)")
        connection.execute(f"PRAGMA user_version = {_FORMAT}")


@contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _seen(connection: sqlite3.Connection) -> int:
    ((seen,),) = connection.execute("SELECT seen FROM state")
    return int(seen)


def _remove(connection: sqlite3.Connection, numbers: Sequence[int]) -> None:
    bound = [(number,) for number in numbers]
    sql = "SELECT record, texts.name, prose, rest FROM texts JOIN entries ON id = texts.rowid WHERE texts.rowid = ?"
    rows = [connection.execute(sql, one).fetchone() for one in bound]
    words = {(word, record) for record, *text in rows for word in words_of("\n".join(text))}
    connection.executemany("DELETE FROM texts WHERE rowid = ?", bound)
    connection.executemany("DELETE FROM phrases WHERE entry = ?", bound)
    connection.executemany("DELETE FROM entries WHERE id = ?", bound)
    sql = """DELETE FROM words WHERE word = ?1 AND record = ?2 AND NOT EXISTS (
        SELECT 1 FROM texts JOIN entries ON id = texts.rowid WHERE texts MATCH '"' || ?1 || '"' AND record = ?2)"""
    connection.executemany(sql, words)


def _add(connection: sqlite3.Connection, entry: Entry) -> None:
    record, row = entry.place
    values = (record, row, entry.checksum, entry.kind, entry.name, entry.thing, entry.version)
    sql = """INSERT INTO entries (record, row, checksum, kind, name, thing, version, in_force)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
    number = connection.execute(sql, (*values, entry.in_force)).lastrowid
    texts = [_apart(text) for text in (entry.title, entry.prose, entry.rest)]
    connection.execute("INSERT INTO texts (rowid, name, prose, rest) VALUES (?, ?, ?, ?)", (number, *texts))
    words = [(word, record) for word in words_of("\n".join(texts))]
    connection.executemany("INSERT OR IGNORE INTO words VALUES (?, ?)", words)
    phrases = {" ".join(words_of(phrase)) for phrase in entry.phrases} - {""}
    connection.executemany("INSERT INTO phrases VALUES (?, ?)", [(phrase, number) for phrase in sorted(phrases)])


def _apart(text: str) -> str:
    """Write names such as `lateArrivals` in words too."""
    return _CAMEL.sub(" ", text)


def _stem(word: str) -> str:
    """Return the beginning by which other forms of an English word are found too.

    Example:
        >>> [_stem(word) for word in ("arrivals", "delayed", "cities", "is", "class")]
        ['arrival', 'delay', 'cit', 'is', 'class']
    """
    for ending in ("ies", "ing", "ed", "es", "s"):
        if word.endswith(ending) and not word.endswith("ss") and len(word) - len(ending) >= 3:
            return word.removesuffix(ending)
    return word


def _any(beginnings: Sequence[str]) -> str:
    return " OR ".join(f'"{beginning}" *' for beginning in beginnings)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _meant(connection: sqlite3.Connection, word: str, of: str) -> list[str]:
    """Return the beginnings of words to look for: its own stem, or words that are like one that stands nowhere."""
    stem = _stem(word)
    sql = f"SELECT 1 FROM words WHERE word >= ? AND word < ?{of} LIMIT 1"
    if connection.execute(sql, (stem, stem + "\U0010ffff")).fetchone():
        return [stem]
    within, edits = [], 2 if len(word) > 7 else 1
    if len(word) >= 3:
        rows = connection.execute(f"SELECT DISTINCT word FROM words WHERE instr(word, ?){of}", (stem,))
        within = [term for (term,) in rows]
    if within or len(word) < 4:
        return within[:20] or [stem]
    # A word with so many edits has one of so many parts and one more as it is.
    size = -(-len(word) // (edits + 2))
    parts = [word[start : start + size] for start in range(0, len(word), size)]
    has_one = " OR ".join(["instr(word, ?)"] * len(parts))
    sql = f"SELECT DISTINCT word FROM words WHERE length(word) BETWEEN ? AND ? AND ({has_one}){of}"
    rows = connection.execute(sql, (len(word) - edits, len(word) + edits, *parts))
    near = sorted((distance(word, term), term) for (term,) in rows)
    least = [term for far, term in near if far <= min(edits, near[0][0])]
    return least[:5] or [stem]


def _other_names(connection: sqlite3.Connection, words: Sequence[str]) -> list[str]:
    """Return the other names of the terms that a text names."""
    spans = range(1, min(_LONGEST_PHRASE, len(words)) + 1)
    phrases = {" ".join(words[at : at + span]) for span in spans for at in range(len(words) - span + 1)}
    phrases |= {phrase.removesuffix("s") for phrase in phrases}
    marks = ", ".join("?" * len(phrases))
    sql = f"""SELECT DISTINCT phrase FROM phrases
        WHERE entry IN (SELECT entry FROM phrases WHERE phrase IN ({marks})) LIMIT 20"""
    return [phrase for (phrase,) in connection.execute(sql, sorted(phrases))]


def _matches(connection: sqlite3.Connection, query: str, limit: int, of: str) -> list[Match]:
    weights = ", ".join(map(str, _WEIGHTS))
    among = f" AND +rowid IN (SELECT id FROM entries WHERE true{of})" if of else ""
    sql = f"""SELECT rowid, snippet(texts, -1, '', '', ' ... ', 16) FROM texts
        WHERE texts MATCH ? AND rank MATCH 'bm25({weights})'{among} ORDER BY rank LIMIT ?"""
    excerpts = dict(connection.execute(sql, (query, limit)).fetchall())
    marks = ", ".join("?" * len(excerpts))
    columns = "id, record, row, kind, name, thing, version, in_force"
    rows = connection.execute(f"SELECT {columns} FROM entries WHERE id IN ({marks})", list(excerpts)).fetchall()
    by_number = {
        number: Match(record, row, kind, name, thing, version, bool(in_force), excerpts[number])
        for number, record, row, kind, name, thing, version, in_force in rows
    }
    best = [by_number[number] for number in excerpts]
    return sorted(best, key=lambda match: not match.in_force)
