"""Exported metrics, parsed with OpenTelemetry's own message definitions."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import requests
from collector import Collector
from conftest import Server
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_CUMULATIVE, Metric, ResourceMetrics


def by_name(message: ResourceMetrics) -> dict[str, Metric]:
    return {metric.name: metric for scope in message.scope_metrics for metric in scope.metrics}


def attributes(point: object) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in point.attributes}  # type: ignore[attr-defined]


def test_exported_metrics_match_the_metrics_endpoint(
    start_server: Callable[..., Server], collector: Collector
) -> None:
    server = start_server(
        env={
            "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{collector.url}/v1/metrics",
            "OTEL_EXPORTER_OTLP_HEADERS": "x-tenant=a%20team",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
            "OTEL_SERVICE_NAME": "ours",
            "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        }
    )
    for prompt in ["a secret tiger", "a secret lion"]:
        assert requests.get(f"{server.url}/generate", params={"prompt": prompt, "steps": 2}, timeout=60).status_code == 200
    assert requests.get(f"{server.url}/generate", timeout=60).status_code == 400
    text = requests.get(f"{server.url}/metrics", timeout=60).text
    deadline = time.monotonic() + 60
    while len(collector.metrics) < 2:
        assert time.monotonic() < deadline, "metrics are sent repeatedly"
        time.sleep(0.05)
    assert server.stop() == 0
    # The last message is sent at shutdown and contains everything.
    message = collector.metrics[-1]
    resource = {a.key: a.value.string_value for a in message.resource.attributes}
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("ours", "test")
    assert all(headers["x-tenant"] == "a team" for headers in collector.headers)

    metrics = by_name(message)
    request_duration = metrics["http.server.request.duration"]
    assert request_duration.unit == "s"
    histogram = request_duration.histogram
    assert histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    points = [(attributes(p), p) for p in histogram.data_points]
    counts = {(a["http.route"], a["http.response.status_code"]): p for a, p in points}
    good = counts["/generate", 200]
    assert (good.count, attributes(good)["http.request.method"]) == (2, "GET")
    assert counts["/generate", 400].count == 1
    assert len(good.bucket_counts) == len(good.explicit_bounds) + 1 and sum(good.bucket_counts) == good.count
    assert 0 < good.start_time_unix_nano < good.time_unix_nano

    for name in ["generations", "pictures", "orders"]:
        (value,) = re.findall(rf"^tintype_{name}_total(?:{{.*}})? (\d+)$", text, re.M)
        (point,) = metrics[f"tintype.{name}"].sum.data_points
        assert metrics[f"tintype.{name}"].sum.is_monotonic and point.as_int == int(value) == 2, name
    (value,) = re.findall(r"^tintype_engine_seconds_total{.*} ([\d.]+)$", text, re.M)
    (point,) = metrics["tintype.engine"].sum.data_points
    assert (point.as_double, metrics["tintype.engine"].unit) == (float(value), "s")
    assert [point.as_int for point in metrics["tintype.jobs_running"].gauge.data_points] == [0]
    assert "secret" not in str(collector.metrics), "the metrics contain no prompts"


def test_metrics_can_be_disabled_without_traces(
    start_server: Callable[..., Server], collector: Collector
) -> None:
    server = start_server(
        env={
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_METRIC_EXPORT_INTERVAL": "50",
        }
    )
    assert requests.get(f"{server.url}/generate", params={"prompt": "x"}, timeout=60).status_code == 200
    assert server.stop() == 0
    assert collector.spans and not collector.metrics
