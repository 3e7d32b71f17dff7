"""Compares the Lambda function with the blog post's Python handler, with one emulator, endpoint and store.

Prints for each: the time from the start of the process to its request for the first event, the time of a
warm request without the model's time, and the resident memory. `cargo xtask bench lambda` passes the
binary with `--binary`.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
HANDLER = ROOT / "tests/e2e"
sys.path[:0] = [str(ROOT / "tests/referees")]

import requests  # noqa: E402
import samcli  # noqa: E402
from conftest import Service, free_port, listening  # noqa: E402
from events import rest  # noqa: E402
from functions import BUCKET, settings, start_weed  # noqa: E402
from runtime_api import Endpoint, RuntimeApi  # noqa: E402

RIE = Path(samcli.__file__).parent / "local/rapid/aws-lambda-rie-x86_64"
STARTS, ROUNDS, REQUESTS = 15, 5, 20


@dataclass
class Candidate:
    """A program that handles Lambda events."""

    name: str
    command: list[str]
    environment: dict[str, str]
    init: list[float] = field(default_factory=list)
    """Milliseconds from the start of the process to its request for the first event."""
    first: float = 0
    """Milliseconds of the first request."""
    warm: list[float] = field(default_factory=list)
    """Milliseconds of the later requests."""
    memory: float = 0
    """Resident memory after the requests, in MiB."""

    def start(self) -> None:
        """Measures one start, until the program asks for an event."""
        api = RuntimeApi()
        environment = self.environment | {"AWS_LAMBDA_RUNTIME_API": api.address}
        began = time.monotonic()
        process = subprocess.Popen(self.command, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.init.append((api.wait_until_polled(1) - began) * 1000)
        process.kill()
        process.wait()

    def serve(self, folder: Path) -> Service:
        """Starts the program in AWS's Runtime Interface Emulator."""
        port, runtime_api = free_port(), free_port()
        command = [str(RIE), "--runtime-interface-emulator-address", f"127.0.0.1:{port}"]
        command += ["--runtime-api-address", f"127.0.0.1:{runtime_api}", *self.command]
        return listening(command, port, self.environment, folder / f"{self.name}.log")

    def request(self, service: Service) -> float:
        """Sends one request. Returns its time in milliseconds."""
        url = f"{service.url}/2015-03-31/functions/function/invocations"
        event = rest("GET", "/generate", {"prompt": "a tiger"})
        began = time.monotonic()
        answer = requests.post(url, json=event, timeout=120).json()
        elapsed = (time.monotonic() - began) * 1000
        assert answer.get("statusCode") == 200, answer
        return elapsed


def resident_mib(parent: int) -> float:
    """Resident memory of the emulator's child process."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    others = [Path(f"/proc/{parent}/task/{task}/children").read_text().split() for task in os.listdir(f"/proc/{parent}/task")]
    child = (children + [pid for pids in others for pid in pids])[0]
    status = Path(f"/proc/{child}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024


def measure(candidates: list[Candidate], folder: Path) -> None:
    """Measures the candidates in turns, so that other work on the machine affects all of them."""
    for _ in range(STARTS):
        for candidate in candidates:
            candidate.start()
    services = [candidate.serve(folder) for candidate in candidates]
    try:
        for candidate, service in zip(candidates, services, strict=True):
            candidate.first = candidate.request(service)
        for _ in range(ROUNDS):
            for candidate, service in zip(candidates, services, strict=True):
                candidate.warm += [candidate.request(service) for _ in range(REQUESTS)]
        for candidate, service in zip(candidates, services, strict=True):
            candidate.memory = resident_mib(service.process.pid)
    finally:
        for service in services:
            service.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", type=Path, required=True, help="the `tintype` binary")
    binary = parser.parse_args().binary.resolve()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("TINTYPE_", "AWS_"))}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        weed, endpoint = start_weed(folder, clean), Endpoint()
        try:
            own = clean | settings(weed.url, endpoint.url, TINTYPE_ALLOW_ANONYMOUS="true")
            post = {k: v for k, v in own.items() if not k.startswith("TINTYPE_")} | {
                "AWS_ENDPOINT_URL_S3": weed.url,
                "AWS_DEFAULT_REGION": "us-east-1",
                "BUCKET_NAME": BUCKET,
                "ENDPOINT_NAME": "jumpstart-sd21",
                "PYTHONPATH": str(HANDLER),
                "LAMBDA_TASK_ROOT": str(HANDLER),
            }
            python = [sys.executable, "-m", "awslambdaric", "blog_post.lambda_handler"]
            candidates = [Candidate("tintype", [str(binary)], own), Candidate("python", python, post)]
            measure(candidates, folder)
        finally:
            weed.stop()
    table(candidates)


def table(candidates: list[Candidate]) -> None:
    names = {"tintype": "tintype", "python": "blog post's handler (Python, boto3)"}
    print("\n| | " + " | ".join(names[candidate.name] for candidate in candidates) + " |")
    print("| --- |" + " --- |" * len(candidates))
    rows = {
        "start to the request for the first event, median ms": lambda c: statistics.median(c.init),
        "first request, ms": lambda c: c.first,
        "warm request, median ms": lambda c: statistics.median(c.warm),
        "warm request, 90th percentile ms": lambda c: statistics.quantiles(c.warm, n=10)[-1],
        "resident memory, MiB": lambda c: c.memory,
    }
    for name, figure in rows.items():
        print(f"| {name} | " + " | ".join(f"{figure(candidate):.1f}" for candidate in candidates) + " |")


if __name__ == "__main__":
    main()
