"""Runs of a tracking server of MLflow, asked by its REST API; nothing is written to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tinymlops.carry.carried import CarriedFile
from tinymlops.carry.mlflow.asking import Asking
from tinymlops.carry.mlflow.raw import MlflowRun, experiment_of, input_of
from tinymlops.carry.mlflow.served_models import Fetched, logged_models, pairs, registered_names
from tinymlops.errors import DataError, NotFoundError, TinyMLOpsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tinymlops.carry.carried import CarriedExperiment, CarriedInput, CarriedModel, CarriedName

__all__ = ["ServerStore"]

_PAGE, _POINTS = 1_000, 25_000
_DEEPEST = 50
"""Directories within directories of artifacts: a server that lists more lists itself."""


class ServerStore:
    """A tracking server.

    Args:
        uri: Such as "http://localhost:5000".
    """

    def __init__(self, uri: str) -> None:
        self._asking = Asking(uri)
        self.remarks: list[str] = []
        query = {"max_results": _PAGE, "view_type": "ALL"}
        try:
            rows = list(self._asking.pages("POST", "experiments/search", "experiments", query))
        except TinyMLOpsError:
            self._asking.close()
            raise
        self._experiments = {str(row["experiment_id"]): row for row in rows}
        self._runs: dict[str, str] | None = None

    def experiments(self) -> list[CarriedExperiment]:
        """Return the experiments, the oldest first."""
        return [experiment_of(row, pairs(row.get("tags"))) for row in self._experiments.values()]

    def keys(self) -> list[str]:
        """Return the ids of the runs, the oldest first."""
        if self._runs is None:
            infos = [info for key in self._experiments for info in self._infos(key)]
            infos.sort(key=lambda info: (int(info.get("start_time") or 0), info["run_id"]))
            self._runs = {info["run_id"]: info["experiment_id"] for info in infos}
        return list(self._runs)

    def run(self, key: str) -> MlflowRun:
        """Ask for one run."""
        answer = self._asking.get("runs/get", {"run_id": key}).get("run")
        if not answer:
            raise NotFoundError(f"the server has no run {key} any more")
        info, data = answer["info"], answer.get("data", {})
        tags, left_out = pairs(data.get("tags")), list[str]()
        names = [metric["key"] for metric in data.get("metrics", [])]
        return MlflowRun(
            id=key,
            name=info.get("run_name") or "",
            experiment=self._experiments.get(str(info["experiment_id"]), {}).get("name"),
            status=info.get("status", ""),
            started=_whole(info.get("start_time")),
            ended=_whole(info.get("end_time")),
            deleted=info.get("lifecycle_stage") == "deleted",
            user=info.get("user_id"),
            params=pairs(data.get("params")),
            tags=tags,
            points=[point for name in names for point in self._points(key, name)],
            files=list(self._files(key, "", left_out, _DEEPEST)),
            inputs=[_input(one) for one in answer.get("inputs", {}).get("dataset_inputs", [])],
            left_out=left_out,
        )

    def models(self) -> list[CarriedModel]:
        """Return the logged models; a server before MLflow 3 has none."""
        return logged_models(self._asking, list(self._experiments))

    def registered(self) -> list[CarriedName]:
        """Return the registered names."""
        return registered_names(self._asking)

    def close(self) -> None:
        """Close the connections."""
        self._asking.close()

    def _infos(self, experiment: str) -> Iterator[dict[str, Any]]:
        query = {"experiment_ids": [experiment], "run_view_type": "ALL", "max_results": _PAGE}
        for run in self._asking.pages("POST", "runs/search", "runs", query):
            yield run["info"]

    def _points(self, run: str, name: str) -> Iterator[tuple[str, float, int, int]]:
        query = {"run_id": run, "metric_key": name, "max_results": _POINTS}
        for point in self._asking.pages("GET", "metrics/get-history", "metrics", query):
            yield name, float(point["value"]), int(point["timestamp"]), int(point.get("step", 0))

    def _files(self, run: str, path: str, left_out: list[str], deep: int) -> Iterator[CarriedFile]:
        query = {"run_id": run, "path": path} if path else {"run_id": run}
        try:
            entries = list(self._asking.pages("GET", "artifacts/list", "files", query))
        except DataError as error:
            left_out.append(f"{path or 'its artifacts'}: the server cannot list them ({error.message})")
            return
        for entry in entries:
            inside = str(entry["path"])
            if ".." in inside.split("/") or not inside.startswith(f"{path}/" if path else "") or not deep:
                left_out.append(f"artifact {inside!r}: the server lists it where it cannot be")
            elif entry.get("is_dir"):
                yield from self._files(run, inside, left_out, deep - 1)
            else:
                content = Fetched(
                    self._asking, "get-artifact", {"path": inside, "run_uuid": run}, _whole(entry.get("file_size"))
                )
                yield CarriedFile(name=inside, content=content)


def _input(row: dict[str, Any]) -> CarriedInput:
    return input_of(row["dataset"], pairs(row.get("tags")))


def _whole(value: Any) -> int | None:
    return None if value is None else int(value)
