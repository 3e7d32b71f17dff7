"""The function with a test Runtime API: events, responses before the end of a job, and work after them."""

from __future__ import annotations

import io
import json
import os
import queue
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from conftest import Service
from events import HOST, http, rest
from functions import BUCKET, Function, s3, settings, start_function
from PIL import Image
from runtime_api import Answer, Endpoint, RuntimeApi


@pytest.fixture
def api() -> RuntimeApi:
    return RuntimeApi()


@pytest.fixture
def start(
    tintype: str,
    clean_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    weed: Service,
    endpoint: Endpoint,
    api: RuntimeApi,
) -> Iterator[Callable[..., Function]]:
    """Starts the function at `api`, in front of `endpoint`, without API keys."""
    started = []

    def start(at: RuntimeApi = api, **more: str) -> Function:
        own = settings(weed.url, endpoint.url, AWS_LAMBDA_RUNTIME_API=at.address, **more)
        environment = clean_environment | {"TINTYPE_ALLOW_ANONYMOUS": "true"} | own
        function = start_function(tintype, tmp_path_factory.mktemp("function"), environment)
        started.append(function)
        at.wait_until_polled(1)
        return function

    yield start
    for function in started:
        assert function.stop() == 0, function.log.read_text()


PROMPT = {"prompt": "a tiger & 老虎+1"}


@pytest.mark.parametrize(
    "event",
    [rest("GET", "/generate", PROMPT), http("GET", "/generate", PROMPT), http("GET", "/generate", PROMPT, stage="prod")],
    ids=["rest", "url", "http"],
)
def test_every_kind_of_event(
    start: Callable[..., Function], api: RuntimeApi, endpoint: Endpoint, event: dict[str, Any]
) -> None:
    function = start()
    answer = api.invoke(event)
    assert answer.event["statusCode"] == 200, answer.body
    made = answer.json()
    assert made["prompt"] == PROMPT["prompt"]
    assert [call["prompt"] for call in endpoint.calls] == [PROMPT["prompt"]]
    picture = requests.get(made["url"], timeout=30)
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/jpeg")
    assert picture.content.startswith(b"\xff\xd8")
    forged = made["url"][:-1] + ("0" if made["url"][-1] != "0" else "1")
    assert requests.get(forged, timeout=30).status_code == 403
    ended = [line for line in function.lines() if line["message"] == "job finished"]
    assert [line["status"] for line in ended] == ["succeeded"]
    assert ended[0]["engine_seconds"] > 0
    assert not any("\x1b" in line for line in function.log.read_text().splitlines())


def test_the_function_uses_little_memory(start: Callable[..., Function], api: RuntimeApi) -> None:
    function = start()
    idle = function.resident_mib()
    for _ in range(20):
        assert api.invoke(rest("GET", "/generate", PROMPT)).event["statusCode"] == 200
    # The target is 30 MB, which is 28.6 MiB.
    assert (idle < 24, function.resident_mib() < 28.6) == (True, True), (idle, function.resident_mib())


def test_a_job_continues_after_a_202(
    start: Callable[..., Function], api: RuntimeApi, endpoint: Endpoint
) -> None:
    start(TINTYPE_RESPOND_WITHIN="1s")
    endpoint.seconds = 5
    sent = time.monotonic()
    answer = api.invoke(rest("GET", "/generate", PROMPT))
    assert answer.event["statusCode"] == 202, answer.body
    assert answer.posted_at - sent < 4, "the response is sent before the image exists"
    job = answer.json()
    assert answer.header("location") == f"/prod/v1/images/{job['id']}"
    assert answer.header("retry-after") == "2"
    assert (job["status"], job["images"]) == ("running", [])
    # The client has its response. The function polls for the next event only after the image is stored.
    polled = api.wait_until_polled(2)
    assert polled - answer.posted_at > 2
    again = api.invoke(rest("GET", f"/v1/images/{job['id']}"))
    done = again.json()
    assert done["status"] == "succeeded", done
    assert requests.get(done["images"][0]["url"], timeout=30).status_code == 200
    assert len(endpoint.calls) == 1


def test_an_asynchronous_request_gets_202_immediately(
    start: Callable[..., Function], api: RuntimeApi, endpoint: Endpoint
) -> None:
    start()
    endpoint.seconds = 2
    answer = api.invoke(http("POST", "/v1/images", headers={"prefer": "respond-async"}, body=PROMPT))
    assert answer.event["statusCode"] == 202, answer.body
    assert api.wait_until_polled(2) - answer.posted_at > 1
    done = api.invoke(http("GET", f"/v1/images/{answer.json()['id']}")).json()
    assert (done["status"], len(endpoint.calls)) == ("succeeded", 1)


