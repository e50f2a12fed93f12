"""Check a user's SQL: one SELECT of known parts, whose relative file names mean the project's directory.

DuckDB parses the text and returns the tree as JSON. Each node of it, at any depth, must be one that is known to only
read (`_sql_words`). So a part that writes is refused in a CTE as at the top, and so is one that a later DuckDB adds.

DuckDB checks a relative path against the process's working directory and then may find the file by
`file_search_path` somewhere else, so its search path and its access rules cannot be used together. Instead the
names are made absolute in the text, at the positions that the parser gives. The text that runs is parsed and checked
again, and may open only the files that it names.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from functools import cache, lru_cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from tinymlops.errors import AccessError, DefinitionError, near
from tinymlops.stores._sql_words import EXPRESSIONS, FUNCTIONS, NODES, PARTS, READS_FILES, TABLE_FUNCTIONS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator
    from pathlib import Path

    import duckdb

__all__ = ["IS_FILE", "SCHEMA", "Select", "fold", "located", "parse", "same_name", "syntax_tree"]

SCHEMA = "tinymlops"
"""The one schema besides the default that a table may be in."""

_LONGEST = 1_000_000
IS_FILE = re.compile(r"\.(parquet|csv|tsv|txt|json|jsonl|ndjson)(\.(gz|zst))?$", re.IGNORECASE)
"""Matches the name of a file that is a table."""
_IS_ABSOLUTE = re.compile(r"/|~|\w+:")
_QUOTED = re.compile(rb"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$\w*\$).*?\1""", re.DOTALL)
_BARE_AT = re.compile(rb"(?<![\w.])at(?!\w|\s+time\s+zone)", re.IGNORECASE)
_ONE_SELECT = "write exactly one SELECT; SQL here reads and never writes"


@dataclass(frozen=True)
class Select:
    """One SELECT that holds nothing but known parts."""

    text: str
    tables: frozenset[str]
    """The names of the tables that it reads, with `tinymlops.` for those in that schema; without its CTEs."""
    files: dict[int, str]
    """The position in bytes and the name of each file that it reads."""


@dataclass
class _Found:
    tables: set[str] = field(default_factory=set)
    files: dict[int, str] = field(default_factory=dict)


def fold(name: str) -> str:
    """Return a name as DuckDB compares it: ASCII letters in lower case."""
    return name.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


def same_name(names: Iterable[str]) -> tuple[str, str] | None:
    """Return the first two names that are the same to DuckDB."""
    seen: dict[str, str] = {}
    for name in names:
        if (other := seen.setdefault(fold(name), name)) != name:
            return other, name
    return None


def parse(sql: str, tables: Collection[str] = ()) -> Select:
    """Parse a text that must be one SELECT.

    Args:
        sql: The text.
        tables: Names that are tables, even if they look like files.

    Raises:
        DefinitionError: If it is another statement, not exactly one, or holds a part that is not known to read only.
        AccessError: If it uses a function that reaches the machine, or a file name that is not a literal.
    """
    _require_text(sql)
    return _parsed(sql, frozenset(map(fold, tables)))


@lru_cache(maxsize=16)
def _parsed(sql: str, known: frozenset[str]) -> Select:
    """Parse a text, or remember: a transformation's is parsed once for every run of many."""
    connection, alone = _parser(os.getpid())
    with alone:
        return _parse(connection, sql, known)


def syntax_tree(sql: str) -> list[Any]:
    """Return the syntax tree of a text that must be one SELECT, as DuckDB writes it in JSON.

    Raises:
        DefinitionError: If it is wrong, another statement, or not exactly one.
    """
    import duckdb

    _require_text(sql)
    connection, alone = _parser(os.getpid())
    try:
        with alone:
            return _tree(connection, _one_select(connection, sql))
    except duckdb.Error as error:
        raise DefinitionError(f"the SQL is wrong: {error}", hint="correct the SELECT") from error


@cache
def _parser(process: int) -> tuple[duckdb.DuckDBPyConnection, Lock]:  # noqa: ARG001 - none crosses a fork
    """Return a connection that only parses, which takes fifty times as long to make as to use, and its lock."""
    import duckdb

    return duckdb.connect(":memory:", config={"threads": 1, "autoload_known_extensions": False}), Lock()


