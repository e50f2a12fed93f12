"""MLflow's protocol, so that an unmodified `mlflow` client logs, searches, registers and loads here; see docs/mlflow.md."""

from tinymlops.server.mlflow.artifacts import artifact_routes
from tinymlops.server.mlflow.experiments import experiment_routes
from tinymlops.server.mlflow.inputs import input_routes
from tinymlops.server.mlflow.logged_models import logged_model_routes
from tinymlops.server.mlflow.metrics import metric_routes
from tinymlops.server.mlflow.model_versions import model_version_routes
from tinymlops.server.mlflow.registered_models import registered_model_routes
from tinymlops.server.mlflow.runs import run_routes
from tinymlops.server.mlflow.scoring import scoring_routes

__all__ = ["MLFLOW_NOUNS"]

MLFLOW_NOUNS = (
    experiment_routes,
    run_routes,
    metric_routes,
    input_routes,
    logged_model_routes,
    registered_model_routes,
    model_version_routes,
    artifact_routes,
    scoring_routes,
)
"""A maker of handlers for each noun."""
