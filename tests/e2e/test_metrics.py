"""OpenTelemetry's own message definitions as the referee of the metrics that are sent to a collector."""

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


def told(point: object) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in point.attributes}  # type: ignore[attr-defined]


def test_what_metrics_says_is_sent_too(start_server: Callable[..., Server], collector: Collector) -> None:
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
        assert time.monotonic() < deadline, "it is sent again and again"
        time.sleep(0.05)
    assert server.stop() == 0
    # What was counted since the message before is in the last one, which leaves at the end.
    message = collector.metrics[-1]
    resource = {a.key: a.value.string_value for a in message.resource.attributes}
    assert (resource["service.name"], resource["deployment.environment.name"]) == ("ours", "test")
    assert all(headers["x-tenant"] == "a team" for headers in collector.headers)

    metrics = by_name(message)
    requests_told = metrics["http.server.request.duration"]
    assert requests_told.unit == "s"
    histogram = requests_told.histogram
    assert histogram.aggregation_temporality == AGGREGATION_TEMPORALITY_CUMULATIVE
    counts = {(told(p)["http.route"], told(p)["http.response.status_code"]): p for p in histogram.data_points}
    good = counts["/generate", 200]
    assert (good.count, told(good)["http.request.method"]) == (2, "GET")
    assert counts["/generate", 400].count == 1
    assert len(good.bucket_counts) == len(good.explicit_bounds) + 1 and sum(good.bucket_counts) == good.count
    assert 0 < good.start_time_unix_nano < good.time_unix_nano

    for name in ["generations", "pictures", "orders"]:
        (said,) = re.findall(rf"^tintype_{name}_total(?:{{.*}})? (\d+)$", text, re.M)
        (point,) = metrics[f"tintype.{name}"].sum.data_points
        assert metrics[f"tintype.{name}"].sum.is_monotonic and point.as_int == int(said) == 2, name
    (said,) = re.findall(r"^tintype_engine_seconds_total{.*} ([\d.]+)$", text, re.M)
    (point,) = metrics["tintype.engine"].sum.data_points
    assert (point.as_double, metrics["tintype.engine"].unit) == (float(said), "s")
    assert [point.as_int for point in metrics["tintype.jobs_running"].gauge.data_points] == [0]
    assert "secret" not in str(collector.metrics), "no prompt leaves with the metrics"


def test_metrics_are_turned_off_alone(start_server: Callable[..., Server], collector: Collector) -> None:
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
