"""Definitions as law: what a change touches, and what may not pass."""
