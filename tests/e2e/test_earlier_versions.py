"""Data folders that earlier versions have written. `tests/data/version-0.1/README.md` describes them."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from conftest import Server

Run = Callable[..., tuple[int, str, str]]

FOLDERS = Path(__file__).parent.parent / "data" / "version-0.1"
FOREVER = ("--keep", "forever", "--keep-jobs", "forever")
SECONDS = 120
"""Time limit for the jobs."""


class Shift:
    """Moves stored times, so that the folder looks as if the server was killed a minute ago.

    Idempotency keys and usage are kept for a limited time. The ids of jobs contain times too, which stay as they are.
    """

    def __init__(self, written: str) -> None:
        was = datetime.fromisoformat(written)
        now = datetime.now(timezone.utc) - timedelta(minutes=1)
        self.by = now - was
        self.dates = (was.date().isoformat(), now.date().isoformat())

    def text(self, text: str) -> str:
        def moved(match: re.Match[str]) -> str:
            at = datetime.fromisoformat(match[1] + "+00:00") + self.by
            return at.strftime("%Y-%m-%dT%H:%M:%S") + (match[2] or "") + "Z"

        text = re.sub(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?Z", moved, text)
        return text.replace(f'"{self.dates[0]}"', f'"{self.dates[1]}"')

    def nanoseconds(self, at: int | None) -> int | None:
        return None if at is None else at + int(self.by.total_seconds()) * 10**9

    def database(self, path: Path) -> None:
        database = sqlite3.connect(path)
        database.create_function("moved_text", 1, self.text)
        database.create_function("moved", 1, self.nanoseconds)
        database.executescript(
            f"""
            UPDATE keys SET record = moved_text(record);
            UPDATE accounts SET arrival = moved(arrival);
            UPDATE days SET day = '{self.dates[1]}', usage = moved_text(usage);
            UPDATE jobs SET record = moved_text(record), deadline = moved(deadline), lease_until = moved(lease_until);
            UPDATE idempotency SET created = moved(created);
            """
        )
        database.close()

    def bucket(self, server: Server) -> None:
        s3 = boto3.client(
            "s3",
            endpoint_url=server.url,
            aws_access_key_id=server.access_key,
            aws_secret_access_key=server.secret_key,
            region_name="us-east-1",
        )
        for prefix in ("keys/", "usage/", "jobs/", "idem/"):
            for found in s3.list_objects_v2(Bucket=server.bucket, Prefix=prefix)["Contents"]:
                place = {"Bucket": server.bucket, "Key": found["Key"]}
                text = s3.get_object(**place)["Body"].read().decode()
                s3.put_object(**place, Body=self.text(text).encode(), ContentType="application/json")


@dataclass
class Opened:
    """A server on a copy of a folder."""

    server: Server
    ledger: str
    facts: dict[str, Any]
    data_dir: Path
    day: str

    def call(self, method: str, path: str, **more: Any) -> requests.Response:
        headers = {"authorization": f"Bearer {self.facts['api_key']}", **more.pop("headers", {})}
        return requests.request(method, self.server.url + path, headers=headers, timeout=300, **more)

    def id(self, name: str) -> str:
        return self.facts["jobs"][name]["answer"]["id"]

    def repeat(self, name: str, **more: Any) -> requests.Response:
        """Sends the request of a job again."""
        return self.call("POST", "/v1/images", json=self.facts["jobs"][name]["request"], **more)


@pytest.fixture(scope="module", params=["sqlite", "bucket"])
def opened(
    request: pytest.FixtureRequest, start_server: Callable[..., Server], tmp_path_factory: pytest.TempPathFactory
) -> Opened:
    ledger = request.param
    facts = json.loads((FOLDERS / ledger / "facts.json").read_text())
    data_dir = tmp_path_factory.mktemp("version-0.1") / "data"
    shutil.copytree(FOLDERS / ledger / "data", data_dir)
    shift = Shift(facts["written"])
    if ledger == "sqlite":
        shift.database(data_dir / "ledger.db")
    else:
        # This server uses only the store of the folder: its ledger is in another one.
        store = start_server(*FOREVER, data_dir=data_dir)
        shift.bucket(store)
        store.stop(signal.SIGTERM)
        (data_dir / "ledger.db").unlink()
    server = start_server("--ledger", ledger, "--price", "0.01usd", *FOREVER, data_dir=data_dir)
    return Opened(server, ledger, facts, data_dir, shift.dates[1])


def test_open_jobs_run_to_their_end(opened: Opened) -> None:
    waiting = [name for name in opened.facts["jobs"] if name == "running" or name.startswith("queued")]
    assert len(waiting) == 4
    until = time.monotonic() + SECONDS
    for name in waiting:
        while (job := opened.call("GET", f"/v1/images/{opened.id(name)}").json())["status"] in ("queued", "running"):
            assert time.monotonic() < until, job
            time.sleep(0.05)
        assert (job["status"], job["model"]) == ("succeeded", "emoji"), job
        assert job["seed"] == opened.facts["jobs"][name]["request"]["seed"]
        image = requests.get(job["images"][0]["url"], timeout=30)
        assert (image.status_code, image.headers["content-type"]) == (200, "image/jpeg")


def test_a_stored_image_answers_the_same_request(opened: Opened) -> None:
    for name in ("seeded", "idempotent"):
        answer = opened.repeat(name).json()
        assert (answer["id"], answer["cache"]) == (opened.id(name), "hit")
        assert requests.get(answer["images"][0]["url"], timeout=30).status_code == 200


def test_a_request_without_a_seed_gets_a_new_image(opened: Opened) -> None:
    answer = opened.repeat("random").json()
    assert answer["status"] == "succeeded"
    assert "cache" not in answer and answer["id"] != opened.id("random")


def test_an_idempotency_key_answers_with_its_job(opened: Opened) -> None:
    key = {"idempotency-key": opened.facts["jobs"]["idempotent"]["idempotency_key"]}
    replayed = opened.repeat("idempotent", headers=key)
    assert (replayed.json()["id"], replayed.headers["idempotency-replayed"]) == (opened.id("idempotent"), "true")
    conflict = opened.repeat("seeded", headers=key)
    assert conflict.status_code == 422, conflict.text


def test_the_api_key_has_its_limits_and_usage(opened: Opened) -> None:
    usage = opened.call("GET", "/v1/usage", params={"from": opened.day, "to": opened.day}).json()
    # Version 0.1 has accepted nine jobs, and three of them succeeded before the deletion of a fourth.
    assert usage["data"][0]["jobs"] >= 9 and usage["data"][0]["pictures"] >= 4, usage
    assert float(usage["data"][0]["amounts"][0]["amount"]) > 0
    limits = [limit["limit"] for limit in usage["limits"]]
    assert limits == ["rate 600/min", "concurrency 50", "budget 3600s/day", "budget 5usd/month"]
    unknown = requests.get(f"{opened.server.url}/v1/usage", headers={"x-api-key": "tt_unknown"}, timeout=30)
    assert unknown.status_code == 401


def test_jobs_are_listed_as_before(opened: Opened) -> None:
    listed = opened.call("GET", "/v1/images", params={"limit": 100}).json()["data"]
    found = {job["id"]: job for job in listed}
    assert {opened.id(name) for name in opened.facts["jobs"]} <= found.keys()
    assert [job["id"] for job in listed] == sorted(found, reverse=True), "newest first"
    assert found[opened.facts["canceled"]]["status"] == "canceled"
    for name in ("seeded", "random", "idempotent"):
        assert found[opened.id(name)]["prompt"] == opened.facts["jobs"][name]["request"]["prompt"]
    deleted = opened.facts["deleted"]
    assert deleted not in found
    assert opened.call("GET", f"/v1/images/{deleted}").status_code == 404


def test_all_records_are_readable_and_reservations_are_released(opened: Opened, run: Run) -> None:
    usage = opened.call("GET", "/v1/usage", params={"from": opened.day, "to": opened.day}).json()
    assert usage["data"][0]["reserved_engine_seconds"] == 0, usage
    assert opened.server.stop(signal.SIGTERM) == 0
    check = ("ledger", "check", "--json", "--ledger", opened.ledger, "--data-dir", str(opened.data_dir))
    status, out, err = run(*check)
    assert (status, json.loads(out)["unreadable"]) == (0, []), err
