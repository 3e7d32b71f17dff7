"""Exported traces, parsed with OpenTelemetry's own message definitions."""

from __future__ import annotations

from collections.abc import Callable

import requests
from collector import Collector
from conftest import Server
from opentelemetry.proto.trace.v1.trace_pb2 import Span

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


def attributes(span: Span) -> dict[str, object]:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_every_stage_is_a_span_of_the_clients_trace(
    start_server: Callable[..., Server], collector: Collector
) -> None:
    telemetry = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_SERVICE_NAME": "ours",
    }
    server = start_server(env=telemetry)
    response = requests.get(
        f"{server.url}/generate", params={"prompt": "a secret tiger", "steps": 3}, timeout=60,
        headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
    )  # fmt: skip
    assert response.status_code == 200
    stages = ["parse", "wait", "generate", "encode_text", "step", "decode", "encode_picture", "put"]
    spans = collector.wait_for("GET /generate", *stages, trace=TRACE)
    assert [span.name for span in spans].count("step") == 3
    (root,) = (span for span in spans if span.name == "GET /generate")
    assert (root.parent_span_id.hex(), root.kind) == (PARENT, Span.SPAN_KIND_SERVER)
    found = attributes(root)
    assert (found["http.route"], found["http.response.status_code"]) == ("/generate", 200)
    known = {span.span_id for span in spans}
    assert all(span.parent_span_id in known for span in spans if span is not root), "one tree"
    (name,) = (a.value.string_value for a in collector.spans[0].resource.attributes if a.key == "service.name")
    assert name == "ours"
    assert "secret" not in str(collector.spans), "the traces contain no prompts"


def test_openais_call_has_the_same_stages(start_server: Callable[..., Server], collector: Collector) -> None:
    server = start_server(env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"})
    response = requests.post(
        f"{server.url}/v1/images/generations", json={"prompt": "x", "steps": 2}, timeout=60,
        headers={"traceparent": f"00-{TRACE}-{PARENT}-01"},
    )  # fmt: skip
    assert response.status_code == 200
    collector.wait_for("POST /v1/images/generations", "parse", "wait", "generate", "put", trace=TRACE)


def test_a_trace_continues_in_the_endpoints_container(
    start_server: Callable[..., Server], collector: Collector
) -> None:
    telemetry = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "200"}
    endpoint = start_server(env=telemetry)
    front = start_server(
        "--model", "sagemaker:emoji", "--sagemaker-size", "64", "--sagemaker-steps", "2",
        "--sagemaker-attributes", "accept_eula=true",
        env=telemetry | {
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": endpoint.url,
            "AWS_ACCESS_KEY_ID": endpoint.access_key,
            "AWS_SECRET_ACCESS_KEY": endpoint.secret_key,
        },
    )  # fmt: skip
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
    assert requests.get(f"{front.url}/generate", params={"prompt": "x"}, headers=headers, timeout=60).status_code == 200
    spans = collector.wait_for("GET /generate", "invoke", "POST /endpoints/{name}/invocations", "step", trace=TRACE)
    by_name = {span.name: span for span in spans}
    assert by_name["POST /endpoints/{name}/invocations"].parent_span_id == by_name["invoke"].span_id
    assert by_name["invoke"].kind == Span.SPAN_KIND_CLIENT


def test_an_unreachable_collector_does_not_affect_requests(start_server: Callable[..., Server]) -> None:
    server = start_server(env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"})
    assert requests.get(f"{server.url}/generate", params={"prompt": "x"}, timeout=60).status_code == 200
    assert server.stop() == 0


def test_a_disabled_sdk_sends_nothing(start_server: Callable[..., Server], collector: Collector) -> None:
    server = start_server(env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_SDK_DISABLED": "true"})
    assert requests.get(f"{server.url}/generate", params={"prompt": "x"}, timeout=60).status_code == 200
    assert server.stop() == 0
    assert (collector.spans, collector.metrics) == ([], [])
