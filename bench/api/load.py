"""The load generator `oha`, and the processor time and memory of the server under load."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Target:
    """The request that is repeated."""

    url: str
    pid: int
    """The process whose processor time counts."""
    body: str | None = None
    """The body of a POST; without it, the request is a GET."""
    key: str | None = None


@dataclass
class Figures:
    """The results of one load."""

    rate: float
    """Successful responses per second."""
    cpu_ms: float
    """The server's processor time per response in milliseconds, all threads together."""
    p50: float
    """Median latency in milliseconds."""
    p99: float
    """99th percentile of the latency in milliseconds."""

    @property
    def per_core(self) -> float:
        """Responses per second of processor time."""
        return 1000 / self.cpu_ms


@dataclass
class Oha:
    """The load generator `oha`."""

    program: str
    seconds: float

    def closed(self, target: Target, connections: int) -> Figures:
        """Each connection sends its next request when it has received the response."""
        return self._run(target, ["-c", str(connections)])

    def open(self, target: Target, rate: int, connections: int) -> Figures:
        """`rate` requests per second, whether or not earlier requests have been answered.

        Latency counts from the time at which a request was due, so a stall counts for all requests due
        meanwhile.
        """
        return self._run(target, ["-c", str(connections), "-q", str(rate), "--latency-correction"])

    def _run(self, target: Target, flags: list[str]) -> Figures:
        command = [self.program, "--no-tui", "--output-format", "json", "-w", "-z", f"{self.seconds}s", *flags]
        if target.key:
            command += ["-H", f"Authorization: Bearer {target.key}"]
        if target.body is not None:
            command += ["-m", "POST", "-T", "application/json", "-d", target.body]
        before = cpu_seconds(target.pid)
        done = subprocess.run([*command, target.url], check=True, capture_output=True, text=True)
        used = cpu_seconds(target.pid) - before
        report = json.loads(done.stdout)
        statuses, errors = report["statusCodeDistribution"], report["errorDistribution"]
        good = statuses.pop("200", 0)
        # Requests that were in flight at the end of the load are not errors of the server.
        errors.pop("aborted due to deadline", None)
        assert good and not statuses and not errors, (target.url, statuses, errors)
        times = report["latencyPercentiles"]
        elapsed = report["summary"]["total"]
        return Figures(good / elapsed, used * 1000 / good, times["p50"] * 1000, times["p99"] * 1000)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process and its children in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK + sum(cpu_seconds(child) for child in children(pid))


def children(pid: int) -> list[int]:
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        found += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    return found


def resident_mib(pid: int) -> float:
    """Resident memory of a process."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024
