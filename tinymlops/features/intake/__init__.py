"""How rows are stored: ingest and push, and the files that they are written to."""
