"""The API description, checked by schemathesis and by a client generator."""

from __future__ import annotations

import io
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from PIL import Image

HERE = Path(__file__).parent
SMALL = ["--max-work", str(64 * 64 * 4), "--queue", "100"]
"""Limits every accepted request to a short generation."""


def tool(name: str) -> str:
    """A program of the Python environment for the description; `cargo xtask referees` sets its path."""
    return str(Path(os.environ["TINTYPE_OPENAPI"]).with_name(name))


@contextmanager
def serving(tintype: str, environment: dict[str, str], folder: Path, *flags: str) -> Iterator[str]:
    """Runs the server. Yields its URL."""
    process = subprocess.Popen(
        [tintype, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(folder / "data"), *flags],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=(folder / "log").open("w"),
        text=True,
    )
    assert process.stdout
    try:
        line = process.stdout.readline()
        assert "http://" in line, (folder / "log").read_text()
        yield "http://" + line.split("http://")[1].split("/")[0].split()[0]
    finally:
        process.kill()
        process.wait()


def keys(tintype: str, environment: dict[str, str], folder: Path, *flags: str) -> str:
    command = [tintype, "keys", "create", "--name", "k", "--data-dir", str(folder / "data"), *flags]
    return subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True).stdout.strip()


@pytest.mark.parametrize("caller", ["local", "anonymous", "customer", "admin"])
def test_schemathesis_finds_no_errors(
    tintype: str, clean_environment: dict[str, str], tmp_path: Path, caller: str
) -> None:
    flags = [*SMALL]
    header = []
    if caller in ("customer", "admin"):
        key = keys(tintype, clean_environment, tmp_path, *(["--admin"] if caller == "admin" else []))
        header = ["--header", f"Authorization: Bearer {key}"]
    if caller != "local":
        flags += ["--listen", "0.0.0.0:0"]
    if caller == "anonymous":
        flags += ["--allow-anonymous"]
    with serving(tintype, clean_environment, tmp_path, *flags) as url:
        done = subprocess.run(
            [
                *(tool("schemathesis"), "--config-file", str(HERE / "description/schemathesis.toml"), "run"),
                *(f"{url}/openapi.json", "--mode", "all", "--max-examples", "40", "--seed", "1"),
                *("--phases", "examples,coverage,fuzzing,stateful", "--workers", "1", *header),
            ],
            cwd=tmp_path,
            env=clean_environment | {"PYTHONPATH": str(HERE / "description")},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_generated_client_generates_an_image(
    tintype: str, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    description = tmp_path / "openapi.json"
    printed = subprocess.run([tintype, "openapi"], env=clean_environment, check=True, capture_output=True, text=True)
    description.write_text(printed.stdout)
    client = tmp_path / "client"
    config = HERE / "description/client.yaml"
    generator = tool("openapi-python-client")
    # The generator formats its output with a program of its own environment.
    path = os.pathsep.join([str(Path(generator).parent), os.environ["PATH"]])
    done = subprocess.run(
        [
            *(generator, "generate", "--path", str(description), "--output-path", str(client)),
            *("--config", str(config), "--meta", "none", "--fail-on-warning"),
        ],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    subprocess.run([tool("python"), "-m", "compileall", "-q", str(client)], check=True)
    with serving(tintype, clean_environment, tmp_path) as url:
        program = (HERE / "description/calls.py").read_text()
        made = subprocess.run([tool("python"), "-c", program, url], cwd=tmp_path, capture_output=True, text=True)
        assert made.returncode == 0, made.stderr
        for link in json.loads(made.stdout):
            picture = requests.get(link, timeout=30)
            assert picture.headers["content-type"] in ("image/jpeg", "image/png")
            Image.open(io.BytesIO(picture.content)).load()
