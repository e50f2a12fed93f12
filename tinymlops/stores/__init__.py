"""Where bytes are kept: SQLite, blobs, segments, the online store."""
