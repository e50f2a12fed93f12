"""Runs of MLflow: from its database, its `mlruns` directory, or its server."""
