"""A handler that reads and writes the bodies of a prediction and does nothing else: `empty_handler.py PORT`."""

import sys
from datetime import UTC, datetime

import uvicorn
from litestar import Litestar, post
from litestar.params import FromPath, JSONBody

from tinymlops.server.connections import PatientProtocol
from tinymlops.server.messages import PredictAnswer, PredictRequest
from tinymlops.server.request import StrictRequest

AT = datetime(2024, 1, 1, tzinfo=UTC)
SAID = {"id": "0" * 32, "prediction": True, "probability": 0.5}


@post("/v1/models/{name:str}/predict", status_code=200)
async def predict(name: FromPath[str], data: JSONBody[PredictRequest]) -> PredictAnswer:
    return PredictAnswer(model=name, version=1, timestamp=AT, sequence=1, predictions=[SAID for _ in data.rows])


def main() -> None:
    """Serve on the server that ours runs on, with the same options."""
    app = Litestar([predict], request_class=StrictRequest, openapi_config=None, logging_config=None)
    options = {"log_level": "warning", "access_log": False, "proxy_headers": False, "server_header": False}
    uvicorn.run(app, port=int(sys.argv[1]), http=PatientProtocol, **options)


if __name__ == "__main__":
    main()
