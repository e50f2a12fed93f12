"""Vectors that know time: embeddings of rows, kept beside them, and searched as of any moment."""
