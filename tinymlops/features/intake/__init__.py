"""How rows are stored: ingest and push, the checks on them, and the files that they are written to."""
