"""Backup and restoration of the ledger."""

from __future__ import annotations

import json
import queue
import signal
import sqlite3
import stat
import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from conftest import Server

Run = Callable[..., tuple[int, str, str]]
Ledger = Callable[..., tuple[int, str, str]]

SMALL = {"prompt": "apple", "width": 64, "height": 64, "steps": 1}


@pytest.fixture
def ledger(run: Run) -> Ledger:
    """Runs `tintype ledger COMMAND …` for a data folder."""

    def ledger(*arguments: str, data_dir: Path, kind: str = "sqlite", **more: object) -> tuple[int, str, str]:
        return run("ledger", *arguments, "--ledger", kind, "--data-dir", str(data_dir), **more)

    return ledger


def submit(server: Server, **more: object) -> str:
    body = {**SMALL, **more}
    answer = requests.post(f"{server.url}/v1/images", json=body, headers={"prefer": "respond-async"}, timeout=60)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def listed(server: Server) -> dict[str, str]:
    """The prompts of the latest jobs by their ids."""
    page = requests.get(f"{server.url}/v1/images", timeout=60).json()
    return {job["id"]: job["prompt"] for job in page["data"]}


def stored_jobs(database: Path) -> set[str]:
    """The ids of all jobs in an SQLite ledger."""
    connection = sqlite3.connect(database)
    found = {str(uuid.UUID(bytes=id)) for (id,) in connection.execute("SELECT id FROM jobs")}
    connection.close()
    return found


def test_a_backup_during_requests_has_every_job_that_was_accepted_before(
    start_server: Callable[..., Server], ledger: Ledger, tmp_path: Path
) -> None:
    server = start_server("--backlog", "100000")
    accepted: queue.Queue[str] = queue.Queue()
    stop = threading.Event()

    def submit_jobs() -> None:
        while not stop.is_set():
            accepted.put(submit(server))

    client = threading.Thread(target=submit_jobs)
    client.start()
    before: set[str] = set()
    try:
        for number in range(3):
            before |= {accepted.get(timeout=60) for _ in range(10)}
            backup, data_dir = tmp_path / f"backup-{number}", tmp_path / f"data-{number}"
            status, out, err = ledger("backup", str(backup), data_dir=server.data_dir)
            assert (status, out) == (0, ""), err
            status, _, err = ledger("restore", str(backup), data_dir=data_dir)
            assert status == 0, err
            assert before <= stored_jobs(data_dir / "ledger.db")
            check = ledger("check", "--json", data_dir=data_dir)
            assert (check[0], json.loads(check[1])["unreadable"]) == (0, [])
    finally:
        stop.set()
        client.join()
    restored = start_server("--backlog", "100000", data_dir=tmp_path / "data-2")
    for id in before:
        job = requests.get(f"{restored.url}/v1/images/{id}", timeout=30)
        assert job.status_code in (200, 202) and job.json()["status"] in ("queued", "running", "succeeded"), job.text


def test_a_backup_is_private_and_replaces_no_file(
    start_server: Callable[..., Server], ledger: Ledger, tmp_path: Path
) -> None:
    data_dir = tmp_path / "data"
    start_server(data_dir=data_dir)
    file = tmp_path / "backups" / "ledger"
    assert ledger("backup", str(file), data_dir=data_dir)[0] == 1, "the folder does not exist"
    file.parent.mkdir()
    assert ledger("backup", "ledger", data_dir=data_dir, cwd=file.parent)[0] == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_bytes(b"mine")
    status, _, err = ledger("backup", str(file), data_dir=data_dir)
    assert status == 1 and "--force" in err and file.read_bytes() == b"mine"
    assert ledger("backup", str(file), "--force", data_dir=data_dir)[0] == 0
    assert file.read_bytes().startswith(b"SQLite format 3\0")
    status, _, err = ledger("backup", str(data_dir / "ledger.db"), "--force", data_dir=data_dir)
    assert status == 1 and "is the ledger itself" in err
    status, _, err = ledger("backup", str(file), "--force", data_dir=tmp_path / "none")
    assert status == 1 and "the ledger does not exist" in err
    assert file.read_bytes().startswith(b"SQLite format 3\0"), "a failed backup replaces nothing"
    assert list(file.parent.iterdir()) == [file], "no temporary files"


