"""The function in two third-party emulators of Lambda: AWS's own and cargo-lambda's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import samcli
from conftest import Service, free_port, listening, own_program
from events import http, rest
from functions import settings, start_function
from runtime_api import Endpoint

RIE = Path(samcli.__file__).parent / "local/rapid/aws-lambda-rie-x86_64"
PROMPT = {"prompt": "a tiger & 老虎+1"}


Invoke = Callable[[dict[str, Any]], Any]


@pytest.fixture
def rie(
    tintype: str,
    clean_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    weed: Service,
    endpoint: Endpoint,
) -> Iterator[Callable[..., Invoke]]:
    """Starts the function in AWS's Runtime Interface Emulator. `rie(…)` returns a way to invoke it."""
    started = []

    def start(**more: str) -> Invoke:
        port, runtime_api = free_port(), free_port()
        command = [str(RIE), "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
        command += ["--runtime-api-address", f"127.0.0.1:{runtime_api}", tintype]
        environment = clean_environment | settings(weed.url, endpoint.url, TINTYPE_ALLOW_ANONYMOUS="true", **more)
        service = listening(command, port, environment, tmp_path_factory.mktemp("rie") / "log")
        started.append(service)
        url = f"{service.url}/2015-03-31/functions/function/invocations"
        return lambda event: requests.post(url, json=event, timeout=120).json()

    yield start
    for service in started:
        service.stop()


@pytest.fixture
def cargo_lambda(
    tintype: str,
    clean_environment: dict[str, str],
    tmp_path_factory: pytest.TempPathFactory,
    weed: Service,
    endpoint: Endpoint,
) -> Iterator[Callable[..., Invoke]]:
    """Starts the function with cargo-lambda's emulator of the Runtime API."""
    stop = []

    def start(**more: str) -> Invoke:
        port, folder = free_port(), tmp_path_factory.mktemp("cargo-lambda")
        command = [own_program("cargo-lambda"), "lambda", "watch", "--only-lambda-apis"]
        command += ["--invoke-address", "127.0.0.1", "--invoke-port", str(port)]
        # cargo-lambda needs the folder of a package.
        (folder / "src").mkdir()
        (folder / "src/main.rs").write_text("fn main() {}")
        (folder / "Cargo.toml").write_text('[package]\nname = "tintype"\nversion = "0.1.0"\nedition = "2024"\n')
        service = listening(command, port, clean_environment, folder / "log")
        stop.append(service.stop)
        own = settings(weed.url, endpoint.url, TINTYPE_ALLOW_ANONYMOUS="true", **more)
        # cargo-lambda uses a URL with a path; Lambda uses an address only.
        own["AWS_LAMBDA_RUNTIME_API"] = f"{service.url}/.rt/tintype"
        function = start_function(tintype, tmp_path_factory.mktemp("function"), clean_environment | own)
        stop.append(function.stop)
        url = f"{service.url}/2015-03-31/functions/tintype/invocations"
        return lambda event: requests.post(url, json=event, timeout=120).json()

    yield start
    for step in reversed(stop):
        step()


@pytest.mark.parametrize("emulator", ["rie", "cargo_lambda"])
def test_all_kinds_of_events(emulator: str, request: pytest.FixtureRequest, endpoint: Endpoint) -> None:
    invoke = request.getfixturevalue(emulator)()
    for event in [
        rest("GET", "/generate", PROMPT),
        http("GET", "/generate", PROMPT),
        http("GET", "/generate", PROMPT, stage="prod"),
        rest("POST", "/v1/images", body=PROMPT),
    ]:
        answer = invoke(event)
        assert answer["statusCode"] in (200, 201), answer
        made = json.loads(answer["body"])
        assert made["prompt"] == PROMPT["prompt"]
        url = made["url"] if "url" in made else made["images"][0]["url"]
        assert requests.get(url, timeout=30).content == endpoint.picture
    assert len(endpoint.calls) == 4


@pytest.mark.parametrize("emulator", ["rie", "cargo_lambda"])
def test_a_late_image_is_fetched_later(
    emulator: str, request: pytest.FixtureRequest, endpoint: Endpoint
) -> None:
    invoke = request.getfixturevalue(emulator)(TINTYPE_RESPOND_WITHIN="1s")
    endpoint.seconds = 3
    answer = invoke(rest("GET", "/generate", PROMPT))
    assert answer["statusCode"] == 202, answer
    late = json.loads(answer["body"])
    # Both emulators send an event only when the function polls for it, and by then the image is stored. The
    # emulators cannot show when the client gets the first response, because RIE holds it until that poll.
    # test_lambda.py shows that the function responds immediately.
    done = json.loads(invoke(rest("GET", f"/v1/images/{late['id']}"))["body"])
    assert done["status"] == "succeeded", done
    assert requests.get(done["images"][0]["url"], timeout=30).content == endpoint.picture
    assert len(endpoint.calls) == 1


def test_the_function_responds_before_its_timeout(rie: Callable[..., Invoke], endpoint: Endpoint) -> None:
    invoke = rie(AWS_LAMBDA_FUNCTION_TIMEOUT="10")
    endpoint.seconds = 60
    answer = invoke(rest("GET", "/generate", PROMPT))
    assert answer.get("statusCode") == 202, answer
    failed = json.loads(invoke(rest("GET", f"/v1/images/{json.loads(answer['body'])['id']}"))["body"])
    assert (failed["status"], failed["error"]["reason"]) == ("failed", "outcome_unknown"), failed
    assert len(endpoint.calls) == 1
