"""Values as people read them: the filters of the templates."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tinymlops.features.definitions.definitions import in_words
from tinymlops.printable import printable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "FILTERS",
    "ago",
    "bytes_text",
    "count_text",
    "iso",
    "mark_of",
    "moment",
    "number",
    "segment",
    "span",
    "value_text",
]

_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
_YEAR = 365.25 * 86_400
_SIZES = ("B", "kB", "MB", "GB", "TB")
_DIGITS, _GREATEST = 4, 1e15
_MARKS = {
    **dict.fromkeys(("succeeded", "finished", "pass", "ok", "active"), "good"),
    **dict.fromkeys(("failed", "lost", "killed", "fail", "late"), "bad"),
    **dict.fromkeys(("overdue", "warn"), "warn"),
    "running": "going",
}
NONE = "\N{EN DASH}"
"""What stands where there is no value."""


def moment(time: datetime | None) -> str:
    """Write a time in UTC, to the second.

    Example:
        >>> moment(datetime(2026, 3, 1, 9, 30, tzinfo=UTC))
        '2026-03-01 09:30:00'
    """
    return NONE if time is None else f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"


def span(seconds: float | timedelta | None) -> str:
    """Write a length of time by its two largest units.

    Example:
        >>> span(3_725), span(0.25)
        ('1 h 2 min', '250 ms')
    """
    if seconds is None:
        return NONE
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if abs(seconds) < 1:
        return f"{seconds * 1000:.0f} ms"
    rest = round(abs(seconds))
    parts: list[str] = []
    for size, name in _UNITS:
        if rest >= size or parts:
            parts.append(f"{rest // size} {name}")
            rest %= size
    shown = [part for part in parts[:2] if not part.startswith("0 ")]
    return ("-" if seconds < 0 else "") + " ".join(shown)


def ago(time: datetime | None, now: datetime) -> str:
    """Write how long ago something was, or in how long it is.

    Example:
        >>> now = datetime(2026, 3, 1, tzinfo=UTC)
        >>> ago(now - timedelta(minutes=5), now), ago(now + timedelta(hours=2), now), ago(now - timedelta(days=800), now)
        ('5 min ago', 'in 2 h', '2 y ago')
    """
    if time is None:
        return NONE
    seconds = (now - time).total_seconds()
    if abs(seconds) < 1:
        return "now"
    years = [(_YEAR, "y")] if abs(seconds) >= 2 * _YEAR else []
    size, name = next(unit for unit in (*years, *_UNITS) if abs(seconds) >= unit[0])
    text = f"{abs(seconds) // size:.0f} {name}"
    return f"{text} ago" if seconds > 0 else f"in {text}"


def number(value: Any, digits: int = _DIGITS) -> str:
    """Write a number by four digits, or by as many as are asked for; a whole one, and the whole part of a great one, in full.

    Example:
        >>> number(0.123456), number(0.123456, 2), number(1234567), number(138300.25), number(float("nan"))
        ('0.1235', '0.12', '1,234,567', '138,300', 'NaN')
    """
    if value is None:
        return NONE
    if isinstance(value, bool) or not isinstance(value, int | float):
        return printable(str(value), line=True)
    if isinstance(value, int):
        return f"{value:,}"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "-∞")
    if abs(value) < _GREATEST and (value.is_integer() or abs(value) >= 10 ** (digits - 1)):
        return f"{value:,.0f}"
    return f"{value:.{digits}g}"


def exact(value: float) -> str:
    """Write a number in full.

    Example:
        >>> exact(0.1234567), exact(12.0)
        ('0.1234567', '12')
    """
    return repr(value).removesuffix(".0")


def datum(value: Any) -> str:
    """Write a value of a row: as a number, but without commas, for it may be a year or a key.

    Example:
        >>> datum(2013), datum(0.123456), datum(1234.5), datum("1,5")
        ('2013', '0.1235', '1234', '1,5')
    """
    return number(value).replace(",", "") if isinstance(value, int | float) else number(value)


def like(value: Any, answer: Any) -> Any:
    """Return what came true as the answer is given: outcomes are stored as numbers, those of yes and no too.

    Example:
        >>> like(1.0, False), like(2.5, 3.0)
        (True, 2.5)
    """
    return bool(value) if isinstance(answer, bool) and value in (0, 1) else value


def count_text(value: int, one: str, many: str = "") -> str:
    """Write how many there are.

    Example:
        >>> count_text(1, "run"), count_text(2, "run"), count_text(0, "entry", "entries")
        ('1 run', '2 runs', 'no entries')
    """
    word = one if value == 1 else many or f"{one}s"
    return f"{value:,} {word}" if value else f"no {word}"


def bytes_text(size: int | None) -> str:
    """Write a size.

    Example:
        >>> bytes_text(1_500_000)
        '1.5 MB'
    """
    if size is None:
        return NONE
    left, unit = float(size), 0
    while left >= 1000 and unit < len(_SIZES) - 1:
        left, unit = left / 1000, unit + 1
    return f"{left:.0f} {_SIZES[unit]}" if unit == 0 or left >= 100 else f"{left:.1f} {_SIZES[unit]}"


def segment(text: object) -> str:
    """Quote a text as one segment of a path.

    Example:
        >>> segment("a/b c")
        'a%2Fb%20c'
    """
    return quote(str(text), safe="")


def value_text(value: Any) -> str:
    """Write a value that statistics keep: a number by four digits, a time without the parts of a second.

    Example:
        >>> value_text(0.123456), value_text("2024-01-01T10:00:00.000000+00:00")
        ('0.1235', '2024-01-01 10:00:00')
    """
    if not isinstance(value, str):
        return datum(value)
    try:
        time = datetime.fromisoformat(value)
    except ValueError:
        return printable(value, line=True)
    return moment(time if time.tzinfo is not None else time.replace(tzinfo=UTC))


def kinds_text(kind: str) -> str:
    """Write a definition's kind for people, as the title of many.

    Example:
        >>> kinds_text("entity"), kinds_text("feature_view")
        ('Entities', 'Feature views')
    """
    word = in_words(kind).capitalize()
    return word.removesuffix("y") + "ies" if word.endswith("y") else word + "s"


def mark_of(state: str) -> str:
    """Return the kind of mark that stands before the word for a state; what is not known is idle.

    Example:
        >>> mark_of("failed"), mark_of("running"), mark_of("whatever")
        ('bad', 'going', 'idle')
    """
    return _MARKS.get(state, "idle")


def iso(time: datetime) -> str:
    """Write a time for machines."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


FILTERS: dict[str, Callable[..., Any]] = {
    "moment": moment,
    "span": span,
    "ago": ago,
    "number": number,
    "like": like,
    "datum": datum,
    "exact": exact,
    "count": count_text,
    "bytes": bytes_text,
    "segment": segment,
    "iso": iso,
    "value": value_text,
    "mark": mark_of,
    "kind": in_words,
    "kinds": kinds_text,
    "plain": lambda text: printable(str(text)),
}
