"""Models that are loaded on demand and do not fit into the memory together."""

from __future__ import annotations

import re
import sys
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests
from conftest import Server

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "models/emoji/weights"
"""A model whose weights need far more memory than a request."""

WEIGHTS = 142_000_000
"""The memory of its weights in bytes: the 71 MB of the files in 16 bits, converted to 32 bits."""
BUDGET = "180MB"
"""More than one model needs, and less than two."""

REQUESTS = 200
THREADS = 4
SMALL = {"width": 64, "height": 64, "steps": 1}


def tables(names: list[str], load: str) -> str:
    return "".join(f'[models.{name}]\nengine = "{FOLDER}"\nload = "{load}"\n' for name in names)


def generate(server: Server, model: str, seed: int) -> requests.Response:
    body = {"prompt": "a tiger", "model": model, "seed": seed} | SMALL
    return requests.post(f"{server.url}/v1/images", json=body, timeout=300)


def states(server: Server) -> dict[str, str]:
    models = requests.get(f"{server.url}/v1/models", timeout=60).json()["data"]
    return {model["id"]: model["state"] for model in models if "state" in model}


def peak_memory(server: Server) -> int:
    """The maximum resident memory of the process so far, in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    match = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.M)
    assert match
    return int(match.group(1)) << 10


def request_in_turns(server: Server, models: list[str]) -> tuple[Counter[int], Counter[str]]:
    """Requests images of all models in turns, from several threads, and looks at the states meanwhile."""
    statuses: Counter[int] = Counter()
    seen: Counter[str] = Counter()
    finished = threading.Event()

    def watch() -> None:
        were_together = False
        while not finished.is_set():
            now = states(server)
            seen.update(now.values())
            are_together = sum(state != "unloaded" for state in now.values()) > 1
            # The states in one response are not of the same instant. Loading takes many times as long as a response.
            seen["together"] += were_together and are_together
            were_together = are_together
            finished.wait(0.01)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with ThreadPoolExecutor(THREADS) as pool:
            calls = [pool.submit(generate, server, models[seed % len(models)], seed) for seed in range(REQUESTS)]
            statuses.update(call.result().status_code for call in calls)
    finally:
        finished.set()
        watcher.join()
    return statuses, seen


@pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of the process from /proc")
def test_models_that_do_not_fit_together_take_turns(start_server: Callable[..., Server], tmp_path: Path) -> None:
    config = tmp_path / "one.toml"
    config.write_text(tables(["a"], "start"))
    alone = start_server("--config", str(config))
    statuses, _ = request_in_turns(alone, ["a"])
    assert statuses == {201: REQUESTS}
    with_one_model = peak_memory(alone)
    assert alone.stop() == 0

    config = tmp_path / "two.toml"
    config.write_text(f'models_memory = "{BUDGET}"\n' + tables(["a", "b"], "on_demand"))
    server = start_server("--config", str(config))
    assert states(server) == {"a": "unloaded", "b": "unloaded"}, "nothing is loaded before the first request"
    statuses, seen = request_in_turns(server, ["a", "b"])
    assert statuses == {201: REQUESTS}
    assert seen["loaded"] > 0 and seen["unloaded"] > 0
    assert seen["together"] == 0, seen
    assert server.log.read_text().count("unloading model") >= 2, "both models were replaced"
    assert peak_memory(server) < with_one_model + WEIGHTS * 2 // 3
