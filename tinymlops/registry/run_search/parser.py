"""Read a search: a recursive descent parser of a small language.

    condition  = both { "or" both }
    both       = single { "and" single }
    single     = "not" single | "(" condition ")" | field test
    test       = operator value | ["not"] "in" "(" value {"," value} ")" | ["not"] ("like" | "ilike") text
               | ["not"] "between" value "and" value | "is" ["not"] ("null" | "nan")
    operator   = "=" | "==" | "!=" | "<>" | "<" | "<=" | ">" | ">="
    value      = 'text' | "text" | number | "true" | "false" | "now" [("-" | "+") duration]

A field is a column of a run, or `metrics.name`, `metrics.name.part`, `params.name` and so on; a name of other characters is
in quotes or backticks. Keywords are in any case.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from math import isinf, isnan
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from tinymlops.errors import DataError, DefinitionError, near
from tinymlops.registry.run_search.conditions import (
    COLUMNS,
    MAPS,
    PARTS,
    And,
    Compare,
    Condition,
    Field,
    In,
    IsNan,
    IsNull,
    Like,
    Not,
    Operator,
    Or,
    Order,
    Value,
    kind_of,
    misfit,
)
from tinymlops.registry.run_search.tokens import HINT, NAMED, Token, require_text, short, tokens, unreadable
from tinymlops.times import parse_duration, parse_instant, system_clock

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tinymlops.times import Clock

__all__ = ["parse", "parse_field", "parse_order"]

_OPERATORS: dict[str, Operator] = {
    "=": "=",
    "==": "=",
    "!=": "!=",
    "<>": "!=",
    "<": "<",
    "<=": "<=",
    ">": ">",
    ">=": ">=",
}
_LARGEST_INT = 2**63 - 1
_MOST_DIGITS = 400
_MOST_CONDITIONS = 500
_DEEPEST = 100
"""SQLite accepts an expression that is nested a thousand levels deep."""
_LONGEST_PATTERN = 10_000
_UTC = ZoneInfo("UTC")


def parse(where: str | None, *, clock: Clock = system_clock) -> Condition | None:
    """Read the text of a search.

    Args:
        where: Such as "metrics.auc > 0.7 and not tags.team in ('ops', 'web')"; None or blank for every run.
        clock: What `now` is.

    Raises:
        DataError: If it cannot be read, or there is no such field.
    """
    if where is None or not require_text(where, "where").strip():
        return None
    return _Parser(where, clock).whole()


def parse_order(order_by: str | Sequence[str | Order]) -> list[Order]:
    """Read an order: fields, each descending with a leading minus or a trailing `desc`.

    Args:
        order_by: Such as "-metrics.auc", or several, the most important first.

    Raises:
        DataError: If one cannot be read, or there is no such field.

    Example:
        >>> parse_order(["-metrics.auc.best", "name"])[1]
        Order(field=Field(group='run', name='name', part='last', as_text=False), descending=False)
    """
    if not isinstance(order_by, str | list | tuple):
        raise DataError(f"order_by={order_by!r} is not text", hint='such as "-metrics.auc"')
    listed = [order_by] if isinstance(order_by, str) else order_by
    return [one if isinstance(one, Order) else _order(require_text(one, "order_by")) for one in listed]


def _order(text: str) -> Order:
    text = text.strip()
    descending = text.startswith("-")
    field, _, direction = text.removeprefix("-").strip().rpartition(" ")
    if not descending and field and direction.lower() in ("asc", "desc"):
        return Order(parse_field(field.strip()), descending=direction.lower() == "desc")
    return Order(parse_field(text.removeprefix("-").strip()), descending=descending)


def parse_field(text: str) -> Field:
    """Read the name of a field.

    Raises:
        DataError: If there is none, with the near match.

    Example:
        >>> parse_field('metrics."val/loss 1".best')
        Field(group='metrics', name='val/loss 1', part='best', as_text=False)
    """
    if text in COLUMNS:
        return Field("run", text)
    match = NAMED.fullmatch(text)
    group = match[1] if match is not None else text.partition(".")[0]
    if match is None or group not in MAPS:
        raise DataError(f"runs have no field {short(text)!r}", hint=near(group, [*COLUMNS, *MAPS], otherwise=HINT))
    quoted, part = match[2] if match[2] is not None else match[3], match[5]
    if quoted is None:
        quoted = match[4] if part is None else f"{match[4]}.{part}"
        part = None
        if group == "metrics":
            name, _, last = quoted.rpartition(".")
            quoted, part = (name, last) if name and last in PARTS else (quoted, None)
    if not quoted or '"' in quoted or "\\" in quoted:
        raise DataError(f"runs have no field {short(text)!r}", hint="a name has no quotes and no backslashes")
    if part is not None and (group != "metrics" or part not in PARTS):
        known = PARTS if group == "metrics" else ()
        raise DataError(f"runs have no field {short(text)!r}", hint=near(part, known, otherwise=HINT))
    return Field(group, quoted, part or "last")


class _Parser:
    """One reading of one text.

    Args:
        where: The text.
        clock: What `now` is.
    """

    def __init__(self, where: str, clock: Callable[[], datetime]) -> None:
        self._where, self._clock = where, clock
        self._tokens = tokens(where)
        self._place = self._conditions = self._depth = 0

    def whole(self) -> Condition:
        condition = self._either()
        if self._next.kind != "end":
            raise self._wrong(f"{short(self._next.text)} is where only `and` or `or` may be")
        return condition

    def _either(self) -> Condition:
        parts = [self._both()]
        while self._takes("or"):
            parts.append(self._both())
        return parts[0] if len(parts) == 1 else Or(tuple(parts))

    def _both(self) -> Condition:
        parts = [self._single()]
        while self._takes("and"):
            parts.append(self._single())
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _single(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise self._wrong(f"it is nested more than {_DEEPEST} levels deep")
        if self._takes("not"):
            condition: Condition = Not(self._single())
        elif self._takes("("):
            condition = self._either()
            self._require(")")
        else:
            condition = self._test()
        self._depth -= 1
        return condition

    def _test(self) -> Condition:
        self._conditions += 1
        if self._conditions > _MOST_CONDITIONS:
            raise self._wrong(f"it has more than {_MOST_CONDITIONS} conditions")
        token = self._take()
        if token.kind != "word" or token.text.lower() in ("and", "or", "in", "like", "true", "false"):
            raise self._wrong(f"{short(token.text)} is not a field" if token.text else "it ends too early")
        field = parse_field(token.text)
        if self._takes("is"):
            return self._is(field)
        negated = self._takes("not")
        condition = self._listed(field)
        if condition is None:
            if negated:
                raise self._wrong(f"{short(self._next.text)} cannot follow `not`")
            sign = self._take()
            if sign.text not in _OPERATORS:
                raise self._wrong(f"{short(sign.text)} is not an operator" if sign.text else "it ends too early")
            condition = Compare(field, _OPERATORS[sign.text], self._value(field))
        return Not(condition) if negated else condition

    def _is(self, field: Field) -> Condition:
        negated = self._takes("not")
        if self._takes("null"):
            condition: Condition = IsNull(field)
        elif self._takes("nan"):
            if field.group != "metrics":
                raise self._wrong("only metrics can be compared with nan")
            condition = IsNan(field)
        else:
            raise self._wrong("`is` is followed by `null`, `nan`, `not null` or `not nan`")
        return Not(condition) if negated else condition

    def _listed(self, field: Field) -> Condition | None:
        """Read what comes after a field where it is `in`, `between`, `like` or `ilike`."""
        if self._takes("in"):
            self._require("(")
            values = [self._value(field)]
            while self._takes(","):
                values.append(self._value(field))
            self._require(")")
            return In(field, tuple(values))
        if self._takes("between"):
            least = self._value(field)
            self._require("and")
            return And((Compare(field, ">=", least), Compare(field, "<=", self._value(field))))
        if self._takes("like"):
            return Like(field, self._pattern(field))
        if self._takes("ilike"):
            return Like(field, self._pattern(field), ignore_case=True)
        return None

    def _pattern(self, field: Field) -> str:
        token = self._take()
        if token.kind != "text" or kind_of(field) not in ("text", "any"):
            raise self._wrong("`like` compares text with a text in quotes, such as name like 'base%'")
        if len(token.text) > _LONGEST_PATTERN:
            raise self._wrong(f"the text after `like` has more than {_LONGEST_PATTERN:,} characters")
        return token.text[1:-1]

    def _value(self, field: Field) -> Value:
        token = self._take()
        value = self._read(token)
        if kind_of(field) == "time" and token.kind == "text":
            value = self._instant(field.name, token.text[1:-1])
        why = misfit(field, value)
        if why:
            raise self._wrong(why)
        return value

    def _read(self, token: Token) -> Value:
        if token.kind == "text":
            return token.text[1:-1]
        if token.kind == "number":
            return self._number(token.text)
        if token.kind == "now":
            return self._moment(token.text)
        if token.text.lower() in ("true", "false"):
            return token.text.lower() == "true"
        if token.text.lower() == "null":
            raise self._wrong("nothing equals null; write `is null` or `is not null`")
        raise self._wrong(
            f"{short(token.text)} is not a value; put text in quotes" if token.text else "it ends too early"
        )

    def _number(self, text: str) -> int | float:
        if re.search("[a-z]", text, re.IGNORECASE) and not re.search(r"\d", text):
            number = float(text)
            if isnan(number):
                raise self._wrong("nothing equals nan; write `is nan` or `is not nan`")
            return number
        # Python refuses to read an integer of thousands of digits.
        is_whole = not re.search(r"[.eE]", text)
        found = int(text) if is_whole and len(text) < _MOST_DIGITS else _LARGEST_INT + 1 if is_whole else float(text)
        if abs(found) > _LARGEST_INT and (isinstance(found, int) or isinf(found)):
            raise self._wrong(f"{short(text)} is too large")
        return found

    def _moment(self, text: str) -> datetime:
        sign = re.search(r"[-+]", text)
        now = self._clock().astimezone(UTC)
        if sign is None:
            return now
        try:
            away = timedelta(microseconds=parse_duration(text[sign.end() :].strip(), name="duration"))
            return now - away if sign[0] == "-" else now + away
        except DefinitionError as error:
            raise self._wrong(error.message) from error
        except OverflowError as error:
            raise self._wrong(f"{short(text)} is outside the years 1 to 9999") from error

    def _instant(self, name: str, text: str) -> datetime:
        try:
            return parse_instant(text, name=name, zone=_UTC)
        except DataError as error:
            raise self._wrong(f"{short(text)!r} is not a time; write '2026-11-01' or '2026-11-01T12:30:00'") from error

    @property
    def _next(self) -> Token:
        return self._tokens[self._place]

    def _take(self) -> Token:
        token = self._next
        self._place = min(self._place + 1, len(self._tokens) - 1)
        return token

    def _takes(self, word: str) -> bool:
        """Go past a keyword or a sign, if it is the next word."""
        is_next = self._next.kind in ("word", "sign", "number") and self._next.text.lower() == word
        self._place += is_next
        return is_next

    def _require(self, word: str) -> None:
        if not self._takes(word):
            found = short(self._next.text)
            raise self._wrong(f"{found} is where `{word}` must be" if found else f"it ends without `{word}`")

    def _wrong(self, why: str) -> DataError:
        return unreadable(self._where, why)
