"""`tintype serve`: images behind their URLs, shutdown, kill, start-up errors and connections."""

from __future__ import annotations

import io
import json
import random
import resource
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
import pytest
import requests
from botocore.config import Config
from PIL import Image

from conftest import Server

QUICK = {"prompt": "a tiger", "steps": 2}
"""A fast request for every model."""

USER_COMMENT = 0x9286
EXIF_IFD = 0x8769
# SHA-256 of `unet/diffusion_pytorch_model.safetensors` in `models/emoji/weights`.
BUILTIN_HASH = "a1cc12fef1c500a8db8233df1f13bf5f04d8b8a2df3060631da3e5f95fc4105f"
PILLOW_NAMES = {"jpeg": "JPEG", "png": "PNG", "webp": "WEBP"}


def parameters(image: Image.Image) -> str:
    """The generation parameters in the image's metadata, where third-party tools read them."""
    if image.format == "PNG":
        return image.text["parameters"]  # type: ignore[attr-defined]
    comment: bytes = image.getexif().get_ifd(EXIF_IFD)[USER_COMMENT]
    assert comment.startswith(b"UNICODE\0")
    return comment.removeprefix(b"UNICODE\0").decode("utf-16-be")


def generate(server: Server, **query: object) -> requests.Response:
    return requests.get(f"{server.url}/generate", params=query, timeout=300)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp"])
@pytest.mark.parametrize("prompt", ["a tiger, <b>bold</b>", "一只赛博老虎 🐯"])
def test_the_url_returns_an_image_with_its_parameters(
    server: Server, name: str, prompt: str
) -> None:
    answer = generate(server, prompt=prompt, steps=2, seed=7, guidance=2.5, negative_prompt="blur", format=name)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert list(body)[:2] == ["url", "prompt"]
    assert (body["prompt"], body["seed"]) == (prompt, 7)

    fetched = requests.get(body["url"], timeout=30)
    assert fetched.status_code == 200
    assert fetched.headers["content-type"] == f"image/{name}"
    image = Image.open(io.BytesIO(fetched.content))
    image.load()
    assert (image.format, image.size, image.mode) == (PILLOW_NAMES[name], (body["width"], body["height"]), "RGB")
    size = f"{body['width']}x{body['height']}"
    assert parameters(image).startswith(
        f"{prompt}\nNegative prompt: blur\nSteps: 2, CFG scale: 2.5, Seed: 7, Size: {size}, "
        f"Model hash: {BUILTIN_HASH}, Model: "
    )


def test_the_same_seed_gives_the_same_bytes(server: Server) -> None:
    links = [generate(server, **QUICK, seed=3).json()["url"] for _ in range(2)]
    first, second = (requests.get(link, timeout=30).content for link in links)
    assert first == second
    assert first != requests.get(generate(server, **QUICK, seed=4).json()["url"], timeout=30).content


def test_the_url_in_the_ready_line_works(server: Server) -> None:
    assert server.port != 0
    assert server.ready_line.startswith(f"tintype ready: {server.url}/generate?prompt=a+tiger ")
    link = server.ready_line.split()[2]
    assert requests.get(link, timeout=300).status_code == 200
    assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 200


def test_the_credentials_file_works_with_the_embedded_store(server: Server) -> None:
    key = generate(server, **QUICK).json()["url"].split("?")[0].split(f"/{server.bucket}/")[1]
    listed = s3(server).list_objects_v2(Bucket=server.bucket, Prefix=key)
    assert [item["Key"] for item in listed["Contents"]] == [key]
    mode = (server.data_dir / "credentials").stat().st_mode
    assert mode & 0o077 == 0, "other users can read the credentials"


def test_sigterm_finishes_accepted_jobs(start_server: Callable[..., Server]) -> None:
    """The queue has one place. When four of six requests are rejected, one job runs and one waits."""
    server = start_server("--queue", "1", "--grace", "10m")
    rejected = threading.Semaphore(0)

    def ask(seed: int) -> requests.Response:
        answer = generate(server, prompt="a tiger", steps=150, seed=seed)
        if answer.status_code == 429:
            rejected.release()
        return answer

    with ThreadPoolExecutor(6) as pool:
        futures = [pool.submit(ask, seed) for seed in range(6)]
        for _ in range(4):
            assert rejected.acquire(timeout=120), "the queue never filled"
        assert server.stop(signal.SIGTERM, timeout=600) == 0
        answers = [future.result() for future in futures]
    assert sorted(answer.status_code for answer in answers) == [200, 200, 429, 429, 429, 429]
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 429)
    finished = {answer.json()["id"] for answer in answers if answer.status_code == 200}
    again = start_server(data_dir=server.data_dir)
    assert {Path(key).stem for key in stored_images(again)} == finished


