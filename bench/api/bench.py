"""Compares the API with LiteLLM's proxy and the blog post's Python handler, with one load generator.

Prints tables in Markdown: requests per second of processor time, added latency, memory of idle
connections, and latency beside slow clients. `cargo xtask bench api` builds the programs and runs this
script.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "tests/referees")]

import requests  # noqa: E402
from connections import allow, idle, slow  # noqa: E402
from conftest import free_port, own_program  # noqa: E402
from functions import BUCKET, ID, SECRET, start_weed  # noqa: E402
from load import Figures, Oha, Target  # noqa: E402
from PIL import Image  # noqa: E402

HERE = Path(__file__).parent
CONNECTIONS = 8
RATE = 1_000
IDLE = 10_000
MASTER_KEY = "sk-bench"
ENDPOINT = "jumpstart-sd21"
START_SECONDS = 300
"""Time limit for a server to start. LiteLLM's proxy needs 15 s on an idle machine."""
PARTS = ["generations", "rate", "generate", "idle", "slow"]


class Bench:
    """Starts the servers and stops them at the end."""

    def __init__(self, options: argparse.Namespace, folder: Path, running: ExitStack) -> None:
        self.options = options
        self.folder = folder
        self.running = running
        self.clean = {k: v for k, v in os.environ.items() if not k.startswith(("TINTYPE_", "AWS_", "OPENAI_", "LITELLM_"))}
        self.oha = Oha(options.oha, options.seconds)

    def start(self, command: list[str], environment: dict[str, str] | None = None) -> tuple[subprocess.Popen[str], str]:
        """Starts a program that runs until the end, and returns the first line that it prints."""
        process = self.launch(command, environment or {}, subprocess.PIPE)
        assert process.stdout
        line = process.stdout.readline().strip()
        assert line, f"{command[0]} did not start"
        return process, line

    def launch(
        self, command: list[str], environment: dict[str, str], stdout: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """Starts a program that runs until the end."""
        process = subprocess.Popen(
            command, env=self.clean | environment, cwd=self.folder,
            stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.running.callback(process.wait)
        self.running.callback(process.kill)
        return process

    def python(self, script: str, *arguments: str, environment: dict[str, str] | None = None) -> tuple[int, str]:
        """Starts a script of this folder. Returns its process id and its URL."""
        process, port = self.start([sys.executable, str(HERE / script), *arguments], environment)
        return process.pid, f"http://127.0.0.1:{port}"

    def null(self) -> tuple[int, str, str]:
        """The product's server with the null engine. Returns process id, URL and API key."""
        data = self.folder / "null"
        data.mkdir(exist_ok=True)
        create = [self.options.binary, "keys", "create", "--name", "bench", "--data-dir", str(data), "--json"]
        created = subprocess.run(create, check=True, capture_output=True, text=True, env=self.clean, cwd=self.folder)
        no_time = {"secs": 0, "nanos": 0}
        setup = {
            "folder": str(data), "place": "Memory", "step": no_time, "slots": CONNECTIONS, "queue": 1000,
            "anonymous": False,
        }  # fmt: skip
        process, address = self.start([self.options.server, "serve", json.dumps(setup)])
        return process.pid, f"http://{address}", json.loads(created.stdout)["key"]

    def product(self, environment: dict[str, str], *flags: str) -> tuple[int, str]:
        """`tintype serve` in front of an endpoint. Returns process id and URL."""
        data = tempfile.mkdtemp(dir=self.folder)
        command = [self.options.binary, "serve", "--listen", "127.0.0.1:0", "--data-dir", data]
        command += ["--model", f"sagemaker:{ENDPOINT}", *flags]
        process, line = self.start(command, aws(environment))
        return process.pid, next(word for word in line.split() if word.startswith("http://")).rstrip("/.,")

    def endpoint(self) -> str:
        """The URL of a SageMaker endpoint that always returns the same image of 512×512 pixels."""
        picture = io.BytesIO()
        Image.effect_mandelbrot((512, 512), (-2, -1.5, 1, 1.5), 100).convert("RGB").save(picture, "JPEG", quality=85)
        answer = {"generated_images": [base64.b64encode(picture.getvalue()).decode()], "prompt": "a tiger"}
        return self.python("canned.py", str(self.file("endpoint.json", json.dumps(answer))))[1]

    def file(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path


def wait_until_ready(url: str) -> None:
    """Waits until a GET of this URL succeeds."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return requests.get(url, timeout=5).raise_for_status()
        except requests.RequestException:
            assert time.monotonic() < deadline, f"no answer from {url}"
            time.sleep(0.2)


def aws(more: dict[str, str]) -> dict[str, str]:
    """The environment of an AWS client, with these additions."""
    keys = {"AWS_ACCESS_KEY_ID": ID, "AWS_SECRET_ACCESS_KEY": SECRET}
    return keys | {"AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"} | more


def generations(bench: Bench) -> None:
    """OpenAI's image call with a key, against tintype and against LiteLLM's proxy with a constant backend."""
    body = json.dumps({"model": "gpt-image-1", "prompt": "a tiger", "n": 1})
    pid, url, key = bench.null()
    path = "/v1/images/generations"
    # The proxy's backend returns tintype's own response, so both return the same image.
    own = json.dumps({"model": "null", "prompt": "a tiger", "response_format": "b64_json"})
    ours = Target(f"{url}{path}", pid, own, key)
    answer = requests.post(ours.url, json=json.loads(own), headers={"Authorization": f"Bearer {key}"}, timeout=60)
    assert answer.status_code == 200, answer.text
    backend_pid, backend = bench.python("canned.py", str(bench.file("answer.json", answer.text)))
    direct = bench.oha.closed(Target(f"{backend}{path}", backend_pid, body), 1)
    port = free_port()
    model = {"model": "openai/gpt-image-1", "api_base": f"{backend}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": "gpt-image-1", "litellm_params": model}],
        "general_settings": {"master_key": MASTER_KEY},
        "litellm_settings": {"telemetry": False},
    }
    command = [own_program("litellm"), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--config", str(bench.file("litellm.yaml", json.dumps(config)))]
    quiet = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION"}
    theirs = Target(f"http://127.0.0.1:{port}{path}", bench.launch(command, quiet).pid, body, MASTER_KEY)
    wait_until_ready(f"http://127.0.0.1:{port}/health/liveliness")
    columns = {}
    for name, target, backend_alone in [("tintype", ours, None), ("LiteLLM's proxy", theirs, direct)]:
        bench.oha.closed(target, CONNECTIONS)
        columns[name] = throughput_and_latency(bench, target, backend_alone)
    table(f"`POST {path}` with a key", columns)


def throughput_and_latency(bench: Bench, target: Target, backend: Figures | None) -> dict[str, str]:
    """Throughput over several connections and latency over one. The backend's own latency is subtracted."""
    many, one = bench.oha.closed(target, CONNECTIONS), bench.oha.closed(target, 1)
    p50, p99 = one.p50 - (backend.p50 if backend else 0), one.p99 - (backend.p99 if backend else 0)
    return {
        "requests per second of processor time": f"{many.per_core:,.0f}",
        f"requests per second over {CONNECTIONS} connections": f"{many.rate:,.0f}",
        "latency over one connection, p50 / p99, ms": f"{p50:.2f} / {p99:.2f}",
    }


def rate(bench: Bench) -> None:
    """OpenAI's image call at a constant rate."""
    pid, url, key = bench.null()
    body = json.dumps({"model": "null", "prompt": "a tiger", "response_format": "b64_json"})
    target = Target(f"{url}/v1/images/generations", pid, body, key)
    bench.oha.open(target, RATE, 4 * CONNECTIONS)
    figures = bench.oha.open(target, RATE, 4 * CONNECTIONS)
    column = {
        "responses per second": f"{figures.rate:,.0f}",
        "p50 / p99, ms": f"{figures.p50:.2f} / {figures.p99:.2f}",
        "usage of one core": f"{figures.rate * figures.cpu_ms / 10:.0f}%",
    }
    table(f"{RATE:,} requests per second at a constant rate", {"tintype": column})


def generate(bench: Bench) -> None:
    """`GET /generate` with an endpoint and a store, against tintype and against the blog post's handler."""
    endpoint = bench.endpoint()
    weed = start_weed(bench.folder, bench.clean)
    bench.running.callback(weed.stop)
    runtime = {"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": endpoint}
    store = ["--store", f"s3://{BUCKET}", "--s3-endpoint", weed.url]
    ours = bench.product(runtime, *store)
    post = {"AWS_ENDPOINT_URL_S3": weed.url, "BUCKET_NAME": BUCKET, "ENDPOINT_NAME": ENDPOINT}
    theirs = bench.python("handler.py", environment=aws(runtime | post))
    columns = {}
    for name, (pid, url) in [("tintype", ours), ("blog post's handler (Python, boto3)", theirs)]:
        target = Target(f"{url}/generate?prompt=a%20tiger", pid)
        answer = requests.get(target.url, timeout=60).json()
        assert requests.get(answer["url"], timeout=60).headers["content-type"] == "image/jpeg", answer
        bench.oha.closed(target, CONNECTIONS)
        columns[name] = throughput_and_latency(bench, target, None)
    table("`GET /generate` with an endpoint, SeaweedFS and a presigned URL", columns)


def connections(bench: Bench) -> None:
    """Memory of idle connections, and the latency of other clients beside slow ones."""
    pid, url = bench.product({"AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": bench.endpoint()})
    if bench.options.wants("idle"):
        held = {f"{count:,} idle connections": f"{mib:.1f}" for count, mib in idle(url, pid, (0, 100, IDLE))}
        table("Resident memory, MiB", {"tintype": held})
    if bench.options.wants("slow"):
        pid, url, key = bench.null()
        body = json.dumps({"model": "null", "prompt": "a tiger", "response_format": "b64_json"})
        target = Target(f"{url}/v1/images/generations", pid, body, key)
        bench.oha.open(target, RATE // 5, CONNECTIONS)
        alone = bench.oha.open(target, RATE // 5, CONNECTIONS)
        with slow(url, 500):
            beside = bench.oha.open(target, RATE // 5, CONNECTIONS)
        column = {
            "alone, p50 / p99, ms": f"{alone.p50:.2f} / {alone.p99:.2f}",
            "together with 500 clients that send one byte per second": f"{beside.p50:.2f} / {beside.p99:.2f}",
        }
        table(f"{RATE // 5} requests per second", {"tintype": column})


def table(title: str, columns: dict[str, dict[str, str]]) -> None:
    """Prints one table in Markdown."""
    print(f"\n| {title} | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for row in next(iter(columns.values())):
        print(f"| {row} | " + " | ".join(column[row] for column in columns.values()) + " |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True, help="the `tintype` binary")
    parser.add_argument("--server", required=True, help="the example `bench_service` (null engine)")
    parser.add_argument("--oha", required=True, help="the load generator `oha`")
    parser.add_argument("--seconds", type=float, default=10, help="duration of each load")
    parser.add_argument("--only", action="append", choices=PARTS, help="run only this part; may be repeated")
    options = parser.parse_args()
    allow(IDLE + 100)
    options.wants = lambda part: not options.only or part in options.only
    with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
        bench = Bench(options, Path(folder), running)
        for part, run in [("generations", generations), ("rate", rate), ("generate", generate)]:
            if options.wants(part):
                run(bench)
        if options.wants("idle") or options.wants("slow"):
            connections(bench)


if __name__ == "__main__":
    main()
