"""A plain reading of the rule of search by vectors, over the rows that `ws.sql` shows: every version of every row."""

import math
import operator

SYSTEM = ("__event", "__created", "__sequence", "__deleted")


def nearest(rows, query, *, key, vector, k, t, sequence, metric, ids=None, observed=False, where=None):
    """Return (score, key) of the best, from all versions of all rows as dicts.

    Args:
        rows: Each with the columns of the source and `SYSTEM`; times in microseconds.
        query: Numbers.
        key: The column that says which rows are of one thing.
        vector: The column of vectors; what is no list of len(query) finite numbers is none.
        k: How many.
        t: Microseconds.
        sequence: `Q`.
        metric: Of the score.
        ids: The column of ids, if any.
        observed: Whether a first version is known from its event on.
        where: Takes a row.
    """
    known = [row for row in rows if row["__sequence"] <= sequence and row[key] is not None]
    facts = [row for row in known if available(row, observed) <= t]
    if ids is not None:
        facts = [row for row in facts if row[ids] is None or not is_replaced(row, known, t, key, ids, observed)]
        facts = [row for row in facts if row[ids] is None or not row["__deleted"]]
    found = []
    for value in {row[key] for row in facts}:
        newest = max((row for row in facts if row[key] == value), key=age)
        numbers = newest[vector]
        if newest["__deleted"] or not is_vector(numbers, len(query)) or (where is not None and not where(newest)):
            continue
        found.append((score(numbers, query, metric), value))
    return sorted(found, key=lambda one: (-one[0], one[1]))[:k]


def available(row, observed):
    event, created = row["__event"], row["__created"]
    if created is None:
        return event if observed else math.inf
    return max(event, created)


def is_replaced(row, rows, t, key, ids, observed):
    """Say whether a greater version of the same id under the same key has taken its place by then."""
    for other in rows:
        if other[key] == row[key] and other[ids] == row[ids] and version(other) > version(row):
            from_ = other["__created"] if observed and other["__created"] is not None else available(other, observed)
            if from_ <= t:
                return True
    return False


def version(row):
    return -math.inf if row["__created"] is None else row["__created"], row["__sequence"]


def age(row):
    return row["__event"], *version(row)


def is_vector(numbers, dimension):
    return (
        numbers is not None
        and len(numbers) == dimension
        and all(number is not None and math.isfinite(number) for number in numbers)
    )


def score(numbers, query, metric):
    dot = math.fsum(map(operator.mul, numbers, query))
    if metric == "dot":
        return dot
    if metric == "l2":
        return -math.dist(numbers, query)
    if metric == "exact cosine":  # of any numbers, not of small whole ones alone
        squares = [math.fsum(n * n for n in one) for one in (numbers, query)]
        return max(-1.0, min(1.0, dot / math.sqrt(squares[0] * squares[1]))) if dot else 0.0
    sizes = math.sqrt(math.fsum(n * n for n in numbers) * math.fsum(n * n for n in query))
    return dot / sizes if sizes else 0.0