def test_a_second_signal_stops_immediately(start_server: Callable[..., Server]) -> None:
    server = start_server("--queue", "1", "--grace", "10m")
    with ThreadPoolExecutor(4) as pool:
        filled = threading.Event()

        def ask(seed: int) -> None:
            try:
                if generate(server, prompt="a tiger", steps=150, seed=seed).status_code == 429:
                    filled.set()
            except requests.ConnectionError:
                pass

        for seed in range(4):
            pool.submit(ask, seed)
        assert filled.wait(120), "the queue never filled"
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(60) != 0


def test_a_kill_leaves_no_partial_images(start_server: Callable[..., Server], tmp_path: Path) -> None:
    chance = random.Random(1)
    for _ in range(4):
        server = start_server(data_dir=tmp_path)
        with ThreadPoolExecutor(2) as pool:

            def ask(seed: int) -> None:
                try:
                    generate(server, prompt="a tiger", steps=10, seed=seed, format="png")
                except requests.ConnectionError:
                    pass

            futures = [pool.submit(ask, seed) for seed in range(12)]
            futures[chance.randrange(3)].result()
            server.stop(signal.SIGKILL)
    assert stored_images(start_server(data_dir=tmp_path)), "no image was stored"


def test_old_images_are_deleted(start_server: Callable[..., Server]) -> None:
    server = start_server("--keep", "1s")
    link = generate(server, **QUICK).json()["url"]
    assert requests.get(link, timeout=30).status_code in (200, 404)
    pause = threading.Event()
    for _ in range(120):
        if requests.get(link, timeout=30).status_code == 404:
            break
        pause.wait(0.5)
    else:
        pytest.fail("the image was not deleted")


def test_the_errors_for_a_port_or_folder_in_use(
    server: Server, run: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, err = run("serve", "--listen", f"127.0.0.1:{server.port}")
    assert (status, out) == (1, "")
    assert err.startswith(f"error: cannot listen on 127.0.0.1:{server.port}: ") and err.count("\n") == 1
    status, out, err = run("serve", "--listen", "127.0.0.1:0", "--data-dir", str(server.data_dir))
    assert (status, out) == (1, "")
    assert str(server.data_dir) in err and "in use" in err and err.count("\n") == 1


def test_anonymous_access_beyond_loopback_needs_a_flag(
    start_server: Callable[..., Server], run: Callable[..., tuple[int, str, str]]
) -> None:
    status, out, err = run("serve", "--listen", "0.0.0.0:0")
    assert (status, out) == (2, "")
    assert "keys create" in err.splitlines()[-1] and "--allow-anonymous" in err.splitlines()[-1]
    server = start_server("--listen", "0.0.0.0:0", "--allow-anonymous")
    assert requests.get(f"{server.url}/readyz", timeout=10).status_code == 200


def test_the_error_for_a_missing_model(run: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    for model, expected in [
        (str(tmp_path), "model_index.json"),
        ("example/missing", "hf download example/missing"),
    ]:
        status, out, err = run("serve", "--listen", "127.0.0.1:0", "--model", model, env={"HF_HOME": str(tmp_path)})
        assert (status, out) == (1, "")
        assert expected in err.splitlines()[-1]


def test_silent_and_slow_clients_do_not_delay_others(server: Server) -> None:
    silent = socket.create_connection(("127.0.0.1", server.port))
    slow = socket.create_connection(("127.0.0.1", server.port))
    slow.sendall(b"GET /healthz HTTP/1.1\r\nHost: loc")
    assert requests.get(f"{server.url}/healthz", timeout=10).status_code == 200
    silent.close()
    slow.close()


def test_the_json_log_has_request_ids(start_server: Callable[..., Server]) -> None:
    server = start_server("--log-format", "json")
    answer = requests.get(f"{server.url}/generate", timeout=10)
    assert answer.status_code == 400
    server.stop()
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert any(answer.headers["x-request-id"] in json.dumps(line) for line in lines)


def s3(server: Server):  # noqa: ANN201 - boto3's clients have no static type
    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )


def stored_images(server: Server) -> list[str]:
    """The keys of all stored objects. Each object must decode as an image."""
    client = s3(server)
    listed = client.list_objects_v2(Bucket=server.bucket).get("Contents", [])
    for item in listed:
        body = client.get_object(Bucket=server.bucket, Key=item["Key"])["Body"].read()
        assert len(body) == item["Size"]
        Image.open(io.BytesIO(body)).load()
    return [item["Key"] for item in listed]


def test_the_server_raises_its_limit_of_open_files(start_server: Callable[..., Server]) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, hard), hard))
    try:
        server = start_server()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