def _parse(connection: duckdb.DuckDBPyConnection, sql: str, known: Collection[str]) -> Select:
    text = _one_select(connection, sql)
    found = _Found()
    pending: list[tuple[Any, frozenset[str]]] = [(_tree(connection, text), frozenset())]
    while pending:
        part, ctes = pending.pop()
        if isinstance(part, list):
            pending += [(item, ctes) for item in part]
        elif isinstance(part, dict):
            _check(part)
            _note(connection, part, ctes, known, found)
            pending += _inside(part, ctes)
    return Select(text, frozenset(found.tables), found.files)


def located(select: Select, root: Path) -> str:
    """Return the text of a SELECT with its relative file names below a directory.

    Args:
        select: The SELECT.
        root: Absolute.
    """
    source = select.text.encode()
    # From the last to the first, so that the positions before stay right.
    for place in sorted(select.files, reverse=True):
        name = select.files[place]
        literal = _QUOTED.match(source, place)
        if literal is None or _IS_ABSOLUTE.match(name):
            continue
        quote = source[place : place + 1] if source[place : place + 1] == b'"' else b"'"
        absolute = f"{root}/{name}".encode().replace(quote, quote * 2)
        source = source[:place] + quote + absolute + quote + source[literal.end() :]
    return source.decode()


def _require_text(sql: object) -> None:
    if not isinstance(sql, str):
        raise DefinitionError(f"the SQL is a {type(sql).__name__}, not text", hint="give the SELECT as a str")
    if "\0" in sql or len(sql) > _LONGEST or any("\ud800" <= character <= "\udfff" for character in sql):
        raise DefinitionError(
            f"the SQL holds a NUL, half a character, or more than {_LONGEST:,} characters",
            hint="write one SELECT as plain text; put long lists of values into a table",
        )


def _one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    import duckdb

    try:
        statements = connection.extract_statements(sql)
    except duckdb.ParserException as error:
        if _BARE_AT.search(_QUOTED.sub(b"''", sql.encode())) is None:
            raise
        # Nearly every table of a workspace has such a column, and the error is at the word after it.
        message = str(error).removeprefix("Parser Error: ")
        hint = 'AT is a word of SQL: write the column as "at"'
        raise DefinitionError(f"the SQL is wrong: {message}", hint=hint) from error
    if len(statements) != 1:
        raise DefinitionError(f"the SQL has {len(statements)} statements", hint="write exactly one SELECT")
    try:
        kind = statements[0].type
    except ValueError as error:  # its Python does not know the kind
        raise DefinitionError("the SQL is not a SELECT", hint=_ONE_SELECT) from error
    if kind != duckdb.StatementType.SELECT:
        name = "PIVOT without IN" if kind == duckdb.StatementType.MULTI else kind.name
        raise DefinitionError(f"the SQL is not a SELECT but {name}", hint=_ONE_SELECT)
    # A lone semicolon would end a subquery early.
    return str(statements[0].query).rstrip().removesuffix(";")


def _tree(connection: duckdb.DuckDBPyConnection, text: str) -> list[Any]:
    ((serialized,),) = connection.execute("SELECT json_serialize_sql(?)", [text]).fetchall()
    try:
        tree = json.loads(serialized)
    except RecursionError as error:
        raise DefinitionError("the SQL is nested too deeply", hint="name its parts in a WITH") from error
    if tree.pop("error"):
        said = str(tree.get("error_message"))
        wrong = "is wrong" if tree.get("error_type") == "parser" else "cannot be checked"
        raise DefinitionError(f"the SQL {wrong}: {said}", hint=_ONE_SELECT)
    statements: list[Any] = tree.pop("statements")
    if len(statements) != 1 or tree:
        raise DefinitionError(f"the SQL has {len(statements)} statements", hint="write exactly one SELECT")
    return statements


def _check(part: dict[str, Any]) -> None:
    """Refuse an unknown node; an object that is not a node may have known fields only."""
    if isinstance(part.get("class"), str):
        unknown = {part["class"]} - EXPRESSIONS
    elif isinstance(part.get("type"), str):
        unknown = {part["type"]} - NODES
    else:
        unknown = part.keys() - PARTS
    if unknown:
        raise DefinitionError(
            f"a part of the SQL is not known to read only: {', '.join(sorted(unknown))}", hint=_ONE_SELECT
        )