@pytest.mark.parametrize("kind", ["sqlite", "bucket"])
def test_a_ledger_is_not_restored_while_a_server_runs(
    start_server: Callable[..., Server], ledger: Ledger, kind: str, tmp_path: Path
) -> None:
    empty = start_server("--ledger", kind)
    empty.stop(signal.SIGTERM)
    assert ledger("backup", str(tmp_path / "backup"), data_dir=empty.data_dir, kind=kind)[0] == 0
    server = start_server("--ledger", kind)
    status, _, err = ledger("restore", str(tmp_path / "backup"), data_dir=server.data_dir, kind=kind)
    assert status == 1 and "in use" in err and "stop it first" in err, err
    assert requests.get(f"{server.url}/v1/images", timeout=30).status_code == 200


def test_only_an_empty_ledger_is_restored(start_server: Callable[..., Server], ledger: Ledger, tmp_path: Path) -> None:
    first, second = start_server(), start_server()
    ids = [submit(server, prompt=prompt) for server, prompt in [(first, "first"), (second, "second")]]
    for server in (first, second):
        server.stop(signal.SIGTERM)
    backup = tmp_path / "backup"
    assert ledger("backup", str(backup), data_dir=first.data_dir)[0] == 0
    status, _, err = ledger("restore", str(backup), data_dir=second.data_dir)
    assert status == 1 and "the ledger is not empty; add `--force`" in err
    assert stored_jobs(second.data_dir / "ledger.db") == {ids[1]}
    status, _, err = ledger("restore", str(backup), "--force", data_dir=second.data_dir)
    assert status == 0, err
    assert listed(start_server(data_dir=second.data_dir)) == {ids[0]: "first"}

    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "ledger.db").write_text("no database " * 1000)
    status, _, err = ledger("restore", str(backup), "--force", data_dir=damaged)
    assert status == 1 and "move the damaged ledger.db" in err, err


def test_files_that_are_no_backup_are_rejected(ledger: Ledger, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no backup")
    newer = sqlite3.connect(tmp_path / "newer")
    for table in ("keys", "accounts", "days", "jobs", "idempotency"):
        newer.execute(f"CREATE TABLE {table} (x)")
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    for kind, name, expected in [
        ("sqlite", "absent", "cannot read"),
        ("sqlite", ".", "not a regular file"),
        ("sqlite", "text", "not a backup of an SQLite ledger"),
        ("sqlite", "newer", "has format version 99; this program supports versions up to 3"),
        ("bucket", "text", "not a backup of a bucket ledger"),
        ("bucket", "newer", "not a backup of a bucket ledger"),
    ]:
        status, _, err = ledger("restore", str(tmp_path / name), data_dir=tmp_path / "data", kind=kind)
        assert status == 1 and expected in err and err.count("\n") == 1, (kind, name, err)
    assert not (tmp_path / "data" / "ledger.db").exists()
    status, _, err = ledger("restore", str(tmp_path / "text"), "--force", data_dir=tmp_path / "data", kind="bucket")
    assert status == 2 and "--force" in err


def test_a_bucket_ledger_is_backed_up_over_s3_while_the_server_runs(
    start_server: Callable[..., Server], ledger: Ledger, run: Run, tmp_path: Path
) -> None:
    server = start_server("--ledger", "bucket")
    ids = {submit(server, seed=seed) for seed in range(3)}
    backup = tmp_path / "backup"
    status, _, err = ledger("backup", str(backup), data_dir=server.data_dir, kind="bucket")
    assert status == 1 and "S3 API" in err, "the server has locked the embedded store"
    store = ("--store", f"s3://{server.bucket}", "--s3-endpoint", server.url, "--s3-region", "us-east-1")
    credentials = {
        "TINTYPE_S3_ACCESS_KEY_ID": server.access_key,
        "TINTYPE_S3_SECRET_ACCESS_KEY": server.secret_key,
    }
    status, out, err = run("ledger", "backup", str(backup), "--ledger", "bucket", *store, env=credentials)
    assert (status, out) == (0, ""), err
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600

    data_dir = tmp_path / "data"
    for _ in range(2):
        # The second time finds the same records.
        status, _, err = ledger("restore", str(backup), data_dir=data_dir, kind="bucket")
        assert status == 0, err
    check = ledger("check", "--json", data_dir=data_dir, kind="bucket")
    assert (check[0], json.loads(check[1])["unreadable"]) == (0, [])
    restored = start_server("--ledger", "bucket", data_dir=data_dir)
    assert listed(restored).keys() == ids
    submit(restored, seed=10)
    restored.stop(signal.SIGTERM)
    status, _, err = ledger("restore", str(backup), data_dir=data_dir, kind="bucket")
    assert status == 1 and "the ledger is not empty; a bucket ledger must have no objects under" in err, err
