"""What one SELECT reads and how: its files, its columns, and the parts whose answer depends on the clock, on chance or on
the order of rows. Nothing is run.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from tinymlops.stores._sql import fold, parse, syntax_tree

__all__ = ["SelectFacts", "facts_of", "words_of"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_CLOCKS = _words(
    """now today current_date current_time current_timestamp current_localtime current_localtimestamp get_current_time
    get_current_timestamp localtime localtimestamp transaction_timestamp ago"""
)
_CHANCE = _words("random uuid gen_random_uuid uuidv4 uuidv7 setseed")
_OF_THE_FIRST = _words(
    """first last any_value arbitrary list array_agg string_agg group_concat listagg json_group_array
    json_group_object json_group_structure"""
)
_PLACES = _words(
    """WINDOW_ROW_NUMBER WINDOW_NTILE WINDOW_LAG WINDOW_LEAD WINDOW_FIRST_VALUE WINDOW_LAST_VALUE
    WINDOW_NTH_VALUE"""
)
_AGGREGATES = _OF_THE_FIRST | _words(
    """avg mean sum fsum kahan_sum sumkahan favg count count_star count_if countif min max min_by max_by arg_min arg_max
    argmin argmax median mode quantile quantile_cont quantile_disc stddev stddev_samp stddev_pop variance var_samp
    var_pop bool_and bool_or product histogram approx_count_distinct approx_quantile"""
)
_AHEAD = ("UNBOUNDED_FOLLOWING", "EXPR_FOLLOWING_ROWS", "EXPR_FOLLOWING_RANGE", "EXPR_FOLLOWING_GROUPS")


class SelectFacts(NamedTuple):
    """One SELECT, as its text tells; each part is named with the line it stands in."""

    files: frozenset[str]
    columns: frozenset[str]
    """Every column that is named anywhere, without the table before it."""
    has_star: bool
    has_whole_row: bool
    """Whether a table's name may stand for a row of it, as in `to_json(t)` and `t.to_json()`."""
    outputs: dict[str, frozenset[str]]
    """Name that an expression is given anywhere to the columns that it reads, and the functions, as `name()`."""
    aggregates: bool
    """Whether rows are put together: by a GROUP BY, or a function of many rows that is no window."""
    looks_ahead: tuple[str, ...]
    """Windows that take in rows after their own, or have no order at all."""
    clocks: tuple[str, ...]
    chance: tuple[str, ...]
    unordered: tuple[str, ...]
    """What takes some of the rows, or their order, where no ORDER BY says which."""

    def traced(self, name: str) -> frozenset[str]:
        """Return what an output is computed from: columns, and functions as `name()`, through all the names between."""
        found: set[str] = set()
        todo = [name]
        while todo:
            one = todo.pop()
            if one not in found:
                found.add(one)
                todo += self.outputs.get(one, ())
        return frozenset(found)


@lru_cache(maxsize=4096)
def facts_of(sql: str) -> SelectFacts:
    """Read what a SELECT says.

    Args:
        sql: One SELECT.

    Raises:
        DefinitionError: If it is no SELECT, or is wrong.
        AccessError: If it reads by a function that is not allowed.

    Example:
        >>> facts = facts_of("select k, max(t) as at, random() as r from 'a.parquet' group by k limit 3")
        >>> sorted(facts.files), facts.chance, facts.unordered
        (['a.parquet'], ('random() in line 1',), ('LIMIT without ORDER BY',))
        >>> sorted(facts.traced("at"))
        ['at', 'max()', 't']
    """
    nodes = [node for node in _walk(syntax_tree(sql)) if isinstance(node, dict)]
    functions = [node for node in nodes if node.get("class") == "FUNCTION"]
    windows = [node for node in nodes if node.get("class") == "WINDOW"]
    return SelectFacts(
        files=frozenset(parse(sql).files.values()),
        columns=frozenset(name for node in nodes for name in _column(node)),
        has_star=any(node.get("class") == "STAR" for node in nodes),
        has_whole_row=_has_whole_row(nodes),
        outputs=_outputs(nodes),
        aggregates=any(map(_groups, nodes)) or any(_name(node) in _AGGREGATES for node in functions),
        looks_ahead=tuple(f"{_name(node)}() over{_line(sql, node)}" for node in windows if _sees_later(node)),
        clocks=tuple(f"{name}(){_line(sql, node)}" for node in nodes for name in _clock(node)),
        chance=(
            *(f"{_name(node)}(){_line(sql, node)}" for node in functions if _name(node) in _CHANCE),
            *("a sample of the rows" for node in nodes if node.get("sample")),
        ),
        unordered=(
            *(f"{_name(node)}() without ORDER BY{_line(sql, node)}" for node in functions if _takes_any(node)),
            *(f"{_name(node)}() over no order{_line(sql, node)}" for node in windows if _has_no_order(node)),
            *(part for node in nodes for part in _cut_off(node)),
        ),
    )


