"""Databases of others: read in one snapshot, never written to. Nothing here knows features or the workspace."""
