"""Rows with meaning: definitions, runs, models."""
