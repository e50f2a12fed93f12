"""Rows on their way out: what sinks write to databases of others."""
