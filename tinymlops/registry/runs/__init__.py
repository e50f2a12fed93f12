"""Experiment runs: what they log, find and keep."""

from tinymlops.registry.runs.noun import Runs

__all__ = ["Runs"]