@lru_cache(maxsize=64)
def words_of(sql: str) -> frozenset[str] | None:
    """Return every name in a SELECT, folded: a column whose name is not among them is not read.

    All its texts count, whatever they are for, so that no part of SQL that names a column can be forgotten.

    Args:
        sql: One SELECT.

    Returns:
        The names; None where it reads columns that it does not name, as by a star.

    Raises:
        DefinitionError: If it is no SELECT, or is wrong.

    Example:
        >>> sorted(words_of("select k from t") & {"k", "t", "other"}), words_of("select t from t")
        (['k', 't'], None)
    """
    parts = list(_walk(syntax_tree(sql)))
    nodes = [part for part in parts if isinstance(part, dict)]
    if any(map(_reads_unnamed, nodes)) or _has_whole_row(nodes):
        return None
    return frozenset(fold(part) for part in parts if isinstance(part, str))


def _reads_unnamed(node: dict[str, Any]) -> bool:
    return (
        node.get("class") in ("STAR", "POSITIONAL_REFERENCE")
        or node.get("type") in ("PIVOT", "SHOW_REF")
        or node.get("ref_type") == "NATURAL"
        or bool(node.get("column_name_alias"))
    )


def _has_whole_row(nodes: list[dict[str, Any]]) -> bool:
    rows = {fold(str(node.get(name))) for node in nodes if "table_name" in node for name in ("table_name", "alias")}
    return any(fold(name) in rows for node in nodes for name in _column(node))


def _walk(part: Any) -> Iterator[Any]:
    """Yield all parts of a tree, each before what is in it; a tree may be deeper than Python's calls."""
    todo = [part]
    while todo:
        one = todo.pop()
        yield one
        todo += reversed(one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())


def _name(node: dict[str, Any]) -> str:
    return str(node.get("function_name", "")).lower()


def _line(sql: str, node: dict[str, Any]) -> str:
    place = node.get("query_location")
    if not isinstance(place, int):
        return ""
    return f" in line {sql.encode()[:place].count(10) + 1}"  # a newline


def _column(node: dict[str, Any]) -> Iterator[str]:
    if node.get("class") == "COLUMN_REF":
        yield node["column_names"][-1]
    if node.get("class") == "FUNCTION" and node.get("schema"):  # x.f() is f(x)
        yield node["schema"]
    if isinstance(node.get("using_columns"), list):
        yield from node["using_columns"]


def _outputs(nodes: list[dict[str, Any]]) -> dict[str, frozenset[str]]:
    found: dict[str, frozenset[str]] = {}
    for node in nodes:
        for item in node.get("select_list", ()):
            name = item.get("alias") or (item["column_names"][-1] if item.get("class") == "COLUMN_REF" else "")
            inner = [part for part in _walk(item) if isinstance(part, dict)]
            reads = {column for part in inner for column in _column(part)}
            reads |= {f"{_name(part)}()" for part in inner if part.get("class") in ("FUNCTION", "WINDOW")}
            if name:
                found[name] = found.get(name, frozenset()) | reads
    return found


def _groups(node: dict[str, Any]) -> bool:
    return bool(node.get("group_expressions")) or node.get("aggregate_handling") == "FORCE_AGGREGATES"


def _sees_later(window: dict[str, Any]) -> bool:
    if window.get("type") == "WINDOW_LEAD" or window.get("end") in _AHEAD:
        return True
    return window.get("type") == "WINDOW_AGGREGATE" and not window.get("orders")


def _clock(node: dict[str, Any]) -> Iterator[str]:
    names = [_name(node)] if node.get("class") == "FUNCTION" else list(_column(node))
    yield from (name for name in names if name.lower() in _CLOCKS)
    of_a_column = fold(node.get("schema") or "main") != "main"  # x.age() is age(x)
    if names == ["age"] and of_a_column + len(node.get("arguments") or node.get("children") or ()) == 1:
        yield "age"  # of one moment: until today


def _takes_any(function: dict[str, Any]) -> bool:
    ordered = (function.get("order_bys") or {}).get("orders")
    return _name(function) in _OF_THE_FIRST and not ordered


def _has_no_order(window: dict[str, Any]) -> bool:
    of_places = window.get("type") in _PLACES or _name(window) in _OF_THE_FIRST
    frame = f"{window.get('start')} {window.get('end')}"
    running = window.get("type") == "WINDOW_AGGREGATE" and "ROWS" in frame
    return not window.get("orders") and (of_places or running)


def _cut_off(node: dict[str, Any]) -> Iterator[str]:
    modifiers = node.get("modifiers")
    kinds = [one["type"] for one in modifiers] if isinstance(modifiers, list) else []
    if "ORDER_MODIFIER" in kinds:
        return
    if any(kind.startswith("LIMIT") for kind in kinds):
        yield "LIMIT without ORDER BY"
    if any(one.get("distinct_on_targets") for one in modifiers or ()):
        yield "DISTINCT ON without ORDER BY"
