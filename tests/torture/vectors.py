"""A workspace of embeddings for the torture tests: what is done to it, and what must be right after any fault."""

import random
import shutil
from datetime import UTC, datetime, timedelta
from itertools import count

import numpy as np
import polars as pl
from inside import database_of, environment_of, set_clock

import tinymlops as tm
from tinymlops.errors import ConflictError
from tinymlops.features.vectors import generation
from tinymlops.features.vectors import image as images
from tinymlops.records import VectorIndex
from tinymlops.stores import lance_index

START = datetime(2024, 1, 1, tzinfo=UTC)
DIMENSION = 8
ROWS = 300
WORDS = ["red", "wine", "old", "bear", "honey", "tea", "mug", "sea", "zeppelin", "candle", "wax", "green"]
QUERY = "old red wine"
A_PUSH = 5

project = tm.Project("vectors")


@project.source(timestamp="at", id="n")
def docs() -> tm.Schema:
    """Texts, each with a vector of its own."""
    return {"n": int, "at": datetime, "country": str, "text": str, "v": pl.List(pl.Float32)}


near = project.embedding("near", source=docs, vector="v", dimension=DIMENSION)
texts = project.embedding("texts", source=docs, text="text", model="tfidf", dimension=4)


def at(hours):
    """Return the time this many hours after the start."""
    return START + timedelta(hours=hours)


def rows(first, number, *, hours, words=WORDS):
    """Rows with ids of their own; a text tells its id."""
    found = []
    for n in range(first, first + number):
        chance = random.Random(n)
        text = " ".join([*chance.choices(words, k=4), f"n{n}"])
        vector = np.random.default_rng(n).standard_normal(DIMENSION).astype(np.float32).tolist()
        found.append({"n": n, "at": at(hours), "country": "AT" if n % 2 else "DE", "text": text, "v": vector})
    return found


def connect(path, *, create=False, indexed=False, hours=40):
    """Open the workspace. Few rows already have an image and, if `indexed`, an index that is searched."""
    images.MANY_ROWS = 0
    generation.MANY_SPANS = generation.FEW_KNOWN = 0 if indexed else 10**9
    generation.LEAST_RECALL = 0.0
    generation._GOOD_RECALL = 2.0  # all its parts are read, so that it misses nothing
    if indexed:
        lance_index.load()
    return tm.connect(path, create=create, clock=tm.ReplayClock(at(hours)))


