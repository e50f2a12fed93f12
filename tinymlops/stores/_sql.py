"""What a user's SQL may be: one SELECT, whose relative file names mean the project's directory.

DuckDB checks a relative path against the process's working directory and then may find the file by
`file_search_path` somewhere else, so its search path and its access rules cannot be used together. Instead the
names are made absolute in the text, where DuckDB's own parser says they stand; DuckDB then checks where each file
really is, after symbolic links.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from tinymlops.errors import DefinitionError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    import duckdb

__all__ = ["located", "named_tables", "one_select"]

_READS_FILES = re.compile(r"(read|parquet|scan)_\w+|\w+_(scan|csv)|glob|sniff_csv", re.IGNORECASE)
_IS_FILE = re.compile(r"/|\.(parquet|csv|tsv|txt|json|jsonl|ndjson)(\.\w+)?$", re.IGNORECASE)
_IS_ABSOLUTE = re.compile(r"/|~|\w+:")
_QUOTED = re.compile(rb"""'(?:[^']|'')*'|"(?:[^"]|"")*"|(\$\w*\$).*?\1""", re.DOTALL)
_WRITES = re.compile(r"(INSERT|UPDATE|DELETE|MERGE)\w*_NODE")


def one_select(connection: duckdb.DuckDBPyConnection, sql: str) -> str:
    """Return the text of the single SELECT.

    Raises:
        DefinitionError: If it is another statement, or not exactly one.
    """
    import duckdb

    statements = connection.extract_statements(sql)
    if len(statements) != 1:
        raise DefinitionError(f"the SQL has {len(statements)} statements", hint="write exactly one SELECT")
    kind = statements[0].type
    if kind != duckdb.StatementType.SELECT:
        name = "PIVOT" if kind == duckdb.StatementType.MULTI else kind.name
        raise DefinitionError(f"the SQL is no SELECT but {name}", hint="write exactly one SELECT")
    # A lone semicolon would end a subquery early.
    return str(statements[0].query).rstrip().removesuffix(";")


def located(connection: duckdb.DuckDBPyConnection, sql: str, *, root: Path, tables: Collection[str]) -> str:
    """Return the SELECT with its relative file names under `root`.

    Args:
        connection: Any connection, for its parser.
        sql: One SELECT.
        root: Absolute.
        tables: Names that are tables, whatever they look like.

    Raises:
        DefinitionError: If a part of it writes.
    """
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    source = sql.encode()
    # From the last to the first, so that the places before stay what the parser said.
    found = {place: name for place, name in _file_names(json.loads(text)) if name not in tables}
    for place in sorted(found, reverse=True):
        name = found[place]
        literal = _QUOTED.match(source, place)
        if literal is None or _IS_ABSOLUTE.match(name):
            continue
        quote = source[place : place + 1] if source[place : place + 1] == b'"' else b"'"
        absolute = f"{root}/{name}".encode().replace(quote, quote * 2)
        source = source[:place] + quote + absolute + quote + source[literal.end() :]
    return source.decode()


def named_tables(connection: duckdb.DuckDBPyConnection, sql: str) -> set[str]:
    """Return the names that stand where a table may: of tables, of files, and of parts that the SELECT itself names."""
    ((text,),) = connection.execute("SELECT json_serialize_sql(?)", [sql]).fetchall()
    return set(_table_names(json.loads(text)))


def _table_names(tree: Any) -> Iterator[str]:  # parsed JSON
    if isinstance(tree, dict):
        if tree.get("type") == "BASE_TABLE":
            yield tree["table_name"]
        tree = list(tree.values())
    if isinstance(tree, list):
        for item in tree:
            yield from _table_names(item)


def _file_names(tree: Any) -> Iterator[tuple[int, str]]:  # parsed JSON
    """Every file name in a parsed statement, with its place in bytes."""
    if isinstance(tree, list):
        for item in tree:
            yield from _file_names(item)
    if not isinstance(tree, dict):
        return
    if _WRITES.fullmatch(str(tree.get("type"))):
        raise DefinitionError("a part of the SQL writes", hint="write exactly one SELECT")
    if tree.get("type") == "BASE_TABLE" and _IS_FILE.search(tree["table_name"]):
        yield tree["query_location"], tree["table_name"]
    if tree.get("type") == "TABLE_FUNCTION" and _READS_FILES.fullmatch(tree["function"]["function_name"]):
        yield from _texts(_arguments(tree["function"])[0])
    for item in tree.values():
        yield from _file_names(item)


def _arguments(function: dict[str, Any]) -> list[Any]:
    # DuckDB 2 has `arguments`, each with a name; DuckDB 1 has `children`.
    if "arguments" in function:
        return [argument["expression"] for argument in function["arguments"] if not argument["name"]]
    return list(function.get("children", []))


def _texts(expression: dict[str, Any]) -> Iterator[tuple[int, str]]:
    """The text constants of an argument that is one, or a list of them."""
    if expression["class"] == "CONSTANT":
        value = expression.get("literal", {}).get("text") or expression.get("value", {}).get("value")
        if isinstance(value, str):
            yield expression["query_location"], value
    elif expression.get("function_name") in ("list_value", "list_pack") or "ARRAY" in str(expression.get("type")):
        for item in _arguments(expression):
            if item["class"] == "CONSTANT":
                yield from _texts(item)
