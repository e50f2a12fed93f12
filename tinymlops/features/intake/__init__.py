"""How rows come in: ingest and push, the checks on them, and the files that they end up in."""
