"""Fixtures: the binary, and emulators of AWS on free local ports."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import accounts
import pytest

if TYPE_CHECKING:
    from runtime_api import Endpoint

START_SECONDS = 60
"""Time limit for the start of a server. A start takes one or two seconds, and longer on a busy machine."""

ROOT = Path(__file__).parents[2]
TEMPLATE = ROOT / "deploy/aws/template.yaml"


@pytest.fixture(scope="session")
def tintype() -> str:
    """The path of the binary under test; `cargo xtask referees` sets it."""
    return os.environ["TINTYPE_BIN"]


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """The environment without the variables that configure tintype or an AWS client."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("TINTYPE_", "AWS_"))}


def own_program(name: str) -> str:
    """The path of a program in the Python environment of these tests."""
    return str(Path(sys.executable).with_name(name))


def free_port() -> int:
    """A free port. These servers cannot report a port that they choose themselves."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


@dataclass
class Service:
    """A running emulator or server."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def listening(command: list[str], port: int, environment: dict[str, str], log: Path) -> Service:
    """Starts a server and waits until it listens."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, cwd=log.parent
        )
    service = Service(process, f"http://127.0.0.1:{port}", log)
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return service
        except OSError:
            time.sleep(0.1)
    service.stop()
    raise AssertionError(f"{command[0]} did not start:\n{log.read_text()}")


@pytest.fixture(scope="session")
def aws_environment(clean_environment: dict[str, str]) -> Callable[..., dict[str, str]]:
    """The environment of an AWS client: `aws_environment(AWS_ENDPOINT_URL=…)`."""

    def environment(**more: str) -> dict[str, str]:
        credentials = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}
        no_files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
        return clean_environment | credentials | no_files | {"AWS_EC2_METADATA_DISABLED": "true"} | more

    return environment


@pytest.fixture(scope="session")
def start_ministack(
    tmp_path_factory: pytest.TempPathFactory, aws_environment: Callable[..., dict[str, str]]
) -> Iterator[Callable[..., Service]]:
    """Starts MiniStack, which runs Lambda functions as processes with `more` in their environment."""
    started: list[Service] = []

    def start(**more: str) -> Service:
        port = free_port()
        own = {
            "BIND_HOST": "127.0.0.1",
            "MINISTACK_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(port),
            "EDGE_PORT": str(port),
            "LAMBDA_EXECUTOR": "local",
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
        }
        log = tmp_path_factory.mktemp("ministack") / "log"
        service = listening([os.environ["TINTYPE_MINISTACK"]], port, aws_environment(**own, **more), log)
        started.append(service)
        return service

    yield start
    for service in started:
        service.stop()


@pytest.fixture(scope="session")
def moto(tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str]) -> Iterator[Service]:
    """A moto server."""
    port = free_port()
    command = [own_program("moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    service = listening(command, port, clean_environment, tmp_path_factory.mktemp("moto") / "log")
    yield service
    service.stop()


@pytest.fixture
def account(
    start_ministack: Callable[..., Service], tintype: str, aws_environment: Callable[..., dict[str, str]]
) -> Iterator[Callable[..., accounts.Aws]]:
    """Creates an empty account: `account(AWS_ENDPOINT_URL_SAGEMAKER=…)`."""
    started: list[Service] = []

    def start(**more: str) -> accounts.Aws:
        service = start_ministack(**more)
        started.append(service)
        return accounts.Aws(service, tintype, aws_environment(AWS_ENDPOINT_URL=service.url, **more))

    yield start
    for service in started:
        service.stop()


@contextmanager
def serving(tintype: str, environment: dict[str, str], folder: Path) -> Iterator[str]:
    """Runs `tintype serve` with its data in `folder/data`. Yields its URL when it is ready."""
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [tintype, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(folder / "data")],
            env=environment, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    try:
        assert server.stdout
        found = re.search(r"http://[^/\s]+", server.stdout.readline())
        assert found, (folder / "log").read_text()
        yield found.group()
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def container(tintype: str, clean_environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    """The binary as the container of an endpoint, with the built-in model."""
    port = free_port()
    environment = clean_environment | {"SAGEMAKER_BIND_TO_PORT": str(port)}
    command = [tintype, "serve", "--sagemaker", "--data-dir", str(tmp_path / "data")]
    service = listening(command, port, environment, tmp_path / "log")
    yield service
    service.stop()


@pytest.fixture
def front(container: Service) -> Iterator[accounts.SageMakerFront]:
    """SageMaker's Runtime API in front of the container."""
    server = accounts.SageMakerFront(container.url)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory, clean_environment: dict[str, str]) -> Iterator[Service]:
    """SeaweedFS with an empty bucket."""
    # Imported here, because `functions` imports this module.
    from functions import start_weed

    service = start_weed(tmp_path_factory.mktemp("weed"), clean_environment)
    yield service
    service.stop()


@pytest.fixture
def endpoint() -> Endpoint:
    """A SageMaker endpoint with an adjustable response time."""
    from runtime_api import Endpoint

    return Endpoint()
