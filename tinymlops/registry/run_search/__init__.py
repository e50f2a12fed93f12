"""Search of experiment runs: a small language, its conditions as data, and the SQL that finds the runs.

The text that users write is read by `parse` and `parse_order`. What they return is plain data (`conditions`), so that
another language, such as the filters of MLflow's client, is translated to the same conditions and compiled alike:

    condition = And((Compare(Field("metrics", "auc"), ">", 0.7), Like(Field("tags", "team"), "ops%", ignore_case=True)))
    order = [Order(Field("metrics", "auc"), descending=True), Order(Field("run", "started_at"))]
    sql, bound = compile_search(condition, order, limit=100, offset=200)

`find_runs` does it all: it compares what the search rests on with its checksums, and returns the ids in order. It takes
conditions as data, or the text of a user.
"""

from __future__ import annotations

from tinymlops.registry.run_search.conditions import (
    And,
    Compare,
    Condition,
    Field,
    In,
    IsNan,
    IsNull,
    Like,
    Not,
    Or,
    Order,
    fields_of,
    metric_names,
)
from tinymlops.registry.run_search.finding import find_runs
from tinymlops.registry.run_search.parser import parse, parse_field, parse_order
from tinymlops.registry.run_search.sql import compile_search

__all__ = [
    "And",
    "Compare",
    "Condition",
    "Field",
    "In",
    "IsNan",
    "IsNull",
    "Like",
    "Not",
    "Or",
    "Order",
    "compile_search",
    "fields_of",
    "find_runs",
    "metric_names",
    "parse",
    "parse_field",
    "parse_order",
]
