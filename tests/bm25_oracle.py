"""A plain reading of the rule of search by words: the rows known at a time, and BM25 over them."""

import math
import re

import vector_oracle


def known(rows, *, key, t, sequence, ids=None, observed=False):
    """Return what is known of each key at a time, by the oracle of search by vectors: a row of numbers is always found."""
    marked = [{**row, "number": [float(place)]} for place, row in enumerate(rows)]
    found = vector_oracle.nearest(
        marked,
        [1.0],
        key=key,
        vector="number",
        k=len(rows),
        t=t,
        sequence=sequence,
        metric="dot",
        ids=ids,
        observed=observed,
    )
    return [(value, rows[int(place)]) for place, value in found]


def search(rows, query, *, key, text, k, where=None, **facts):
    """Return (score, key) of the best; arguments as those of `vector_oracle.nearest`."""
    texts = {
        value: re.findall("[a-z]+", row[text].lower())
        for value, row in known(rows, key=key, **facts)
        if row[text] is not None
    }
    by_key = dict(known(rows, key=key, **facts))
    mean = sum(map(len, texts.values())) / len(texts) if texts else 0
    asked = list(dict.fromkeys(re.findall("[a-z]+", query.lower())))
    found = []
    for value, words in texts.items():
        if not set(asked) & set(words) or (where is not None and not where(by_key[value])):
            continue
        total = 0.0
        for word in asked:
            having = sum(word in other for other in texts.values())
            often = words.count(word)
            rarity = math.log(1 + (len(texts) - having + 0.5) / (having + 0.5))
            total += rarity * (often * 2.2 / (often + 1.2 * (1 - 0.75 + 0.75 * len(words) / mean)))
        found.append((total, value))
    return sorted(found, key=lambda one: (-one[0], one[1]))[:k]


def fused(orders, k):
    """Return (score, key) of reciprocal rank fusion of keys in order."""
    sums = {}
    for order in orders:
        for rank, key in enumerate(order, 1):
            sums[key] = sums.get(key, 0.0) + 1 / (60 + rank)
    return sorted(((score, key) for key, score in sums.items()), key=lambda one: (-one[0], one[1]))[:k]
