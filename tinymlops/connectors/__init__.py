"""Databases of others: read in one snapshot, and written to by sinks alone. Nothing here knows features or the workspace."""
