"""The API description: printed, served, in the repository, and as a web page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import requests
from conftest import Server

ROOT = Path(__file__).parents[2]


def test_the_printed_served_and_stored_descriptions_are_equal(
    server: Server, run: Callable[..., tuple[int, str, str]]
) -> None:
    status, printed, _ = run("openapi")
    served = requests.get(f"{server.url}/openapi.json", timeout=30)
    assert (status, served.headers["content-type"]) == (0, "application/json")
    assert printed == served.text == (ROOT / "openapi.json").read_text()
    assert served.json()["openapi"] == "3.1.0"


def test_every_described_operation_exists(server: Server) -> None:
    """A call without its parameters gets a described status."""
    paths = requests.get(f"{server.url}/openapi.json", timeout=30).json()["paths"]
    for path, calls in paths.items():
        for method, call in calls.items():
            if call["tags"] == ["SageMaker"]:
                continue
            url = server.url + path.replace("{id}", "x").replace("{key}", "x").replace("{model}", "dall-e-3")
            answer = requests.request(method, url, allow_redirects=False, timeout=30)
            assert str(answer.status_code) in call["responses"], f"{method} {path}: {answer.status_code}"


def test_the_page_loads_no_external_resources(server: Server) -> None:
    page = requests.get(f"{server.url}/docs", timeout=30)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for element in ("<script", "<link", "<img", "<iframe", "@import"):
        assert element not in page.text
