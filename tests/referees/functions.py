"""The binary as a Lambda function, with SeaweedFS as its object store and ledger."""

from __future__ import annotations

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
from botocore.client import Config
from conftest import Service, free_port, listening, own_program

ID, SECRET, BUCKET = "AKIDTEST", "sekret", "pictures"
START_SECONDS = 120
"""Time limit until SeaweedFS accepts writes. It takes some seconds, and longer on a busy machine."""

LAMBDA = {
    "AWS_LAMBDA_FUNCTION_NAME": "tintype",
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
    "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
    "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/tintype",
    "AWS_LAMBDA_LOG_STREAM_NAME": "2026/11/23/[$LATEST]0",
}
"""Lambda's environment variables, except the address of the Runtime API."""


def s3(url: str) -> Any:
    """An S3 client for SeaweedFS."""
    path = Config(s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": ID, "aws_secret_access_key": SECRET}
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=path, **keys)


def start_weed(folder: Path, environment: dict[str, str]) -> Service:
    """Starts SeaweedFS with an empty bucket."""
    identity = {"name": "test", "credentials": [{"accessKey": ID, "secretKey": SECRET}]}
    identity["actions"] = ["Admin", "Read", "Write", "List"]
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    names = [f"{server}.port{kind}" for server in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")]
    ports = {name: free_port() for name in names}
    command = [own_program("weed"), "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3"]
    command += ["-s3.port.iceberg=0", "-s3.port.lance=0"]
    command += ["-master.telemetry=false", "-master.volumeSizeLimitMB=64", "-volume.max=20"]
    command += [f"-{name}={port}" for name, port in ports.items()]
    command += [f"-dir={folder}", f"-s3.config={folder / 's3.json'}"]
    service = listening(command, ports["s3.port"], environment, folder / "log")
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            client = s3(service.url)
            client.create_bucket(Bucket=BUCKET)
            client.put_object(Bucket=BUCKET, Key="ready", Body=b"ready")
            return service
        except Exception:
            assert time.monotonic() < deadline, service.log.read_text()
            time.sleep(0.2)


def settings(store: str, endpoint: str, **more: str) -> dict[str, str]:
    """The environment of a function in front of an endpoint. It matches the template."""
    return LAMBDA | {
        "TINTYPE_STORE": f"s3://{BUCKET}",
        "TINTYPE_S3_ENDPOINT": store,
        "TINTYPE_MODEL": "sagemaker:jumpstart-sd21",
        "MIMALLOC_ALLOW_THP": "0",
        "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": endpoint,
        "AWS_ACCESS_KEY_ID": ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        **more,
    }


@dataclass
class Function:
    """A running function."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """The lines of the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def resident_mib(self) -> float:
        """Resident memory of the process."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024

    def stop(self) -> int:
        """Terminates the process like Lambda. Returns the exit status."""
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(20)


def start_function(binary: str, folder: Path, environment: dict[str, str]) -> Function:
    """Starts the binary without arguments, like Lambda starts `bootstrap`."""
    log = folder / "log"
    with log.open("wb") as stderr:
        process = subprocess.Popen(
            [binary], env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=stderr, cwd=folder
        )
    return Function(process, log)
