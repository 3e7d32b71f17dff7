"""A proxy that forwards a request to the server and then loses the response."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

KEPT = ("content-type", "x-request-id", "x-should-retry", "retry-after", "retry-after-ms", "location")


class Proxy(ThreadingHTTPServer):
    """`faults` has the faults of the first responses: `503`, `drop` (no response), `cut` (half) or `pass`."""

    daemon_threads = True

    def __init__(self, upstream: int, faults: list[str]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.upstream = upstream
        self.faults = faults
        self.seen: list[tuple[str, int]] = []
        """The fault of each response, and the retry number in its request."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        fault = self.server.faults.pop(0) if self.server.faults else "pass"
        self.server.seen.append((fault, int(self.headers.get("x-stainless-retry-count", -1))))
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.upstream, timeout=300)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        content = answer.read()
        upstream.close()
        if fault == "503":
            answer_status, content, kept = 503, b"upstream connect error", []
        else:
            answer_status = answer.status
            kept = [(k, v) for k, v in answer.getheaders() if k.lower() in KEPT]
        if fault == "drop":
            self.close_connection = True
            return
        self.send_response(answer_status)
        for name, value in kept:
            self.send_header(name, value)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if fault == "cut" else content)
        self.close_connection = fault == "cut"

    do_GET = do_POST = _forward


@contextmanager
def unreliable(port: int, *faults: str) -> Iterator[Proxy]:
    """Runs the proxy in front of a server on this port."""
    proxy = Proxy(port, list(faults))
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
