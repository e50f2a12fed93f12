"""A store that speaks as much of S3's protocol as readers need: list, head, and get with ranges; keys are compared."""

import threading
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

NAMESPACE = "http://s3.amazonaws.com/doc/2006-03-01/"
KEY, SECRET = "AKIDEXAMPLE", "s3cret/key+value"


class Store:
    """Objects of the bucket `lake`, by name."""

    def __init__(self):
        self.objects, self.refuses, self.before_get, self.port = {}, False, lambda name: None, 0

    def put(self, name, content):
        self.objects[name] = (content, datetime.now(UTC))

    def url(self, *, bucket="lake", prefix="", secret="s3cret%2Fkey%2Bvalue"):
        return f"s3://{KEY}:{secret}@{bucket}/{prefix}?endpoint=http%3A%2F%2F127.0.0.1%3A{self.port}"


def handler_of(store):  # noqa: C901 - the methods of one class
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body=b"", **headers):
            self.send_response(status)
            self.send_header("Content-Length", headers.pop("length", len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def refuse(self, status, code):
            self.answer(
                status,
                f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(),
                Content_Type="application/xml",
            )

        def do_HEAD(self):
            name = unquote(urlsplit(self.path).path).removeprefix("/lake").lstrip("/")
            if name and name not in store.objects:
                return self.answer(404)
            content, changed = store.objects.get(name, (b"", datetime.now(UTC)))
            return self.answer(200, length=len(content), Last_Modified=f"{changed:%a, %d %b %Y %H:%M:%S GMT}")

        def do_GET(self):
            parts = urlsplit(self.path)
            bucket, _, name = unquote(parts.path).lstrip("/").partition("/")
            if store.refuses or f"Credential={KEY}/" not in self.headers.get("Authorization", ""):
                return self.refuse(403, "SignatureDoesNotMatch")
            if bucket != "lake":
                return self.refuse(404, "NoSuchBucket")
            if not name:
                return self.list(parse_qs(parts.query))
            store.before_get(name)
            if name not in store.objects:
                return self.refuse(404, "NoSuchKey")
            content, changed = store.objects[name]
            told = {"Last_Modified": f"{changed:%a, %d %b %Y %H:%M:%S GMT}", "ETag": '"1"'}
            if self.headers.get("Range") is None:
                return self.answer(200, content, **told)
            start, _, end = self.headers["Range"].removeprefix("bytes=").partition("-")
            first, last = int(start), min(int(end or len(content)), len(content) - 1)
            return self.answer(
                206, content[first : last + 1], Content_Range=f"bytes {first}-{last}/{len(content)}", **told
            )

        def list(self, query):
            prefix, delimiter = query.get("prefix", [""])[0], query.get("delimiter", [""])[0]
            found = ""
            for name, (content, changed) in sorted(store.objects.items()):
                if name.startswith(prefix) and not (delimiter and delimiter in name[len(prefix) :]):
                    when = f"{changed:%Y-%m-%dT%H:%M:%S}.{changed.microsecond // 1000:03}Z"
                    told = f"<Size>{len(content)}</Size><LastModified>{when}</LastModified>"
                    found += f"<Contents><Key>{escape(name)}</Key>{told}</Contents>"
            body = f"<ListBucketResult xmlns='{NAMESPACE}'>{found}<IsTruncated>false</IsTruncated></ListBucketResult>"
            self.answer(200, body.encode(), Content_Type="application/xml")

    return Handler


@contextmanager
def running():
    """Serve a store while a test module needs it."""
    store = Store()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(store))
    server.daemon_threads = True
    store.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield store
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
