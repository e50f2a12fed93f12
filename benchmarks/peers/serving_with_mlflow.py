"""MLflow's model server with the pipeline of `benchmarks/serving.py`, which runs it: `serving_with_mlflow.py FOLDER PORT`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import mlflow.sklearn
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main() -> None:
    folder, port = Path(sys.argv[1]), sys.argv[2]
    rows = pd.read_parquet(folder / "rows.parquet").dropna()
    X, y = rows.drop(columns="label"), rows["label"].astype(bool)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(X, y)
    mlflow.sklearn.save_model(model, folder / "mlflow", pyfunc_predict_fn="predict_proba")
    serve = ["-m", "mlflow", "models", "serve", "-m", str(folder / "mlflow"), "--env-manager", "local"]
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # it starts uvicorn by name
    os.execv(sys.executable, [sys.executable, *serve, "-h", "127.0.0.1", "-p", port])


if __name__ == "__main__":
    main()
