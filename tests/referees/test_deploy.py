"""`tintype deploy` and `destroy` for real, at MiniStack: gateway, function, bucket, link, and nothing left."""

from __future__ import annotations

import io
import json
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import boto3
import pytest
import requests
from conftest import Service, free_port, listening
from PIL import Image


@dataclass
class Aws:
    """An account at MiniStack, and the binary pointed at it."""

    service: Service
    tintype: str
    environment: dict[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [self.tintype, *arguments]
        return subprocess.run(
            command, env=self.environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600
        )

    def succeeds(self, *arguments: str) -> str:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def client(self, service: str) -> boto3.client:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, endpoint_url=self.service.url, region_name="us-east-1", **keys)

    def left(self) -> dict[str, list[str]]:
        """What is there of everything that a deployment makes."""
        stacks = self.client("cloudformation").describe_stacks()["Stacks"]
        return {
            "stacks": [one["StackName"] for one in stacks if one["StackStatus"] != "DELETE_COMPLETE"],
            "buckets": [one["Name"] for one in self.client("s3").list_buckets()["Buckets"]],
            "functions": [one["FunctionName"] for one in self.client("lambda").list_functions()["Functions"]],
            "roles": [one["RoleName"] for one in self.client("iam").list_roles()["Roles"]],
            "logs": [one["logGroupName"] for one in self.client("logs").describe_log_groups()["logGroups"]],
            "apis": [one["name"] for one in self.client("apigateway").get_rest_apis()["items"]],
            "alarms": [one["AlarmName"] for one in self.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        }


@dataclass
class Deployed:
    """What `tintype deploy --json` said."""

    aws: Aws
    url: str
    key: str
    bucket: str
    function: str

    @property
    def address(self) -> str:
        """Where MiniStack answers for the API: it has no host of its own for each."""
        (api,) = self.aws.client("apigateway").get_rest_apis()["items"]
        return f"{self.aws.service.url}/_aws/execute-api/{api['id']}/{self.url.rsplit('/', 1)[1]}"

    def get(self, path: str, **more: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return requests.get(f"{self.address}{path}", headers=headers, timeout=120, allow_redirects=False, **more)


@pytest.fixture
def account(
    start_ministack: Callable[..., Service], tintype: str, aws_environment: Callable[..., dict[str, str]]
) -> Iterator[Callable[..., Aws]]:
    """An empty account: `account(AWS_ENDPOINT_URL_SAGEMAKER=…)`."""
    started: list[Service] = []

    def start(**more: str) -> Aws:
        service = start_ministack(**more)
        started.append(service)
        return Aws(service, tintype, aws_environment(AWS_ENDPOINT_URL=service.url, **more))

    yield start
    for service in started:
        service.stop()


def deploy(aws: Aws, *arguments: str) -> Deployed:
    said = json.loads(aws.succeeds("deploy", *arguments, "--response", "buffered", "--yes", "--json"))
    return Deployed(aws, said["url"], said["key"], said["bucket"], said["function"])


def assert_makes_pictures(deployed: Deployed) -> None:
    answer = deployed.get("/generate", params={"prompt": "a tiger", "seed": "1", "steps": "2"})
    assert answer.status_code == 200, answer.text
    said = answer.json()
    objects = deployed.aws.client("s3").list_objects_v2(Bucket=deployed.bucket, Prefix="images/")["Contents"]
    assert len(objects) == 1
    picture = requests.get(said["url"], timeout=60)
    assert picture.status_code == 200, picture.text
    assert Image.open(io.BytesIO(picture.content)).size == (said["width"], said["height"])


def test_from_nothing_to_a_picture_and_back_to_nothing(account: Callable[..., Aws]) -> None:
    aws = account()
    before = aws.left()
    deployed = deploy(aws, "--model", "builtin")
    during = aws.left()
    assert during["stacks"] == ["tintype"] and deployed.bucket in during["buckets"]
    assert deployed.function in during["functions"]
    assert "/tintype/tintype" in during["logs"]
    assert len(during["alarms"]) == 2
    (code,) = [name for name in during["buckets"] if name.startswith("tintype-code-")]
    closed = aws.client("s3").get_public_access_block(Bucket=code)["PublicAccessBlockConfiguration"]
    assert all(closed.values())
    tags = aws.client("s3").get_bucket_tagging(Bucket=code)["TagSet"]
    assert {"Key": "tintype", "Value": "tintype"} in tags

    assert_makes_pictures(deployed)
    refused = requests.get(f"{deployed.address}/generate?prompt=x", timeout=60)
    assert refused.status_code == 401, refused.text

    aws.succeeds("destroy", "--yes")
    assert aws.left() == before


def test_deploying_again_changes_what_changed_and_keeps_keys_and_pictures(account: Callable[..., Aws]) -> None:
    aws = account()
    first = deploy(aws, "--model", "builtin", "--name", "again")
    again = json.loads(
        aws.succeeds("deploy", "--model", "builtin", "--name", "again", "--memory", "2048", "--yes", "--json")
    )
    assert again["key"] is None, "the first key is made once"
    assert (again["bucket"], again["changed"]) == (first.bucket, True)
    function = aws.client("lambda").get_function_configuration(FunctionName=first.function)
    assert function["MemorySize"] == 2048
    (code,) = [name for name in aws.left()["buckets"] if name.startswith("tintype-code-")]
    assert len(aws.client("s3").list_objects_v2(Bucket=code)["Contents"]) == 1
    listed = aws.succeeds("keys", "list", "--ledger", "bucket", "--store", f"s3://{first.bucket}")
    assert "first" in listed


def test_without_a_terminal_nothing_is_spent_or_lost_unasked(account: Callable[..., Aws]) -> None:
    aws = account()
    before = aws.left()
    refused = aws.run("deploy", "--model", "builtin")
    assert refused.returncode == 2 and "--yes" in refused.stderr
    assert "a thousand pictures" in refused.stderr
    assert aws.left() == before
    nothing = aws.run("destroy")
    assert nothing.returncode == 0 and "no stack tintype" in nothing.stderr


def test_the_doctor(account: Callable[..., Aws], moto: Service) -> None:
    aws = account(AWS_ENDPOINT_URL_SAGEMAKER=moto.url)
    aws.client("s3").create_bucket(Bucket="pictures")
    well = aws.run("doctor", "--store", "s3://pictures")
    assert well.returncode == 0, well.stdout + well.stderr
    assert [line.split()[:2] for line in well.stdout.splitlines()] == [
        ["ok", subject] for subject in ("region", "clock", "credentials", "stack", "bucket")
    ]
    ill = aws.run("doctor", "--store", "s3://nowhere", "--endpoint", "none")
    assert ill.returncode == 1
    wrong = [line for line in ill.stdout.splitlines() if line.startswith("WRONG")]
    assert len(wrong) == 2 and "no endpoint none" in wrong[0] and "no bucket nowhere" in wrong[1]


class SageMakerFront(ThreadingHTTPServer):
    """What SageMaker does between its Runtime API and a container: hands `/endpoints/NAME/invocations` on, less most headers."""

    def __init__(self, container: str) -> None:
        super().__init__(("127.0.0.1", 0), SageMakerFrontHandler)
        self.container = container
        self.invoked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class SageMakerFrontHandler(BaseHTTPRequestHandler):
    server: SageMakerFront

    def do_POST(self) -> None:
        self.server.invoked.append(self.path)
        assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 ")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        passed = {name: self.headers[name] for name in ("Content-Type", "Accept")}
        answer = requests.post(f"{self.server.container}/invocations", data=body, headers=passed, timeout=60)
        self.send_response(answer.status_code)
        self.send_header("Content-Type", answer.headers["Content-Type"])
        self.send_header("Content-Length", str(len(answer.content)))
        self.send_header("x-Amzn-Invoked-Production-Variant", "AllTraffic")
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def container(tintype: str, clean_environment: dict[str, str], tmp_path: Path) -> Iterator[Service]:
    """This program as the container of an endpoint, with the built-in model."""
    port = free_port()
    environment = clean_environment | {"SAGEMAKER_BIND_TO_PORT": str(port)}
    command = [tintype, "serve", "--sagemaker", "--data-dir", str(tmp_path / "data")]
    service = listening(command, port, environment, tmp_path / "log")
    yield service
    service.stop()


@pytest.fixture
def front(container: Service) -> Iterator[SageMakerFront]:
    server = SageMakerFront(container.url)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def endpoint_at(moto: Service, name: str) -> None:
    """An endpoint as SageMaker's control plane sees it."""
    sagemaker = boto3.client(
        "sagemaker",
        endpoint_url=moto.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    variant = {"VariantName": "AllTraffic", "ModelName": f"{name}-model", "InstanceType": "ml.g4dn.xlarge"}
    image = {"Image": "123456789012.dkr.ecr.us-east-1.amazonaws.com/tintype:1"}
    role = "arn:aws:iam::123456789012:role/sagemaker"
    sagemaker.create_model(ModelName=f"{name}-model", ExecutionRoleArn=role, PrimaryContainer=image)
    sagemaker.create_endpoint_config(
        EndpointConfigName=f"{name}-config", ProductionVariants=[variant | {"InitialInstanceCount": 1}]
    )
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=f"{name}-config")


def test_in_front_of_an_endpoint(
    account: Callable[..., Aws], moto: Service, front: SageMakerFront, tmp_path: Path
) -> None:
    """The blog post, whole: gateway, function, endpoint (this program as its container), bucket, link."""
    endpoint_at(moto, "sd")
    aws = account(AWS_ENDPOINT_URL_SAGEMAKER=moto.url, AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=front.url)
    assert "sd is in service" in aws.succeeds("doctor", "--endpoint", "sd")
    settings = tmp_path / "function.toml"
    settings.write_text("sagemaker_size = 256\nsagemaker_steps = 10\n")
    deployed = deploy(aws, "--endpoint", "sd", "--config", str(settings))
    assert_makes_pictures(deployed)
    assert front.invoked == ["/endpoints/sd/invocations"], "a paid call is made once"
    absent = aws.run("deploy", "--endpoint", "absent", "--yes")
    assert absent.returncode == 1 and "no SageMaker endpoint absent in us-east-1" in absent.stderr
    aws.succeeds("destroy", "--yes")
    assert not re.search("tintype", json.dumps(aws.left()))
