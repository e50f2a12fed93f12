"""Compute one view: from rows and a spine to columns. A plan can be pickled, and nothing here knows a workspace."""