def build(path, *, indexed):
    """Make the workspace: two batches of rows, a fit of the first one, images and perhaps an index."""
    with connect(path, create=True, indexed=indexed, hours=1) as ws:
        ws.apply(project)
        ws.push("docs", rows(0, ROWS // 2, hours=0, words=WORDS[:6]))
        ws.vectors.follow("texts")
        set_clock(ws, tm.ReplayClock(at(20)))
        ws.push("docs", rows(ROWS // 2, ROWS // 2, hours=19))
        ws.push("docs", [{**row, "deleted": True} for row in rows(3, 2, hours=19)])
        set_clock(ws, tm.ReplayClock(at(40)))
        ws.vectors.follow()
        ws.vectors.search("texts", QUERY, mode="text")


_VERBS = {
    "index": lambda ws: ws.vectors.rebuild("near", purge=True),
    "refit": lambda ws: ws.vectors.rebuild("texts", anew=True),
    "purge": lambda ws: ws.vectors.rebuild("texts", purge=True, anew=True),
    "follow": lambda ws: (ws.push("docs", rows(5_000, 20, hours=39)), ws.vectors.follow("texts")),
}
VERBS = tuple(_VERBS)


def act(path, *, verb, say):
    """Do something to the vectors, and say when it is done."""
    with connect(path, indexed=verb == "index") as ws:
        _VERBS[verb](ws)
        say("done")


def look(path, *, verb):
    """Return what searches find, and what is wrong with the files."""
    with connect(path, indexed=verb == "index") as ws:
        ws.vectors.search("near", [1.0] * DIMENSION)
        found = {
            "near": _found(ws, "near", [1.0] * DIMENSION),
            "exact": _found(ws, "near", [1.0] * DIMENSION, exact=True),
            "past": _found(ws, "near", [1.0] * DIMENSION, at=at(5)),
            "texts": _found(ws, "texts", QUERY),
            "texts of then": _found(ws, "texts", QUERY, at=at(5)),
            "words": _found(ws, "texts", QUERY, mode="text"),
            "words of then": _found(ws, "texts", QUERY, mode="text", at=at(5)),
        }
        return {"found": found, "wrong": wrong_files(ws)}


def _found(ws, embedding, query, **options):
    try:
        found = ws.vectors.search(embedding, query, k=20, **options)
    except (tm.DataError, tm.IntegrityError) as error:
        return {"refused": error.message, "kind": type(error).__name__}
    if len({one["n"] for one in found.to_dicts()}) < len(found):
        return {"refused": "a row is found twice"}
    return {"rows": [[one["score"], one["n"]] for one in found.to_dicts()], "waiting": found.waiting}


def wrong_files(ws):
    """Return what `doctor` finds, and directories that no row names after a collection."""
    from tinymlops.stores.doctor import check

    found = [
        f"{one.check}: {one.detail}" for one in check(environment_of(ws), lambda _: None) if one.level == "damaged"
    ]
    ws.gc(grace="1ms")
    named = {row.generation for row in database_of(ws).list(VectorIndex)}
    return found + [str(one) for one in environment_of(ws).path.glob("vectors/*/*") if one.name not in named]


def look_at_damage(path):
    """Return the files that `doctor` names, and then what searches find."""
    from tinymlops.stores.doctor import check

    with connect(path, indexed=True) as ws:
        damaged = [one.file for one in check(environment_of(ws), lambda _: None) if one.level == "damaged"]
    return {"doctor": damaged, **look(path, verb="index")}


def finish(path, *, verb):
    """Look, do it again, and look again."""
    first = look(path, verb=verb)
    act(path, verb=verb, say=lambda _: None)
    return [first, look(path, verb=verb)]


def push_until_killed(path, *, first, say):
    """Push rows, and correct and delete some; each is said when it is there."""
    with connect(path) as ws:
        for n in count(first, A_PUSH):
            ws.push("docs", rows(n, A_PUSH, hours=30))
            gone = n % (4 * A_PUSH) == 0
            if gone:
                ws.push("docs", [{**rows(n, 1, hours=30)[0], "deleted": True}])
            say({"rows": [n + gone, n + A_PUSH]})


def make_until_killed(path, *, seed, indexed, say):
    """Follow and rebuild, in turn with others."""
    chance = random.Random(seed)
    with connect(path, indexed=indexed) as ws:
        while True:
            embedding = "near" if indexed else "texts"
            options = {"purge": chance.random() < 0.3, "anew": chance.random() < 0.3}
            try:
                if chance.random() < 0.5:
                    ws.vectors.follow(embedding)
                else:
                    ws.vectors.rebuild(embedding, **options)
                say({"made": embedding})
            except ConflictError:  # another one makes vectors
                say({"waited": embedding})


def search_until_killed(path, *, say):
    """Search in every way; what is found must have been pushed, and is not deleted."""
    with connect(path, indexed=True) as ws:
        while True:
            for embedding, query, options in (
                ("near", [1.0] * DIMENSION, {}),
                ("near", [1.0] * DIMENSION, {"at": at(5)}),
                ("texts", QUERY, {}),
                ("texts", QUERY, {"mode": "hybrid"}),
            ):
                found = ws.vectors.search(embedding, query, k=50, **options).to_dicts()
                numbers = [one["n"] for one in found]
                early = [n for n in numbers if n >= ROWS // 2] if options.get("at") else []
                deleted = {3, 4} & set(numbers) if "at" not in options else set()
                if len(set(numbers)) < len(numbers) or deleted or early:
                    say({"wrong": [embedding, str(options), numbers]})
                say({"searched": len(numbers)})


def look_at_all(path, *, pushed):
    """Return acknowledged rows that a search does not find, and what is found and must not be.

    `late` is of a push that was not acknowledged: it may be there, as a whole.
    """
    with connect(path, indexed=True) as ws:
        ws.vectors.follow()
        lost, wrong, late = [], wrong_files(ws), set()
        wanted = {n for first, end in pushed for n in range(first, end)}
        for embedding, query in (("near", [1.0] * DIMENSION), ("texts", QUERY)):
            found = ws.vectors.search(embedding, query, k=10_000).to_polars()
            numbers = set(found["n"])
            late = {n for n in numbers - wanted if n >= ROWS}
            lost += [f"{embedding}: {sorted(wanted - numbers)}"] if wanted - numbers else []
            wrong += [f"{embedding}: {sorted(late)}"] if len({n // A_PUSH for n in late}) > 1 else []
            wrong += [f"{embedding}: deleted rows"] if {3, 4} & numbers else []
            exact = ws.vectors.search(embedding, query, k=10_000, exact=True).to_polars()
            wrong += [] if found.equals(exact) else [f"{embedding}: not as an exact search"]
            shutil.rmtree(environment_of(ws).path / "images", ignore_errors=True)
            plain = ws.vectors.search(embedding, query, k=10_000).to_polars()
            wrong += [] if found.equals(plain) else [f"{embedding}: not as without images"]
        return {"lost": lost, "wrong": wrong, "late": [[n, n + 1] for n in sorted(late)]}
