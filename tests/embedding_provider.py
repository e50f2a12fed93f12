"""A provider of embeddings that speaks OpenAI's protocol on loopback, well or badly, and keeps what it was asked."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

DIMENSION = 4


def vector(text):
    """The vector that the provider has for a text."""
    return np.frombuffer(hashlib.sha256(text.encode()).digest()[: 2 * DIMENSION], "<u2").astype(np.float32) / 65536 + 1


def item(text, index):
    return {"object": "embedding", "index": index, "embedding": [float(one) for one in vector(text)]}


def answer(items, status=200, **headers):
    body = items if isinstance(items, bytes) else json.dumps({"object": "list", "data": items}).encode()
    return status, headers, body


def said(status, message, **headers):
    return status, headers, json.dumps({"error": {"message": message}}).encode()


def well(texts):
    return answer([item(text, index) for index, text in enumerate(texts)])


class Provider:
    """What `respond` returns for the texts of a request is sent; a function gets the handler instead."""

    def __init__(self):
        self.respond, self.asked, self.heads, self.port, self.ended = well, [], [], 0, threading.Event()

    def address(self, model="minilm", path="/v1"):
        return f"http://127.0.0.1:{self.port}{path}#{model}"

    def then(self, *responses):
        """Answer so to one request after the other, and well afterwards."""
        left = list(responses)
        self.respond = lambda texts: (left.pop(0) if left else well)(texts)


def handler_of(provider):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            provider.asked.append(body)
            provider.heads.append((self.path, dict(self.headers)))
            response = provider.respond(body["input"])
            if callable(response):
                self.close_connection = True
                response(self)
                return
            status, headers, content = response
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


class Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def handle_error(self, *_):
        pass


@contextmanager
def running():
    """Give a provider, and end its threads afterwards."""
    provider = Provider()
    with Server(("127.0.0.1", 0), handler_of(provider)) as server:
        provider.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield provider
        finally:
            provider.ended.set()
            server.shutdown()
            thread.join()
