"""Fixtures: the real binary on a free port, with its own data folder."""

from __future__ import annotations

import configparser
import os
import re
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from collector import Collector

START_SECONDS = 120
"""Time limit for the start of a server. A start takes one or two seconds, and longer on a busy machine."""


@dataclass
class Server:
    """A running `tintype serve`."""

    process: subprocess.Popen[str]
    url: str
    ready_line: str
    data_dir: Path
    bucket: str = "tintype"
    log: Path = field(default_factory=Path)

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1])

    def _credential(self, name: str) -> str:
        parser = configparser.ConfigParser()
        parser.read(self.data_dir / "credentials")
        return parser["default"][name]

    @property
    def access_key(self) -> str:
        return self._credential("aws_access_key_id")

    @property
    def secret_key(self) -> str:
        return self._credential("aws_secret_access_key")

    def stop(self, how: signal.Signals = signal.SIGTERM, timeout: float = 60) -> int:
        """Sends a signal and returns the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        status = self.process.wait(timeout)
        if self.process.stdout:
            self.process.stdout.close()
        return status


@pytest.fixture(scope="session")
def tintype() -> str:
    """The path of the binary under test; `cargo xtask e2e` sets it."""
    return os.environ["TINTYPE_BIN"]


@pytest.fixture(scope="session")
def clean_environment() -> dict[str, str]:
    """The environment without the variables that configure tintype or an AWS client."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("TINTYPE_", "AWS_"))}


@pytest.fixture(scope="session")
def start_server(
    tintype: str, clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[..., Server]]:
    """Starts servers: `start_server("--no-get", data_dir=…, env={…})`. All are stopped at the end."""
    servers: list[Server] = []

    def start(*flags: str, data_dir: Path | None = None, env: dict[str, str] | None = None) -> Server:
        data_dir = data_dir or tmp_path_factory.mktemp("data")
        working_dir = tmp_path_factory.mktemp("cwd")
        log = working_dir / "log"
        with log.open("w") as stderr:
            process = subprocess.Popen(
                [tintype, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir), *flags],
                cwd=working_dir,
                env=clean_environment | (env or {}),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        line = ready_line(process, log)
        url = re.search(r"http://[^/\s]+", line)
        assert url, f"no link in the ready line: {line!r}"
        server = Server(process, url.group(), line, data_dir, log=log)
        servers.append(server)
        return server

    yield start
    for server in servers:
        if server.process.poll() is None:
            server.stop(signal.SIGKILL)


def ready_line(process: subprocess.Popen[str], log: Path) -> str:
    """Waits for the ready line, the first line on standard output."""
    assert process.stdout
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        readable, _, _ = select.select([process.stdout], [], [], 0.5)
        if readable and (line := process.stdout.readline()):
            return line
    process.kill()
    raise AssertionError(f"the server did not become ready; its log:\n{log.read_text()}")


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server]) -> Server:
    """One server that all tests share unless they need other settings."""
    return start_server()


@pytest.fixture(scope="session")
def run(
    tintype: str, clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., tuple[int, str, str]]:
    """Runs the binary to its end: `run("config", cwd=…, env={…})` returns status, stdout and stderr."""

    def run(*arguments: str, cwd: Path | None = None, env: dict[str, str] | None = None) -> tuple[int, str, str]:
        done = subprocess.run(
            [tintype, *arguments],
            cwd=cwd or tmp_path_factory.mktemp("cwd"),
            env=clean_environment | (env or {}),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=600,
        )
        return done.returncode, done.stdout, done.stderr

    return run


@pytest.fixture
def collector() -> Iterator[Collector]:
    """A running OpenTelemetry collector."""
    collector = Collector()
    thread = threading.Thread(target=collector.serve_forever)
    thread.start()
    yield collector
    collector.shutdown()
    thread.join()
    collector.server_close()
