"""Step 16 of the schema: who has taken a message of the outbox."""

from __future__ import annotations

__all__ = ["TAKEN"]

TAKEN = "ALTER TABLE outbox ADD COLUMN taken TEXT NOT NULL DEFAULT '[]'"
"""The checksums of its table are computed anew after it."""
