"""Serves the blog post's Lambda function at `GET /generate` with `http.server`. Prints its port."""

from __future__ import annotations

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

sys.path.insert(0, str(Path(__file__).parents[2] / "tests/e2e"))
import blog_post  # noqa: E402


class Handler(BaseHTTPRequestHandler):
    """Converts requests and responses like API Gateway."""

    protocol_version = "HTTP/1.1"
    # Buffered: with two small packets, the second would wait for the acknowledgement of the first.
    wbufsize = -1

    def do_GET(self) -> None:
        query = dict(parse_qsl(urlsplit(self.path).query))
        answer = blog_post.lambda_handler({"queryStringParameters": query}, None)
        body = answer["body"].encode()
        self.send_response(answer["statusCode"])
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
