"""Writes the data folders of this directory with a binary of version 0.1.

Usage: make.py BINARY
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SMALL = {"width": 64, "height": 64, "steps": 1}
LONG = {"width": 64, "height": 64, "steps": 150}


class Api:
    """The API of a server, with an API key."""

    def __init__(self, url: str, key: str) -> None:
        self.url, self.key = url, key

    def call(self, method: str, path: str, body: object = None, **headers: str) -> dict[str, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"authorization": f"Bearer {self.key}", "content-type": "application/json", **named},
        )
        with urllib.request.urlopen(request, timeout=300) as response:
            return json.loads(response.read() or "{}")

    def create(self, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        return self.call("POST", "/v1/images", body, **headers)


def write_folder(binary: str, ledger: str, folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    data = folder / "data"
    data.mkdir(parents=True)
    settings = ["--data-dir", str(data), "--ledger", ledger, "--config", "/dev/null"]
    limits = ["--rate", "600/min", "--concurrency", "50", "--budget", "3600s/day", "--budget", "5usd/month"]
    create = [binary, "keys", "create", "--name", "acme", "--owner", "acme", *limits, *settings]
    key = subprocess.run(create, check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    serve = [binary, "serve", "--listen", "127.0.0.1:0", "--price", "0.01usd", *settings]
    server = subprocess.Popen(serve, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    url = re.search(r"http://[^/\s]+", server.stdout.readline())
    assert url
    api = Api(url.group(), key)

    seeded = {"prompt": "a tiger", "seed": 7, **SMALL}
    random = {"prompt": "an apple", **SMALL}
    idempotent = {"prompt": "a house", "seed": 8, **SMALL}
    jobs = {
        "seeded": {"request": seeded, "answer": api.create(seeded)},
        "random": {"request": random, "answer": api.create(random)},
        "idempotent": {
            "request": idempotent,
            "idempotency_key": "order-1",
            "answer": api.create(idempotent, idempotency_key="order-1"),
        },
    }
    deleted = api.create({"prompt": "a secret", "seed": 9, **SMALL})
    api.call("DELETE", f"/v1/images/{deleted['id']}")

    later = {"prefer": "respond-async"}
    running = {"prompt": "a rocket", "seed": 10, **LONG}
    jobs["running"] = {"request": running, "answer": api.create(running, **later)}
    for number in range(3):
        queued = {"prompt": "a cat", "seed": 20 + number, **SMALL}
        jobs[f"queued {number}"] = {"request": queued, "answer": api.create(queued, **later)}
    canceled = api.create({"prompt": "a dog", "seed": 11, **SMALL}, **later)
    api.call("POST", f"/v1/images/{canceled['id']}/cancel")
    while (state := api.call("GET", f"/v1/images/{jobs['running']['answer']['id']}")["status"]) != "running":
        assert state == "queued", state
    server.send_signal(signal.SIGKILL)
    server.wait()

    (data / "store" / "lock").unlink(missing_ok=True)
    (data / "serve.lock").unlink(missing_ok=True)
    if ledger == "sqlite":
        # Copies the write-ahead log into the database, as the next start would.
        database = sqlite3.connect(data / "ledger.db")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
    shown = {name: {**job, "answer": {m: job["answer"].get(m) for m in ("id", "status")}} for name, job in jobs.items()}
    facts = {
        "written": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "api_key": key,
        "jobs": shown,
        "canceled": canceled["id"],
        "deleted": deleted["id"],
    }
    (folder / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")


def main() -> None:
    for ledger in ("sqlite", "bucket"):
        write_folder(sys.argv[1], ledger, HERE / ledger)


main()
