"""The model container, started like SageMaker starts it, with the files of the Dockerfile's image.

The tests need no container runtime. They run the Dockerfile's commands to assemble the image's root
folder, and enter the folder with chroot.
"""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import time
from base64 import b64decode
from pathlib import Path

import pytest
import requests
from conftest import ROOT, free_port
from PIL import Image

DOCKERFILE = (ROOT / "deploy/docker/Dockerfile").read_text()
LARGEST = 200 << 20
"""Maximum size of the image in bytes. The binary contains the built-in model."""


@pytest.fixture(scope="module")
def image(tintype: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The image's root folder."""
    root = tmp_path_factory.mktemp("image")
    commands = DOCKERFILE.split("RUN cargo build", 1)[1].split("\n\n", 1)[0].replace("\\\n", "").split("&&")[1:]
    assert len(commands) >= 3, "the Dockerfile's commands were not found"
    for command in commands:
        local = command.replace("/image", str(root)).replace("target/release/tintype", tintype)
        subprocess.run(["sh", "-euc", local], check=True)
    return root


def test_the_image_is_small(image: Path) -> None:
    files = [file for file in image.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) < LARGEST
    assert not list(image.glob("bin/*sh")), "the image has a shell"


def test_the_container_serves_like_a_sagemaker_model(image: Path, tmp_path: Path) -> None:
    entry = json.loads(re.search(r"ENTRYPOINT (.*)", DOCKERFILE).group(1))
    variables = dict(line.split("=", 1) for line in re.findall(r"^ENV (\S+=\S+)", DOCKERFILE, re.M))
    folder = image / "opt/ml/model"
    shutil.copytree(ROOT / "models/emoji/weights", folder)
    port = free_port()
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(
            ["unshare", "--map-root-user", shutil.which("chroot") or "chroot", str(image), *entry, "serve"],
            env=variables | {"SAGEMAKER_BIND_TO_PORT": str(port)},
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    try:
        statuses = set()
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and 200 not in statuses and server.poll() is None:
            try:
                statuses.add(requests.get(f"{url}/ping", timeout=2).status_code)
            except requests.ConnectionError:
                time.sleep(0.02)
        assert statuses in ({200}, {200, 503}), (tmp_path / "log").read_text()
        answer = requests.post(
            f"{url}/invocations", json={"prompt": "a tiger", "width": 64, "height": 64, "num_inference_steps": 2},
            headers={"Accept": "application/json;jpeg"}, timeout=60,
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        assert Image.open(io.BytesIO(b64decode(answer.json()["generated_images"][0]))).size == (64, 64)
        began = time.monotonic()
        server.terminate()
        assert server.wait(30) == 0
        assert time.monotonic() - began < 30
    finally:
        server.kill()
        server.wait()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if line.startswith("{")]
    assert lines, "the log has no JSON lines"
