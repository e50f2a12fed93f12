"""The point-in-time rule in plain Python, row by row: slow, and simple enough to be checked by eye.

`t` is a spine time, `e` an event time, `c` a created time, `n` an ingest sequence; all are integers. A null `c` is NEVER.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

NEVER = -(2**63)
FOREVER = 2**63 - 1


@dataclass(frozen=True)
class Row:
    key: object
    id: object  # None: the row replaces nothing and is never replaced
    e: int
    available: int
    c: int
    n: int
    deleted: bool = False
    value: int | float | None = None
    keep: bool = True


def visible(rows, key, t, *, strict):
    """The rows of a key that are the fact at t: available, and of equal ids only the greatest version."""
    if key is None:
        return []
    known = [
        row
        for row in rows
        if row.key == key and row.available != FOREVER and (row.available < t if strict else row.available <= t)
    ]
    return [
        row for row in known if row.id is None or all((o.c, o.n) <= (row.c, row.n) for o in known if o.id == row.id)
    ]


def oracle_latest(rows, key, t, *, strict, ttl=None, window=None, oldest=False, keep=True):
    """The winning Row or None; a tombstone that wins is returned. `keep=False` ignores each row's `keep`."""
    candidates = [
        row
        for row in visible(rows, key, t, strict=strict or window is not None)
        if not (row.deleted and row.id is not None)
        and (row.keep or not keep or row.deleted)
        and (ttl is None or t - row.e <= ttl)
        and (window is None or t - window <= row.e < t)
    ]
    candidates.sort(key=lambda row: (row.e, row.c, row.n))
    if not candidates:
        return None
    if not oldest:
        return candidates[-1]
    tombs = [i for i, row in enumerate(candidates) if row.deleted]
    after = candidates[tombs[-1] + 1 :] if tombs else candidates
    return after[0] if after else candidates[tombs[-1]]


def oracle_window(function, rows, key, t, window, q=None):
    """The aggregate over kept, non-null, not deleted rows of the window; None for null; OverflowError beyond its type."""
    seen = [
        row
        for row in visible(rows, key, t, strict=True)
        if not row.deleted and row.keep and row.value is not None and t - window <= row.e < t
    ]
    if function == "time_since_last":
        return (t - max(row.e for row in seen)) / 1_000_000 if seen else None
    return oracle_aggregate(function, [row.value for row in seen], q)


def oracle_aggregate(function, values, q=None):
    n = len(values)
    floats = any(isinstance(value, float) for value in values)
    if function == "count":
        return n
    if function == "n_unique":
        return len(set(values))
    if function in ("any", "all"):
        return {"any": any, "all": all}[function](values)
    if function == "sum":
        return exact_float_sum(values) if floats else exact_int_sum(values)
    if n == 0:
        return None
    if function == "mean":
        return exact_float_sum(values) / n
    if function in ("min", "max"):
        return {"min": min, "max": max}[function](values)
    if function == "quantile":
        return linear_quantile(sorted(map(float, values)), q)
    return deviation(values, root=function == "std")


def linear_quantile(values, q):
    """Type 7 of sorted floats, in the steps that numpy takes."""
    place = q * (len(values) - 1)
    first = min(int(place), len(values) - 1)
    weight, low, high = place - first, values[first], values[min(first + 1, len(values) - 1)]
    if math.isinf(high - low):
        return low * (1 - weight) + high * weight
    return low + (high - low) * weight if weight < 0.5 else high - (high - low) * (1 - weight)


def exact_int_sum(values):
    total = sum(values)
    if not -(2**63) <= total < 2**63:
        raise OverflowError
    return total


def exact_float_sum(values):
    total = float(sum(map(Fraction, values)))  # rounds once, half to even; OverflowError beyond float64
    if all(isinstance(value, float) and abs(value) < 1e300 for value in values):
        assert total == math.fsum(
            values
        )  # the same computed in two ways; fsum fails if an intermediate sum is too great
    return total


def deviation(values, *, root):
    """The sample variance or standard deviation, rounded once; None for a single value."""
    n = len(values)
    if n < 2:
        return None
    numbers = [Fraction(value) for value in values]
    mean = sum(numbers) / n
    variance = sum((number - mean) ** 2 for number in numbers) / (n - 1)
    return nearest_root(variance) if root else float(variance)


def nearest_root(value):
    """The float nearest to a square root, found by comparing squares of the midpoints between neighbours."""
    if value == 0:
        return 0.0
    # Scaled by a power of four to a size where a float's own square root is near.
    shift = (value.numerator.bit_length() - value.denominator.bit_length()) // 2
    guess = Fraction(math.sqrt(value / Fraction(4) ** shift)) * Fraction(2) ** shift
    greatest = math.nextafter(math.inf, 0.0)
    low = math.nextafter(float(min(guess, Fraction(greatest))), 0.0)
    while True:
        middle = Fraction(low) + Fraction(math.ulp(low)) / 2
        if value < middle**2 or (value == middle**2 and int(Fraction(low) / Fraction(math.ulp(low))) % 2 == 0):
            return low
        low = math.nextafter(low, math.inf)
        if low == math.inf:
            raise OverflowError


def oracle_expression(node, values):
    """What an expression, as its JSON has it, gives for one row: exact integers, no NaN, no infinity; null is None."""
    if node["op"] == "column":
        return values[node["name"]]
    if node["op"] == "constant":
        return node["value"]
    if node["op"] == "unary":
        return oracle_unary(node["operator"], oracle_expression(node["operand"], values))
    left, right = (oracle_expression(node[side], values) for side in ("left", "right"))
    return within(oracle_binary(node["operator"], left, right))


def oracle_unary(operator, value):
    if operator in ("is_null", "is_not_null"):
        return (value is None) == (operator == "is_null")
    if value is None:
        return None
    return within({"not": lambda v: not v, "neg": lambda v: -v, "abs": abs}[operator](value))


def oracle_binary(operator, left, right):
    if operator == "fill_null":
        return right if left is None else left
    if operator in ("&", "|"):  # Kleene's logic: a value that decides alone decides
        decides = operator == "|"
        return decides if decides in (left, right) else None if None in (left, right) else not decides
    if left is None or right is None or (operator in ("/", "//", "%") and right == 0):
        return None
    return {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "*": lambda a, b: a * b,
        "/": lambda a, b: float(a) / float(b),
        "//": lambda a, b: a // b,
        "%": lambda a, b: a % b,
        "==": lambda a, b: a == b,
        "!=": lambda a, b: a != b,
        "<": lambda a, b: a < b,
        "<=": lambda a, b: a <= b,
        ">": lambda a, b: a > b,
        ">=": lambda a, b: a >= b,
    }[operator](left, right)


def within(value):
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise OverflowError
    return value
