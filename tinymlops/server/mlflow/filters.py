"""MLflow's language of filters and orders: comparisons joined by AND, read into plain data.

`metrics.auc > 0.7 AND params.depth = '3' AND tags."mlflow.parentRunId" = 'f3...' AND attributes.status IN ('FINISHED')`
"""

from __future__ import annotations

import re
from typing import NoReturn

from tinymlops.errors import DataError
from tinymlops.registry.comparisons import Comparison, Field, Order

__all__ = ["read_filter", "read_order"]

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>[+-]?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)(?![\w.]))
    | (?P<name>(?:\w|[-/])+(?:\.(?:"(?:[^"])*"|`[^`]*`|(?:\w|[-/.])+))?|`[^`]*`(?:\.(?:"[^"]*"|`[^`]*`|(?:\w|[-/.])+))?)
    | (?P<text>'(?:[^']|'')*'|"[^"]*")
    | (?P<operator>!=|<=|>=|<>|==|=|<|>)
    | (?P<mark>[(),])
    )""",
    re.VERBOSE | re.IGNORECASE,
)
_KINDS = {
    "metric": "metric",
    "metrics": "metric",
    "param": "param",
    "params": "param",
    "parameter": "param",
    "parameters": "param",
    "tag": "tag",
    "tags": "tag",
    "attribute": "attribute",
    "attributes": "attribute",
    "attr": "attribute",
    "run": "attribute",
    "dataset": "dataset",
    "datasets": "dataset",
}
_WORDS = ("LIKE", "ILIKE", "IN", "NOT", "IS", "AND", "OR", "NULL")
_LONGEST = 10_000
_MOST = 100
"""Comparisons of one filter."""
_ORDER = re.compile(r"(?P<field>.+?)(?:\s+(?P<direction>ASC|DESC))?", re.IGNORECASE | re.DOTALL)


def read_filter(text: str | None) -> list[Comparison]:
    """Read a filter.

    Args:
        text: As the client wrote it; nothing finds all.

    Raises:
        DataError: If it cannot be read.

    Example:
        >>> read_filter("metrics.auc > 0.7 and name ILIKE 'a%'")[0]
        Comparison(field=Field(kind='metric', name='auc'), operator='>', value=0.7)
    """
    if not text or not text.strip():
        return []
    if len(text) > _LONGEST:
        raise DataError(f"the filter has more than {_LONGEST} characters", hint="ask several times")
    return _Reader(text).comparisons()


def read_order(texts: list[str]) -> list[Order]:
    """Read what to order by, such as "metrics.auc DESC".

    Raises:
        DataError: If one cannot be read.
    """
    return [_order(text) for text in texts]


def _order(text: str) -> Order:
    found = _ORDER.fullmatch(text.strip())
    if found is None or len(text) > _LONGEST:
        raise DataError(f"order_by {text[:100]!r} cannot be read", hint="write a field and ASC or DESC")
    name = found["field"].strip()
    if re.search(r"\s", name) and not name.endswith(("`", '"')):
        raise DataError(
            f"order_by {text[:100]!r} cannot be read", hint="write a field and ASC or DESC; a name with blanks in `"
        )
    return Order(_field(name, text), descending=(found["direction"] or "").upper() == "DESC")


def _field(name: str, text: str) -> Field:
    kind, point, key = name.partition(".")
    kind = kind.strip('`"')
    if not point:
        return Field("attribute", kind)
    if kind.lower() not in _KINDS:
        raise DataError(
            f"{kind[:100]!r} in {text[:200]!r} is not a kind of field",
            hint="use metrics, params, tags, attributes or datasets",
        )
    return Field(_KINDS[kind.lower()], key[1:-1] if key[:1] in '"`' and key[-1:] == key[:1] else key)


class _Reader:
    """Goes over the tokens of one filter."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens: list[tuple[str, str]] = []
        place = 0
        while text[place:].strip():
            found = _TOKEN.match(text, place)
            if found is None or found.lastgroup is None:
                self._refuse(text[place:].strip())
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            place = found.end()
        self._next = 0

    def comparisons(self) -> list[Comparison]:
        """Read all."""
        found = [self._comparison()]
        while self._next < len(self._tokens):
            if not self._takes("AND"):
                self._refuse(self._peek()[1], "MLflow's filters join comparisons by AND alone")
            found.append(self._comparison())
        if len(found) > _MOST:
            raise DataError(f"the filter has more than {_MOST} comparisons", hint="ask several times")
        return found

    def _comparison(self) -> Comparison:
        group, name = self._peek()
        if group not in ("name", "text") or name.upper() in _WORDS or name.startswith("'"):
            self._refuse(name, "a comparison begins with a field, such as metrics.auc")
        self._next += 1
        return self._rest(_field(name, self._text))

    def _rest(self, field: Field) -> Comparison:
        group, text = self._peek()
        if group == "operator":
            self._next += 1
            return Comparison(field, {"<>": "!=", "==": "="}.get(text, text), self._value())
        if self._takes("IS"):
            is_not = self._takes("NOT")
            if not self._takes("NULL"):
                self._refuse(self._peek()[1], "write IS NULL or IS NOT NULL")
            return Comparison(field, "IS NOT NULL" if is_not else "IS NULL", None)
        is_not = self._takes("NOT")
        if self._takes("IN"):
            return Comparison(field, "NOT IN" if is_not else "IN", self._values())
        for word in ("LIKE", "ILIKE"):
            if not is_not and self._takes(word):
                return Comparison(field, word, self._string())
        return self._refuse(self._peek()[1], "use =, !=, <, <=, >, >=, LIKE, ILIKE, IN, NOT IN, IS NULL or IS NOT NULL")

    def _value(self) -> float | str:
        group, text = self._peek()
        if group == "number":
            self._next += 1
            return float(text)
        return self._string()

    def _string(self) -> str:
        group, text = self._peek()
        if group != "text":
            self._refuse(text, "a text is written in quotes")
        self._next += 1
        return text[1:-1].replace("''", "'") if text[0] == "'" else text[1:-1]

    def _values(self) -> list[str]:
        self._mark("(")
        found = [self._string()]
        while self._peek() == ("mark", ","):
            self._next += 1
            if self._peek() == ("mark", ")"):
                break
            found.append(self._string())
        self._mark(")")
        return found

    def _mark(self, mark: str) -> None:
        if self._peek() != ("mark", mark):
            self._refuse(self._peek()[1], "a list is written as ('a', 'b')")
        self._next += 1

    def _takes(self, word: str) -> bool:
        group, text = self._peek()
        if group == "name" and text.upper() == word:
            self._next += 1
            return True
        return False

    def _peek(self) -> tuple[str, str]:
        return self._tokens[self._next] if self._next < len(self._tokens) else ("end", "")

    def _refuse(self, where: str, hint: str = "compare fields as metrics.auc > 0.7 AND params.depth = '3'") -> NoReturn:
        at = repr(where[:100]) if where else "its end"
        raise DataError(f"the filter {self._text[:200]!r} cannot be read at {at}", hint=hint)
