"""What the code of a source says without being run: the files that it names, its columns, and whether it keeps a time."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from posixpath import normpath
from typing import TYPE_CHECKING

from tinymlops.errors import TinyMLOpsError
from tinymlops.stores.select_facts import facts_of

if TYPE_CHECKING:
    from tinymlops.features.context import Context
    from tinymlops.features.definitions.specs import OnDemandSpec, SourceSpec
    from tinymlops.stores.select_facts import SelectFacts

__all__ = ["code_of", "facts", "files_of", "names", "puts_together"]

_IS_FILE = re.compile(r"\.(parquet|csv|tsv|json|jsonl|ndjson|arrow|feather|ipc)(\.(gz|zst))?$", re.IGNORECASE)
_PUTS_TOGETHER = re.compile(r"\.(group_by|groupby|over|shift|rolling\w*|cum_\w+|mean|sum|std|var|min|max)\(")


def facts(source: SourceSpec) -> SelectFacts | None:
    """Return what a source's SELECT says; None for one without, or that cannot be read."""
    if source.sql is None:
        return None
    try:
        return facts_of(source.sql)
    except TinyMLOpsError:  # whoever runs it is told
        return None


def code_of(context: Context, spec: SourceSpec | OnDemandSpec) -> str:
    """Return the text of a definition's Python function; empty where there is none to be read."""
    if spec.code is None:
        return ""
    try:
        return textwrap.dedent(inspect.getsource(context.function(spec)))
    except (TinyMLOpsError, OSError, TypeError):
        return ""


def files_of(context: Context, source: SourceSpec) -> set[str]:
    """Return the files that a source names: in its SQL, or as text in its function."""
    read = facts(source)
    if read is not None:
        return set(map(normpath, read.files))
    try:
        tree = ast.parse(code_of(context, source))
    except SyntaxError:
        return set()
    texts = [node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return {normpath(text) for text in texts if _IS_FILE.search(text)}


def names(context: Context, source: SourceSpec, column: str) -> bool:
    """Say whether the SQL or the function of a source names a column anywhere."""
    read = facts(source)
    if read is not None:
        return column in read.columns
    return re.search(rf"\b{re.escape(column)}\b", code_of(context, source)) is not None


def puts_together(context: Context, source: SourceSpec) -> bool:
    """Say whether the code of a source makes one row of several, as far as its text tells."""
    read = facts(source)
    if read is not None:
        return read.aggregates
    return _PUTS_TOGETHER.search(code_of(context, source)) is not None
