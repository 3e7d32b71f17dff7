"""One load tool for every candidate, and what a server takes of the machine meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


@dataclass
class Target:
    """What is asked, over and over."""

    url: str
    pid: int
    """Whose processor time counts."""
    body: str | None = None
    """Sent by POST; a GET if there is none."""
    key: str | None = None


@dataclass
class Figures:
    """What came of a load."""

    rate: float
    """Good answers per second."""
    cpu_ms: float
    """Milliseconds of processor time that the server took for one of them, all its threads together."""
    p50: float
    """Milliseconds."""
    p99: float

    @property
    def per_core(self) -> float:
        """Answers per second of processor time."""
        return 1000 / self.cpu_ms


@dataclass
class Oha:
    """The tool `oha`."""

    program: str
    seconds: float

    def closed(self, target: Target, connections: int) -> Figures:
        """Every connection asks again as soon as it is answered."""
        return self._run(target, ["-c", str(connections)])

    def open(self, target: Target, rate: int, connections: int) -> Figures:
        """So many requests per second, whether the ones before are answered or not: times are counted from when a request
        was due, so that a server that stalls is charged for all that came due meanwhile."""
        return self._run(target, ["-c", str(connections), "-q", str(rate), "--latency-correction"])

    def _run(self, target: Target, how: list[str]) -> Figures:
        command = [self.program, "--no-tui", "--output-format", "json", "-w", "-z", f"{self.seconds}s", *how]
        if target.key:
            command += ["-H", f"Authorization: Bearer {target.key}"]
        if target.body is not None:
            command += ["-m", "POST", "-T", "application/json", "-d", target.body]
        before = cpu_seconds(target.pid)
        done = subprocess.run([*command, target.url], check=True, capture_output=True, text=True)
        took = cpu_seconds(target.pid) - before
        told = json.loads(done.stdout)
        statuses, errors = told["statusCodeDistribution"], told["errorDistribution"]
        good = statuses.pop("200", 0)
        # Requests that were on their way when the time was over are no errors of the server's.
        errors.pop("aborted due to deadline", None)
        assert good and not statuses and not errors, (target.url, statuses, errors)
        times = told["latencyPercentiles"]
        elapsed = told["summary"]["total"]
        return Figures(good / elapsed, took * 1000 / good, times["p50"] * 1000, times["p99"] * 1000)


def cpu_seconds(pid: int) -> float:
    """Processor time that a process and its children have taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK + sum(cpu_seconds(child) for child in children(pid))


def children(pid: int) -> list[int]:
    found = []
    for task in os.listdir(f"/proc/{pid}/task"):
        found += [int(child) for child in Path(f"/proc/{pid}/task/{task}/children").read_text().split()]
    return found


def resident_mib(pid: int) -> float:
    """Memory that a process holds."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) / 1024
