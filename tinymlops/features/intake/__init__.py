"""How rows come in: ingest and push, and the files that they end up in."""
