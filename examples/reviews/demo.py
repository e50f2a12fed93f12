"""Reviews found as of a past date, an author who is gone, and a model that reads the texts.

python demo.py
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from prepare import ROWS, SPLIT, prepare
from reviews import plain, project, with_texts
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

import tinymlops as tm

HERE = Path(__file__).parent
QUESTION = "a frightening horror film with zombies and blood"
DRAWS = 1_000


def main() -> None:
    """Run all parts in a fresh workspace beside this file."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--rows", type=int, default=ROWS, help="how many reviews")
    rows = asked.parse_args().rows
    shutil.rmtree(HERE / "reviews.tm", ignore_errors=True)
    begun = time.perf_counter()
    with stage("prepare", rows):
        reviews = prepare(HERE / "data", rows)
    with tm.connect(HERE / "reviews.tm", create=True) as ws:
        ws.apply(project)
        with stage("ingest", rows):
            ws.ingest()
        with stage("vectors", rows):
            ws.vectors.follow()
        search_the_past(ws)
        look_at_all(ws)
        forget(ws, reviews)
        learn(ws)
    print(f"\nwhole example {time.perf_counter() - begun:.1f} s")


def search_the_past(ws: tm.Workspace) -> None:
    """Ask the same question now, and as of a day in February."""
    title("1. What a search finds now, and what it would have found in February")
    now = ws.vectors.search("texts", QUESTION, k=3)
    then = ws.vectors.search("texts", QUESTION, k=3, at="2024-02-01T00:00Z")
    for name, found in (("now", now), ("on 1 February", then)):
        print(f"{name}:")
        for one in found.to_dicts():
            print(f"  {one['score']:.3f}  {one['written_at']:%d %b}  {one['author']:<10}  {one['text'][:70]!r}")
    assert all(one["written_at"].month == 1 for one in then.to_dicts())


def look_at_all(ws: tm.Workspace) -> None:
    """Show near duplicates and clusters."""
    title("2. Near duplicates and clusters")
    with stage("duplicates"):
        pairs = ws.vectors.duplicates("texts", threshold=0.97)
    print(f"{pairs.count} pairs from 0.97 on")
    for one in pairs.to_dicts()[:3]:
        print(f"  {one['score']:.3f}  {one['text_1'][:50]!r}\n         {one['text_2'][:50]!r}")
    with stage("clusters"):
        groups = ws.vectors.cluster("texts", k=6)
    print(groups)


def forget(ws: tm.Workspace, reviews: pl.DataFrame) -> None:
    """Take an author out: from the searches at once, from the files with the purge."""
    title("3. An author who is gone")
    who = reviews["author"].mode().sort()[0]
    theirs = reviews.filter(pl.col("author") == who)
    text = theirs.sort(pl.col("text").str.len_chars())["text"][-1]
    print(f"{who} wrote {theirs.height} reviews; the best hit for one of them is by {first_author(ws, text)}")
    for name in ("reviews", "asked", "verdicts"):
        path = HERE / "data" / f"{name}.parquet"
        pl.read_parquet(path).filter(pl.col("author") != who).write_parquet(path)
    with stage("rebuild of the rows"):
        ws.ingest("written", "asked", "verdicts", rebuild=True, drop_missing=True)
    past = {one["author"] for one in ws.vectors.search("texts", text, k=200, at="2024-05-01T00:00Z").to_dicts()}
    print(f"after it, the best hit is by {first_author(ws, text)}; {who} in searches of the past: {who in past}")
    print(f"files that still hold one of the texts: {len(files_with(ws, theirs['text'].to_list()))}")
    with stage("purge"):
        ws.vectors.rebuild("texts", purge=True, anew=True)
        ws.gc(grace="1ms")
    left = files_with(ws, theirs["text"].to_list())
    print(f"files that hold one of the texts after the purge: {len(left)}")
    assert not left
    assert who not in past


def first_author(ws: tm.Workspace, text: str) -> str:
    """Return who wrote the review that is nearest to a text."""
    return str(ws.vectors.search("texts", text, k=1).to_dicts()[0]["author"])


def files_with(ws: tm.Workspace, texts: list[str]) -> list[Path]:
    """Return the files of the workspace in whose bytes, or rows where they are Parquet, one of the texts stands."""
    found = []
    for path in sorted(one for one in (HERE / "reviews.tm").rglob("*") if one.is_file()):
        content = path.read_bytes()
        if content[:4] == b"PAR1":
            rows = pl.read_parquet(path)
            held = "text" in rows.columns and bool(rows["text"].is_in(texts).any())
        else:
            held = any(text.encode() in content for text in texts)
        if held:
            found.append(path)
    return found


def learn(ws: tm.Workspace) -> None:
    """Train the same model with the vectors and without, and compare on the later reviews."""
    title("4. Did the author like the film? With the text, and without")
    chances, outcomes = {}, np.empty(0)
    for name, training_set in (("without", plain), ("with", with_texts)):
        with stage(f"model {name}"):
            data = ws.get_training_data(training_set, test_from=SPLIT)
            model = HistGradientBoostingClassifier(random_state=0).fit(data.train.X, data.train.y)
        chances[name], outcomes = model.predict_proba(data.test.X)[:, 1], data.test.y.to_numpy()
    print(f"{data.report.train_rows:,} reviews to learn from, {outcomes.size:,} later ones to be judged by")
    for name, (score, low, high) in compared(outcomes, chances).items():
        print(f"{name:<20} auc {score:+.3f}  95 % between {low:+.3f} and {high:+.3f}")


def compared(outcomes: Any, chances: dict[str, Any]) -> dict[str, tuple[float, float, float]]:
    """Return the AUC of both models and their difference, with intervals from samples of the test rows."""
    rng = np.random.default_rng(0)
    lots = [rng.integers(0, outcomes.size, outcomes.size) for _ in range(DRAWS)]
    drawn = {
        name: np.array([roc_auc_score(outcomes[lot], chance[lot]) for lot in lots]) for name, chance in chances.items()
    }
    whole = {name: float(roc_auc_score(outcomes, chance)) for name, chance in chances.items()}
    drawn["the text brings"] = drawn["with"] - drawn["without"]
    whole["the text brings"] = whole["with"] - whole["without"]
    return {name: (whole[name], *np.quantile(drawn[name], [0.025, 0.975]).tolist()) for name in whole}


@contextmanager
def stage(name: str, rows: int = 0) -> Iterator[None]:
    """Print the time of a stage, and its rows per second."""
    begun = time.perf_counter()
    yield
    seconds = time.perf_counter() - begun
    print(f"-- {name:<22}{seconds:>7.2f} s" + (f" {rows:>9,} rows {rows / seconds:>9,.0f} rows/s" if rows else ""))


def title(text: str) -> None:
    """Print a heading."""
    print(f"\n{text}\n{'=' * len(text)}")


if __name__ == "__main__":
    main()
