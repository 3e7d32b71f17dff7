"""An OpenTelemetry collector that parses messages with OpenTelemetry's own definitions."""

from __future__ import annotations

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import ResourceMetrics
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span


class Collector(ThreadingHTTPServer):
    """Keeps all spans and metrics that it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.spans: list[ResourceSpans] = []
        self.metrics: list[ResourceMetrics] = []
        self.headers: list[dict[str, str]] = []
        """The headers of each message."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def wait_for(self, *names: str, trace: str, seconds: float = 60) -> list[Span]:
        """Waits until the trace has spans of all these names. Returns the spans of the trace."""
        deadline = time.monotonic() + seconds
        spans: list[Span] = []
        while time.monotonic() < deadline:
            scopes = [scope for resource in self.spans for scope in resource.scope_spans]
            spans = [span for scope in scopes for span in scope.spans if span.trace_id.hex() == trace]
            if {span.name for span in spans} >= set(names):
                return spans
            time.sleep(0.05)
        raise AssertionError(f"only these spans were received: {[span.name for span in spans]}")


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.headers["content-type"] == "application/x-protobuf"
        self.server.headers.append({name.lower(): value for name, value in self.headers.items()})
        if self.path == "/v1/traces":
            self.server.spans += ExportTraceServiceRequest.FromString(body).resource_spans
            answer = ExportTraceServiceResponse().SerializeToString()
        else:
            assert self.path == "/v1/metrics", self.path
            self.server.metrics += ExportMetricsServiceRequest.FromString(body).resource_metrics
            answer = ExportMetricsServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        pass
