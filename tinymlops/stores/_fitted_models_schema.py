"""Step 20 of the schema: the models by whose vectors training sets were built."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tinymlops.stores.rows import CHECK

if TYPE_CHECKING:
    from sqlite_utils import Database

__all__ = ["add_fitted_models"]

_FITTED_MODELS = f"""CREATE TABLE fitted_models (
    model TEXT PRIMARY KEY,
    fitted TEXT,
    fitted_at INTEGER,
    dimension INTEGER NOT NULL,
    at INTEGER NOT NULL,
    {CHECK} INTEGER NOT NULL
) STRICT"""


def add_fitted_models(db: Database) -> None:
    """Create the table."""
    db.execute(_FITTED_MODELS)
