"""SageMaker with boto3: the Runtime API's paths, the model container, and the remote engine."""

from __future__ import annotations

import base64
import gzip
import io
import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from conftest import Server
from PIL import Image

HERE = Path(__file__).parent
SMALL = {"width": 64, "height": 64, "num_inference_steps": 2}


def client(server: Server, service: str, **config: Any) -> BaseClient:
    return boto3.client(
        service,
        endpoint_url=server.url,
        aws_access_key_id=config.pop("access_key", server.access_key),
        aws_secret_access_key=config.pop("secret_key", server.secret_key),
        region_name=config.pop("region", "us-east-1"),
        config=Config(retries={"max_attempts": 1}, **config),
    )


@pytest.fixture(scope="module")
def runtime(server: Server) -> BaseClient:
    return client(server, "sagemaker-runtime")


def invoke(runtime: BaseClient, body: dict[str, Any] | str, **more: str) -> dict[str, Any]:
    more = {"EndpointName": "any-name", "ContentType": "application/json", "Accept": "application/json;jpeg"} | more
    data = body if isinstance(body, str) else json.dumps(body)
    return json.loads(runtime.invoke_endpoint(Body=data.encode(), **more)["Body"].read())


def picture(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text, validate=True)))


def test_the_blog_posts_function_runs_unmodified(server: Server, clean_environment: dict[str, str]) -> None:
    bucket = f"post-{uuid.uuid4()}"
    client(server, "s3").create_bucket(Bucket=bucket)
    call = (
        "import json, sys, blog_post;"
        "print(json.dumps(blog_post.lambda_handler({'queryStringParameters': {'prompt': sys.argv[1]}}, None)))"
    )
    environment = clean_environment | {
        "AWS_ACCESS_KEY_ID": server.access_key,
        "AWS_SECRET_ACCESS_KEY": server.secret_key,
        "AWS_DEFAULT_REGION": "eu-central-1",
        "AWS_ENDPOINT_URL_S3": server.url,
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": server.url,
        "ENDPOINT_NAME": "jumpstart-dft-stable-diffusion-v2-1-base",
        "BUCKET_NAME": bucket,
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(
        [sys.executable, "-c", call, "cyborg_tiger"],
        cwd=HERE, env=environment, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["statusCode"] == 200
    body = json.loads(answer["body"])
    assert body["prompt"] == "cyborg_tiger"
    fetched = requests.get(body["url"], timeout=30)
    assert (fetched.status_code, fetched.headers["content-type"]) == (200, "image/jpeg")
    image = Image.open(io.BytesIO(fetched.content))
    assert (image.format, image.size) == ("JPEG", (512, 512))


def test_invocations_in_all_request_formats(runtime: BaseClient) -> None:
    answer = invoke(runtime, {"prompt": "a tiger", "num_images_per_prompt": 2, "seed": 7, **SMALL})
    assert answer["prompt"] == "a tiger"
    first, second = (picture(text) for text in answer["generated_images"])
    assert (first.format, first.size) == ("JPEG", (64, 64))
    assert first.tobytes() != second.tobytes()

    again = invoke(runtime, {"prompt": "a tiger", "seed": 7, **SMALL}, Accept="application/json")
    (rows,) = again["generated_images"]
    assert (len(rows), len(rows[0]), len(rows[0][0])) == (64, 64, 3)
    exact = [channel for row in rows for pixel in row for channel in pixel]
    deviation = sum(abs(a - b) for a, b in zip(exact, first.tobytes(), strict=True)) / len(exact)
    assert deviation < 6, "the same seed gives the same image, except for JPEG artefacts"

    text = invoke(runtime, "a tiger", ContentType="application/x-text", Accept="application/json")
    assert (text["prompt"], len(text["generated_image"][0][0])) == ("a tiger", 3)

    sdxl = {"text_prompts": [{"text": "a tiger"}], "seed": 3, "steps": 2, "width": 64, "height": 64}
    (artifact,) = invoke(runtime, sdxl)["artifacts"]
    assert (artifact["seed"], artifact["finishReason"]) == (3, "SUCCESS")
    assert picture(artifact["base64"]).size == (64, 64)


def test_bodies_are_decoded_as_in_the_native_api(server: Server) -> None:
    body = b'{"prompt": "half of a pair \\ud83d", "width": 64, "height": 64, "num_inference_steps": 2}'
    for data, headers in [
        (body, {}),
        (b"\xef\xbb\xbf" + body, {}),
        (gzip.compress(body), {"Content-Encoding": "gzip"}),
    ]:
        url = f"{server.url}/endpoints/any-name/invocations"
        headers = {"Content-Type": "application/json", "Accept": "application/json;jpeg"} | headers
        request = AWSRequest("POST", url, data=data, headers=headers)
        SigV4Auth(Credentials(server.access_key, server.secret_key), "sagemaker", "us-east-1").add_auth(request)
        answer = requests.post(url, data=data, headers=dict(request.headers.items()))
        assert answer.status_code == 200, answer.text
        assert answer.json()["prompt"] == "half of a pair \ufffd"


def test_errors_have_sagemakers_format(server: Server, runtime: BaseClient) -> None:
    with pytest.raises(runtime.exceptions.ModelError) as refused:
        invoke(runtime, {"prompt": "a tiger", "width": 65})
    error = refused.value.response
    assert (error["OriginalStatusCode"], error["ResponseMetadata"]["HTTPStatusCode"]) == (400, 424)
    assert "width" in error["OriginalMessage"]
    assert error["ResponseMetadata"]["RequestId"]
    for wrong in [{"secret_key": "wrong"}, {"access_key": "TTUNKNOWN"}]:
        with pytest.raises(ClientError) as denied:
            invoke(client(server, "sagemaker-runtime", **wrong), {"prompt": "a tiger", **SMALL})
        assert denied.value.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    unsigned = requests.post(f"{server.url}/endpoints/x/invocations", json={"prompt": "x"}, timeout=10)
    assert unsigned.status_code == 403


def test_a_signature_for_the_public_host_is_valid_behind_a_proxy(start_server: Callable[..., Server]) -> None:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        local = f"127.0.0.1:{found.getsockname()[1]}"
    # The ready line has the public address only, so the test chooses the local one.
    server = start_server("--listen", local, "--public-url", "http://pictures.example", "--allow-anonymous")
    # Like a proxy: the request is signed for the public host and sent with the host of the local server.
    body = json.dumps({"prompt": "a tiger", **SMALL})
    request = AWSRequest("POST", "http://pictures.example/endpoints/any/invocations", data=body)
    request.headers["Content-Type"] = "application/json"
    SigV4Auth(Credentials(server.access_key, server.secret_key), "sagemaker", "us-east-1").add_auth(request)
    url = f"http://{local}/endpoints/any/invocations"
    answer = requests.post(url, data=body, headers=dict(request.headers), timeout=60)
    assert answer.status_code == 200, answer.text


def wait_for(s3: BaseClient, location: str, seconds: float = 120) -> bytes:
    bucket, key = location.removeprefix("s3://").split("/", 1)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            return s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except s3.exceptions.NoSuchKey:
            time.sleep(0.1)
    raise AssertionError(f"{location} did not appear")


def test_an_asynchronous_invocation_writes_its_result_to_the_store(
    server: Server, runtime: BaseClient
) -> None:
    s3 = client(server, "s3")
    common = {"EndpointName": "any", "ContentType": "application/json", "Accept": "application/json;jpeg"}
    accepted = runtime.invoke_endpoint_async(
        InferenceId="mine", Body=json.dumps({"prompt": "a tiger", **SMALL}).encode(), **common
    )
    assert (accepted["InferenceId"], accepted["ResponseMetadata"]["HTTPStatusCode"]) == ("mine", 202)
    answer = json.loads(wait_for(s3, accepted["OutputLocation"]))
    assert picture(answer["generated_images"][0]).size == (64, 64)

    bucket = f"input-{uuid.uuid4()}"
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="in/one.json", Body=json.dumps({"prompt": "a lion", **SMALL}).encode())
    accepted = runtime.invoke_endpoint_async(InputLocation=f"s3://{bucket}/in/one.json", **common)
    assert json.loads(wait_for(s3, accepted["OutputLocation"]))["prompt"] == "a lion"

    accepted = runtime.invoke_endpoint_async(Body=b'{"prompt": ""}', **common)
    error = json.loads(wait_for(s3, accepted["FailureLocation"]))
    assert (error["OriginalStatusCode"], "prompt" in error["OriginalMessage"]) == (400, True)
    # The record of the pending invocation is deleted after its result has been written.
    deadline = time.monotonic() + 60
    while s3.list_objects_v2(Bucket=server.bucket, Prefix="async/pending/")["KeyCount"]:
        assert time.monotonic() < deadline, "an invocation with a result is still pending"
        time.sleep(0.05)

    for wrong in [
        {"InputLocation": f"s3://{bucket}/absent"},
        {"InputLocation": "s3://absent/absent"},
        {"Body": b" " * 128_001},
    ]:
        with pytest.raises(ClientError) as refused:
            runtime.invoke_endpoint_async(**wrong, **common)
        response = refused.value.response
        error = (response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"])
        assert error == ("ValidationError", 400), wrong


def test_an_asynchronous_invocation_survives_a_kill(start_server: Callable[..., Server], tmp_path: Path) -> None:
    first = start_server(data_dir=tmp_path)
    body = {"prompt": "a tiger", "num_inference_steps": 150, "num_images_per_prompt": 1}
    accepted = client(first, "sagemaker-runtime").invoke_endpoint_async(
        EndpointName="any", ContentType="application/json", Accept="application/json;jpeg", Body=json.dumps(body).encode()
    )
    first.process.kill()
    first.process.wait(30)
    second = start_server(data_dir=tmp_path)
    answer = json.loads(wait_for(client(second, "s3"), accepted["OutputLocation"]))
    assert len(answer["generated_images"]) == 1
    jobs = requests.get(f"{second.url}/v1/images", timeout=10).json()["data"]
    assert [job["status"] for job in jobs] == ["succeeded"], "one job, with the id of the invocation"


@pytest.fixture(scope="module")
def container(start_server: Callable[..., Server]) -> Server:
    """The model container, with the built-in model."""
    return start_server("--sagemaker")


def test_the_container_serves_two_routes_only(container: Server) -> None:
    ping = requests.get(f"{container.url}/ping", timeout=2)
    assert (ping.status_code, ping.content) == (200, b"")
    answer = requests.post(
        f"{container.url}/invocations", json={"prompt": "a tiger", **SMALL},
        headers={"Accept": "application/json;jpeg", "X-Amzn-SageMaker-Custom-Attributes": "accept_eula=true"}, timeout=60,
    )  # fmt: skip
    assert picture(answer.json()["generated_images"][0]).size == (64, 64)
    for path in ["/", "/generate?prompt=x", "/v1/images", "/tintype/x", "/endpoints/x/invocations"]:
        assert requests.get(f"{container.url}{path}", timeout=10).status_code == 404, path


def test_the_container_uses_sagemakers_port(run: Callable[..., tuple[int, str, str]]) -> None:
    status, shown, _ = run("config", "--json", env={"SAGEMAKER_BIND_TO_PORT": "8123", "TINTYPE_SAGEMAKER": "true"})
    settings = json.loads(shown)
    assert (status, settings["listen"]["value"], settings["model"]["value"]) == (0, "0.0.0.0:8123", "builtin")


def in_front_of(
    start_server: Callable[..., Server], endpoint: Server, url: str, *flags: str, data_dir: Path | None = None
) -> Server:
    """An API server whose engine is an endpoint. `endpoint` is another tintype server."""
    return start_server(
        "--model", "sagemaker:emoji", "--sagemaker-size", "64", "--sagemaker-steps", "2", *flags,
        data_dir=data_dir,
        env={
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": url,
            "AWS_ACCESS_KEY_ID": endpoint.access_key,
            "AWS_SECRET_ACCESS_KEY": endpoint.secret_key,
            "AWS_REGION": "us-east-1",
        },
    )  # fmt: skip


def test_an_endpoint_generates_the_images(
    start_server: Callable[..., Server], server: Server, runtime: BaseClient
) -> None:
    front = in_front_of(start_server, server, server.url)
    answer = requests.get(f"{front.url}/generate", params={"prompt": "a tiger", "seed": 7}, timeout=60)
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["prompt"], body["width"], body["seed"]) == ("a tiger", 64, 7)
    fetched = requests.get(body["url"], timeout=10)
    assert fetched.headers["content-type"] == "image/jpeg"
    request = {"prompt": "a tiger", "seed": 7, "guidance_scale": 7.5, **SMALL}
    direct = base64.b64decode(invoke(runtime, request)["generated_images"][0])
    assert fetched.content == direct, "the endpoint's JPEG is stored unchanged"
    converted = requests.post(f"{front.url}/v1/images", json={"prompt": "a tiger", "format": "png"}, timeout=60)
    png = requests.get(converted.json()["images"][0]["url"], timeout=10)
    assert Image.open(io.BytesIO(png.content)).format == "PNG"


def test_an_endpoint_that_cannot_be_called_is_reported_at_the_start(start_server: Callable[..., Server]) -> None:
    nowhere = {"AWS_EC2_METADATA_DISABLED": "true", "AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    front = start_server("--model", "sagemaker:tiger", env=nowhere | {"AWS_REGION": "eu-west-1"})
    end = time.monotonic() + 30
    while (answer := requests.get(f"{front.url}/readyz")).status_code == 200:
        assert time.monotonic() < end, "the missing credentials were not noticed"
        time.sleep(0.1)
    assert (answer.status_code, answer.json()) == (503, {"state": "engine_unavailable", "reason": "no_credentials"})
    problem = requests.get(f"{front.url}/generate", params={"prompt": "x"})
    assert (problem.status_code, problem.json()["type"]) == (503, "urn:tintype:problem:engine-unavailable")
    log = front.log.read_text()
    assert "remote engine cannot be called" in log and "AWS_ACCESS_KEY_ID" in log
    assert all(line[:4].isdigit() for line in log.splitlines()), "a log line has a line break"


def test_errors_of_an_endpoint_reach_the_client(start_server: Callable[..., Server]) -> None:
    strict = start_server("--max-pixels", "4096")
    front = in_front_of(start_server, strict, strict.url)
    refused = requests.get(f"{front.url}/generate", params={"prompt": "x", "width": 128}, timeout=60)
    assert (refused.status_code, refused.json()["model_status"]) == (424, 400)
    assert "4096" in refused.json()["detail"], "the model's own message"

    unreachable = in_front_of(start_server, strict, "http://127.0.0.1:9", "--log-format", "json")
    busy = requests.get(f"{unreachable.url}/generate", params={"prompt": "x"}, timeout=60)
    assert (busy.status_code, busy.headers["retry-after"]) == (503, "5")
    assert busy.json()["type"] == "urn:tintype:problem:engine-busy"
    assert "refused" not in busy.text.lower()
    causes = [json.loads(line).get("error", "") for line in unreachable.log.read_text().splitlines()]
    assert any("refused" in cause.lower() for cause in causes), "only the log has the cause"


def store_of(server: Server) -> list[str]:
    """The flags with which another server uses this server's store."""
    return [
        "--store", f"s3://{server.bucket}", "--s3-endpoint", server.url, "--s3-region", "us-east-1",
        "--s3-access-key-id", server.access_key, "--s3-secret-access-key", server.secret_key,
    ]  # fmt: skip


def test_an_asynchronous_endpoint_with_results_in_the_store(
    start_server: Callable[..., Server], server: Server
) -> None:
    front = in_front_of(start_server, server, server.url, "--sagemaker-async", *store_of(server))
    answer = requests.get(f"{front.url}/generate", params={"prompt": "a tiger"}, timeout=120)
    assert answer.status_code == 200, answer.text
    assert requests.get(answer.json()["url"], timeout=10).headers["content-type"] == "image/jpeg"


class AsyncEndpoint:
    """An asynchronous endpoint that accepts every request and returns a location, but writes no result."""

    def __init__(self, bucket: str) -> None:
        self.accepted: list[str] = []
        self.folder = f"async/{uuid.uuid4()}"
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: Any) -> None:
                pass

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if not self.path.endswith("/async-invocations"):  # DescribeEndpoint: not a job
                    self.send_error(400)
                    return
                number = len(endpoint.accepted)
                endpoint.accepted.append(self.path)
                body = json.dumps({"InferenceId": str(number)}).encode()
                self.send_response(202)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                at = f"s3://{bucket}/{endpoint.folder}/{number}"
                self.send_header("X-Amzn-SageMaker-OutputLocation", f"{at}.out")
                self.send_header("X-Amzn-SageMaker-FailureLocation", f"{at}.err")
                self.end_headers()
                self.wfile.write(body)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


def has_receipt(data_dir: Path) -> bool:
    """Whether the record of the only job has a receipt, the location of the endpoint's result."""
    with closing(sqlite3.connect(f"file:{data_dir / 'ledger.db'}?mode=ro", uri=True)) as database:
        records = [json.loads(record) for (record,) in database.execute("SELECT record FROM jobs")]
    return any("receipt" in record for record in records)


@pytest.mark.parametrize("prefer", [{"Prefer": "respond-async"}, {}], ids=["async", "waiting"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_job_on_an_asynchronous_endpoint_survives_the_server(
    start_server: Callable[..., Server],
    server: Server,
    tmp_path: Path,
    how: signal.Signals,
    prefer: dict[str, str],
) -> None:
    endpoint = AsyncEndpoint(server.bucket)
    flags = ["--sagemaker-async", "--grace", "1s", *store_of(server)]
    first = in_front_of(start_server, server, endpoint.url, *flags, data_dir=tmp_path)
    with ThreadPoolExecutor() as clients:
        response = clients.submit(
            requests.post, f"{first.url}/v1/images", json={"prompt": "a tiger"}, headers=prefer, timeout=60
        )
        deadline = time.monotonic() + 60
        while not has_receipt(tmp_path):
            assert time.monotonic() < deadline, first.log.read_text()
            time.sleep(0.05)
        first.stop(how)
        assert prefer or response.exception() or response.result().status_code == 503

    picture_file = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 80, 20)).save(picture_file, "JPEG")
    result = {"generated_images": [base64.b64encode(picture_file.getvalue()).decode()], "prompt": "a tiger"}
    body = json.dumps(result).encode()
    client(server, "s3").put_object(Bucket=server.bucket, Key=f"{endpoint.folder}/0.out", Body=body)

    second = in_front_of(start_server, server, endpoint.url, *flags, data_dir=tmp_path)
    deadline = time.monotonic() + 60
    while True:
        (job,) = requests.get(f"{second.url}/v1/images", timeout=10).json()["data"]
        if job["status"] not in ("queued", "running"):
            break
        assert time.monotonic() < deadline, job
        time.sleep(0.05)
    assert job["status"] == "succeeded", job
    assert requests.get(job["images"][0]["url"], timeout=10).content == picture_file.getvalue()
    assert len(endpoint.accepted) == 1
    (day,) = requests.get(f"{second.url}/v1/usage", timeout=10).json()["data"]
    assert (day["jobs"], day["pictures"], day["reserved_engine_seconds"]) == (1, 1, 0)
    assert day["engine_seconds"] == job["cost"]["engine_seconds"] < 60
