"""Jobs: asynchronous requests, events, cancellation, idempotency keys, and recovery after a kill."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests
from conftest import Server

ASYNC = {"Prefer": "respond-async"}
SECONDS = 120
"""Time limit for a job."""


def post(server: Server, headers: dict[str, str] | None = None, **body: object) -> requests.Response:
    wanted = {"prompt": "apple", "steps": 2, **body}
    return requests.post(f"{server.url}/v1/images", json=wanted, headers=headers, timeout=300)


def get(server: Server, id: str) -> dict[str, object]:
    return requests.get(f"{server.url}/v1/images/{id}", timeout=30).json()


def wait_for_end(server: Server, id: str) -> dict[str, object]:
    """Waits until the job has ended."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        image = get(server, id)
        if image["status"] not in ("queued", "running"):
            return image
        time.sleep(0.05)
    raise AssertionError(f"{id} did not end")


def events(server: Server, id: str) -> Iterator[tuple[str, dict[str, object]]]:
    """The names and data of the job's server-sent events."""
    with requests.get(f"{server.url}/v1/images/{id}/events", stream=True, timeout=SECONDS) as stream:
        assert stream.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in stream.iter_lines(decode_unicode=True):
            if line.startswith("event:"):
                name = line.removeprefix("event:").strip()
            elif line.startswith("data:"):
                yield name, json.loads(line.removeprefix("data:"))


def test_an_asynchronous_job_is_accepted_immediately(server: Server) -> None:
    answer = post(server, ASYNC, n=2, seed=1)
    assert (answer.status_code, answer.headers["preference-applied"]) == (202, "respond-async")
    id = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/images/{id}"
    image = wait_for_end(server, id)
    assert image["status"] == "succeeded"
    assert [picture["seed"] for picture in image["images"]] == [1, 2]  # type: ignore[attr-defined]
    content = requests.get(f"{server.url}/v1/images/{id}/content?index=1", timeout=30)
    assert (content.status_code, content.headers["content-type"]) == (200, "image/jpeg")


def test_the_list_has_the_newest_jobs_first_and_has_pages(server: Server) -> None:
    made = [post(server).json()["id"] for _ in range(3)]

    def page(**query: object) -> tuple[list[str], str]:
        answer = requests.get(f"{server.url}/v1/images", params=query, timeout=30).json()
        return [image["id"] for image in answer["data"]], answer.get("next_cursor", "")

    first, cursor = page(limit=2)
    assert first == [made[2], made[1]]
    assert page(limit=1, cursor=cursor)[0] == [made[0]]


def test_events_have_progress_and_previews(server: Server) -> None:
    id = post(server, ASYNC, steps=150).json()["id"]
    seen = list(events(server, id))
    names = [name for name, _ in seen]
    assert names[-1] == "succeeded" and seen[-1][1]["images"]
    progress = [data for name, data in seen if name == "progress"]
    assert [data["step"] for data in progress] == sorted(data["step"] for data in progress)  # type: ignore[type-var]
    previews = [str(data["preview"]) for data in progress if "preview" in data]
    assert previews and all(preview.startswith("data:image/jpeg;base64,") for preview in previews)
    # A client that connects after the end gets only the final event.
    assert [name for name, _ in events(server, id)] == ["succeeded"]


def test_a_canceled_job_stops(server: Server) -> None:
    id = post(server, ASYNC, steps=150, n=1).json()["id"]
    waiting = post(server, ASYNC, steps=150).json()["id"]
    for each in (waiting, id):
        assert requests.post(f"{server.url}/v1/images/{each}/cancel", timeout=30).status_code == 200
    assert {wait_for_end(server, each)["status"] for each in (waiting, id)} == {"canceled"}
    assert requests.get(f"{server.url}/v1/images/{id}/content", timeout=30).status_code == 409


def test_deleting_a_job_deletes_its_image(server: Server) -> None:
    image = post(server).json()
    url = image["images"][0]["url"]
    assert requests.get(url, timeout=30).status_code == 200
    assert requests.delete(f"{server.url}/v1/images/{image['id']}", timeout=30).status_code == 204
    assert requests.get(url, timeout=30).status_code == 404
    assert requests.get(f"{server.url}/v1/images/{image['id']}", timeout=30).status_code == 404


def test_prefer_wait_limits_the_waiting_time(server: Server) -> None:
    soon = post(server, {"Prefer": "wait=100"})
    assert (soon.status_code, soon.headers["preference-applied"]) == (201, "wait=100")
    later = post(server, {"Prefer": "wait=0"}, steps=100)
    assert later.status_code == 202
    assert wait_for_end(server, later.json()["id"])["status"] == "succeeded"


def test_an_idempotency_key_runs_one_job(server: Server) -> None:
    key = {"Idempotency-Key": "order-1"}
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda _: post(server, key, prompt="cake"), range(8)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.json()["id"] for answer in answers}) == 1
    other = post(server, key, prompt="another cake")
    assert (other.status_code, other.headers["content-type"]) == (422, "application/problem+json")


def test_the_same_request_with_a_seed_is_a_cache_hit(server: Server) -> None:
    first, again = post(server, seed=77).json(), post(server, seed=77).json()
    assert (again["id"], again["cache"], again["cost"]["engine_seconds"]) == (first["id"], "hit", 0)
    assert requests.get(again["images"][0]["url"], timeout=30).status_code == 200


def test_a_get_that_takes_too_long_becomes_a_job(start_server: Callable[..., Server]) -> None:
    server = start_server("--respond-within", "1ms")
    answer = requests.get(f"{server.url}/generate", params={"prompt": "apple", "steps": 50}, timeout=60)
    assert answer.status_code == 202 and int(answer.headers["retry-after"]) >= 1
    assert wait_for_end(server, answer.headers["location"].rsplit("/", 1)[1])["status"] == "succeeded"


@pytest.mark.parametrize("ledger", ["sqlite", "bucket"])
def test_accepted_jobs_survive_a_kill(start_server: Callable[..., Server], ledger: str) -> None:
    server = start_server("--ledger", ledger)
    ids = [post(server, ASYNC, steps=20, seed=seed).json()["id"] for seed in range(6)]
    first = wait_for_end(server, ids[0])
    key = {"Idempotency-Key": "kept", **ASYNC}
    kept = post(server, key, steps=20).json()["id"]
    server.stop(signal.SIGKILL)
    server = start_server("--ledger", ledger, data_dir=server.data_dir)
    assert post(server, key, steps=20).json()["id"] == kept
    # With the bucket ledger, a job that was running belongs to the dead process until its lease has expired.
    after = [wait_for_end(server, id) for id in [*ids, kept]]
    assert {image["status"] for image in after} == {"succeeded"}
    assert after[0]["cost"] == first["cost"], "not generated again"


def test_metrics_count_generations_and_contain_no_prompts(server: Server) -> None:
    def generations() -> int:
        text = requests.get(f"{server.url}/metrics", timeout=30).text
        assert "a secret prompt" not in text
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("tintype_generations_total{"))

    before = generations()
    for _ in range(3):
        assert post(server, prompt="a secret prompt", seed=123).status_code == 201
    assert generations() == before + 1
    assert "a secret prompt" not in server.log.read_text()


def test_log_prompts_logs_prompts(start_server: Callable[..., Server]) -> None:
    server = start_server("--log-prompts")
    post(server, prompt="not a secret prompt")
    assert "not a secret prompt" in server.log.read_text()