def test_a_job_beyond_the_functions_time_ends_cleanly(
    start: Callable[..., Function], api: RuntimeApi, endpoint: Endpoint
) -> None:
    function = start(TINTYPE_RESPOND_WITHIN="1s")
    endpoint.seconds = 40
    sent = api.send(rest("GET", "/generate", PROMPT), seconds=9)
    answer = sent.answer.get(timeout=9)
    assert answer.event["statusCode"] == 202, answer.body
    api.wait_until_polled(2, seconds=9)
    assert function.process.poll() is None
    done = api.invoke(rest("GET", f"/v1/images/{answer.json()['id']}")).json()
    assert (done["status"], done["error"]["reason"]) == ("failed", "outcome_unknown"), done
    assert len(endpoint.calls) == 1


def make_key(tintype: str, environment: dict[str, str], name: str, *limits: str) -> dict[str, str]:
    """Creates a key with these limits. Returns its header."""
    created = subprocess.run(
        [tintype, "keys", "create", "--name", name, *limits],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return {"authorization": f"Bearer {created.stdout.strip()}"}


def test_no_function_waits_for_an_asynchronous_endpoint(
    start: Callable[..., Function],
    api: RuntimeApi,
    tintype: str,
    weed: Service,
    endpoint: Endpoint,
    clean_environment: dict[str, str],
) -> None:
    endpoint.bucket, more = BUCKET, {"TINTYPE_SAGEMAKER_ASYNC": "true"}
    own = clean_environment | settings(weed.url, endpoint.url, TINTYPE_LEDGER="bucket")
    key = make_key(tintype, own, "patient")
    first = start(**more)
    # The function has 9 s and the client 3 s; the endpoint takes longer than both.
    answer = api.invoke(rest("GET", "/generate", PROMPT, key), seconds=9)
    assert answer.event["statusCode"] == 202, answer.body
    assert api.wait_until_polled(2) - answer.posted_at < 3, "the function does not wait for the endpoint"
    assert first.stop() == 0
    others = [RuntimeApi(), RuntimeApi()]
    for other in others:
        start(at=other, **more)
    poll = rest("GET", f"/v1/images/{answer.json()['id']}", headers=key)
    for other in others:
        early = other.invoke(poll)
        assert (early.json()["status"], early.header("retry-after")) == ("running", "2")
        other.wait_until_polled(2)
    endpoint.write_results(s3(weed.url))
    # Both functions poll at the same time, and one of them stores the result.
    for sent in [other.send(poll) for other in others]:
        sent.answer.get(timeout=60)
    for other in others:
        done = other.invoke(poll).json()
        assert done["status"] == "succeeded", done
        assert requests.get(done["images"][0]["url"], timeout=30).content == endpoint.picture
    usage = others[0].invoke(rest("GET", "/v1/usage", headers=key)).json()["data"]
    assert [(day["jobs"], day["pictures"], day["reserved_engine_seconds"]) for day in usage] == [(1, 1, 0)]
    assert usage[0]["engine_seconds"] == done["cost"]["engine_seconds"]
    assert len(endpoint.calls) == 1


def test_a_short_function_timeout_shortens_the_time_budget(
    start: Callable[..., Function], api: RuntimeApi, endpoint: Endpoint
) -> None:
    start()
    endpoint.seconds = 5
    # The default budget of 25 s would be too long.
    answer = api.invoke(rest("GET", "/generate", PROMPT), seconds=9)
    assert answer.event["statusCode"] == 202, answer.body
    api.wait_until_polled(2)
    done = api.invoke(rest("GET", f"/v1/images/{answer.json()['id']}")).json()
    assert (done["status"], len(endpoint.calls)) == ("succeeded", 1)


def test_a_function_that_is_frozen_between_two_events(
    start: Callable[..., Function], api: RuntimeApi, endpoint: Endpoint
) -> None:
    function = start()
    for times in (2, 4):
        assert api.invoke(rest("GET", "/generate", PROMPT)).event["statusCode"] == 200
        api.wait_until_polled(times)
        function.process.send_signal(signal.SIGSTOP)
        sent = api.send(rest("GET", "/generate", PROMPT))
        with pytest.raises(queue.Empty):
            sent.answer.get(timeout=2)
        function.process.send_signal(signal.SIGCONT)
        assert sent.answer.get(timeout=30).event["statusCode"] == 200
        api.wait_until_polled(times + 1)
    assert len(endpoint.calls) == 4


def test_an_invalid_event(start: Callable[..., Function], api: RuntimeApi) -> None:
    start()
    assert api.invoke({"key1": "value1"}).failed
    assert api.invoke(http("GET", "/healthz")).event["statusCode"] == 200


def test_invalid_settings_of_a_function(
    tintype: str, clean_environment: dict[str, str], api: RuntimeApi
) -> None:
    for more, expected in [
        ({}, "set TINTYPE_STORE to s3://"),
        ({"TINTYPE_STORE": "s3://b", "TINTYPE_LEDGER": "sqlite"}, "TINTYPE_LEDGER must be bucket"),
    ]:
        environment = clean_environment | {"AWS_LAMBDA_RUNTIME_API": api.address} | more
        done = subprocess.run([tintype], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and expected in done.stderr, done.stderr
    alone = subprocess.run([tintype, "lambda"], env=clean_environment, capture_output=True, text=True, timeout=60)
    assert alone.returncode == 2 and "AWS_LAMBDA_RUNTIME_API is not set" in alone.stderr


def test_keys_are_stored_in_the_bucket(
    start: Callable[..., Function],
    api: RuntimeApi,
    tintype: str,
    weed: Service,
    endpoint: Endpoint,
    clean_environment: dict[str, str],
) -> None:
    own = clean_environment | settings(weed.url, endpoint.url, TINTYPE_LEDGER="bucket")
    key = make_key(tintype, own, "acme", "--rate", "2/day")
    start(TINTYPE_ALLOW_ANONYMOUS="false")
    statuses = [
        api.invoke(http("GET", "/generate", PROMPT, headers)).event["statusCode"]
        for headers in ({}, {"authorization": "Bearer tt_x"}, key, key, key)
    ]
    assert statuses == [401, 401, 200, 200, 429]


def test_a_response_that_is_too_large_for_lambda_gets_413(
    start: Callable[..., Function], api: RuntimeApi, endpoint: Endpoint
) -> None:
    start()
    noise, picture = Image.frombytes("RGB", (2_200, 2_200), os.urandom(3 * 2_200 * 2_200)), io.BytesIO()
    noise.save(picture, "JPEG", quality=95)
    endpoint.picture = picture.getvalue()
    assert len(endpoint.picture) > 5_000_000
    body = PROMPT | {"response_format": "b64_json"}
    answer = api.invoke(http("POST", "/v1/images/generations", body=body))
    assert answer.event["statusCode"] == 413, answer.body[:1000]
    assert answer.json()["type"] == "urn:tintype:problem:answer-too-large"
    link = api.invoke(http("GET", "/generate", PROMPT)).json()
    assert requests.get(link["url"], timeout=30).content == endpoint.picture


def framed(answer: Answer) -> tuple[dict[str, Any], bytes]:
    """The head and the body of a streamed response."""
    assert answer.headers["lambda-runtime-function-response-mode"] == "streaming"
    assert answer.headers["content-type"] == "application/vnd.awslambda.http-integration-response"
    head, body = answer.body.split(b"\0" * 8, 1)
    return json.loads(head), body


def test_a_streamed_response(start: Callable[..., Function], api: RuntimeApi) -> None:
    start(TINTYPE_LAMBDA_RESPONSE="stream")
    answer = api.invoke(rest("GET", "/generate", PROMPT))
    head, body = framed(answer)
    assert head["statusCode"] == 200
    assert head["headers"]["content-type"] == "application/json"
    assert requests.get(json.loads(body)["url"], timeout=30).status_code == 200
    assert "lambda-runtime-function-error-type" not in answer.trailers


def test_a_stream_of_events(start: Callable[..., Function], api: RuntimeApi, endpoint: Endpoint) -> None:
    start(TINTYPE_LAMBDA_RESPONSE="stream", TINTYPE_RESPOND_WITHIN="1s")
    made = framed(api.invoke(rest("GET", "/generate", PROMPT)))
    job = json.loads(made[1])
    head, body = framed(api.invoke(rest("GET", f"/v1/images/{job['id']}/events")))
    assert head["headers"]["content-type"] == "text/event-stream"
    assert b"event: succeeded" in body, body


def test_a_stream_of_events_ends_before_the_functions_time_does(
    start: Callable[..., Function], api: RuntimeApi, endpoint: Endpoint
) -> None:
    other = RuntimeApi()
    start(TINTYPE_RESPOND_WITHIN="1s")
    start(at=other, TINTYPE_LAMBDA_RESPONSE="stream")
    endpoint.seconds = 15
    job = api.invoke(rest("GET", "/generate", PROMPT)).json()
    # One function generates the image. Another one streams the events and has 9 s for that.
    sent = time.monotonic()
    answer = other.invoke(rest("GET", f"/v1/images/{job['id']}/events"), seconds=9)
    head, body = framed(answer)
    assert head["statusCode"] == 200 and b"event: succeeded" not in body, body
    assert 2 < answer.posted_at - sent < 7
    assert "lambda-runtime-function-error-type" not in answer.trailers
    api.wait_until_polled(2)
    done = other.invoke(rest("GET", f"/v1/images/{job['id']}/events"))
    assert b"event: succeeded" in framed(done)[1]
    assert len(endpoint.calls) == 1


def test_the_model_can_run_in_the_function(start: Callable[..., Function], api: RuntimeApi) -> None:
    start(TINTYPE_MODEL="builtin")
    answer = api.invoke(rest("GET", "/generate", PROMPT | {"steps": "2"}), seconds=120)
    assert answer.event["statusCode"] == 200, answer.body
    assert requests.get(answer.json()["url"], timeout=30).content.startswith(b"\xff\xd8")
    assert HOST not in answer.json()["url"]
