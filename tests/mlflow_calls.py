"""A workspace asked in MLflow's protocol, without MLflow."""

from contextlib import contextmanager

import msgspec
from litestar.testing import TestClient

import tinymlops as tm

LOCAL = "http://127.0.0.1:8000"
API = "/api/2.0/mlflow/"
FILES = "/api/2.0/mlflow-artifacts/artifacts"
JSON = {"content-type": "application/json"}


class Calls:
    """Requests below the protocol's prefix; each returns the answer as plain data, or checks the refusal."""

    def __init__(self, client, headers=None):
        self.client, self.headers = client, headers or {}

    def send(self, method, path, body=None, /, **params):
        content = None if body is None else msgspec.json.encode(body)
        headers = self.headers | ({} if body is None else JSON)
        return self.client.request(method, API + path, content=content, params=params, headers=headers)

    def post(self, path, /, **body):
        return self._answer(self.send("POST", path, body))

    def get(self, path, /, **params):
        return self._answer(self.send("GET", path, **params))

    def refused(self, status, code, method, path, body=None, /, **params):
        """Check that a call is refused; return the message."""
        answer = self.send(method, path, body, **params)
        assert answer.status_code == status, answer.text
        said = answer.json()
        assert set(said) == {"error_code", "message"}
        assert said["error_code"] == code, said
        return said["message"]

    def run(self, **fields):
        """Start a run; return its id."""
        return self.post("runs/create", experiment_id="0", **fields)["run"]["info"]["run_id"]

    def names(self, text="", **body):
        """Search runs; return their names."""
        found = self.post("runs/search", experiment_ids=["0"], filter=text, **body)
        return [one["info"]["run_name"] for one in found.get("runs", [])]

    def put(self, path, content, **headers):
        return self.client.put(f"{FILES}/{path}", content=content, headers=self.headers | headers)

    def fetch(self, path):
        return self.client.get(f"{FILES}/{path}", headers=self.headers)

    @staticmethod
    def _answer(response):
        assert response.status_code == 200, response.text
        return response.json()


@contextmanager
def asked(ws, **headers):
    """Ask a workspace."""
    with TestClient(tm.create_app(ws), base_url=LOCAL) as client:
        yield Calls(client, headers)