def _inside(part: dict[str, Any], ctes: frozenset[str]) -> Iterator[tuple[Any, frozenset[str]]]:
    """Yield what is in a node, each with the names of the CTEs that it sees."""
    if part.get("type") == "RECURSIVE_CTE_NODE":
        ctes |= {fold(part["cte_name"])}
    for entry in part.get("cte_map", {}).get("map", ()):
        yield entry, ctes  # a CTE sees those before it
        ctes |= {fold(entry["key"])}
    for name, value in part.items():
        if name != "cte_map":
            yield value, ctes


def _note(
    connection: duckdb.DuckDBPyConnection,
    part: dict[str, Any],
    ctes: frozenset[str],
    tables: Collection[str],
    found: _Found,
) -> None:
    """Record the table or the files that a node reads, and check the function that it calls."""
    kind = part.get("type")
    if kind == "BASE_TABLE":
        _note_table(part, ctes, tables, found)
    elif kind == "SHOW_REF" and (part["query"] is None or part["show_type"] not in ("DESCRIBE", "SUMMARY")):
        raise DefinitionError(
            "SQL here may not ask this: SHOW", hint="ask `show tables` by itself, `describe NAME` or `summarize NAME`"
        )
    elif kind == "TABLE_FUNCTION":
        function = part["function"]
        name = _called(connection, function, TABLE_FUNCTIONS)
        if name in READS_FILES:
            found.files.update(_file_names(function, name))
        function["function_name"] = ""  # else it would be taken for one of values
    elif part.get("function_name"):
        _called(connection, part, FUNCTIONS)


def _note_table(part: dict[str, Any], ctes: frozenset[str], tables: Collection[str], found: _Found) -> None:
    name, schema = part["table_name"], part["schema_name"]
    path = part.get("qualified_name", {}).get("path", ())
    if part["catalog_name"] or len(path) > 2 or fold(schema) not in ("", "main", SCHEMA):
        asked = ".".join(filter(None, (part["catalog_name"], schema, name)))
        raise DefinitionError(
            f"the SQL names {asked}, which does not exist", hint=f"the only schema of its own is {SCHEMA}"
        )
    if fold(schema) == SCHEMA:
        found.tables.add(f"{SCHEMA}.{name}")
    elif schema or fold(name) not in ctes:
        is_file = not schema and fold(name) not in tables and IS_FILE.search(name)
        if is_file:
            found.files[part["query_location"]] = name
        else:
            found.tables.add(name)


def _called(connection: duckdb.DuckDBPyConnection, function: dict[str, Any], allowed: Collection[str]) -> str:
    """Return the name of the function that a node calls, in lower case."""
    name: str = function["function_name"].lower()
    if name in allowed:
        return name
    exists = "SELECT count(*) > 0 FROM duckdb_functions() WHERE lower(function_name) = ?"
    if connection.execute(exists, [name]).fetchall() == [(True,)]:
        raise AccessError(
            f"SQL may not do this: {name}() is not one of the functions that only compute or read named files",
            hint="leave it out, or compute it in a source's Python function",
        )
    raise DefinitionError(f"the SQL is wrong: a function {name}() does not exist", hint=near(name, allowed))


def _file_names(function: dict[str, Any], name: str) -> Iterator[tuple[int, str]]:
    """The names in the first argument of a function that reads files: a text, or a list of texts."""
    arguments = _arguments(function)
    listed = arguments[0] if arguments else {}
    is_list = listed.get("function_name") in ("list_value", "list_pack") or "ARRAY" in str(listed.get("type"))
    for item in _arguments(listed) if is_list else [listed]:
        literal, value = item.get("literal", {}), item.get("value", {})
        text = literal.get("text") if literal.get("kind") == "STRING" else value.get("value")
        if not isinstance(text, str):
            raise AccessError(
                f"SQL may not do this: {name}() of a computed file name",
                hint="write the file's name as a literal, such as 'data/orders.csv'",
            )
        yield item["query_location"], text


def _arguments(function: dict[str, Any]) -> list[Any]:
    # DuckDB 2 has `arguments`, each with a name; DuckDB 1 has `children`.
    if "arguments" in function:
        return [argument["expression"] for argument in function["arguments"] if not argument["name"]]
    return list(function.get("children", []))
