"""An AWS account in MiniStack, a deployment in it, and a SageMaker endpoint in front of a container."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import boto3
import requests

if TYPE_CHECKING:
    from conftest import Service


@dataclass
class Aws:
    """An account in MiniStack, and the binary with the environment for it."""

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

    def resources(self) -> dict[str, list[str]]:
        """The names of the account's resources, for all types that a deployment creates."""
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
    """A deployment, as `tintype deploy --json` reports it."""

    aws: Aws
    url: str
    key: str
    bucket: str
    function: str

    @property
    def address(self) -> str:
        """The URL of the API in MiniStack, which has no separate host for each API."""
        (api,) = self.aws.client("apigateway").get_rest_apis()["items"]
        return f"{self.aws.service.url}/_aws/execute-api/{api['id']}/{self.url.rsplit('/', 1)[1]}"

    def get(self, path: str, **more: object) -> requests.Response:
        headers = {"Authorization": f"Bearer {self.key}"}
        return requests.get(f"{self.address}{path}", headers=headers, timeout=120, allow_redirects=False, **more)


def deploy(aws: Aws, *arguments: str) -> Deployed:
    report = json.loads(aws.succeeds("deploy", *arguments, "--response", "buffered", "--yes", "--json"))
    return Deployed(aws, report["url"], report["key"], report["bucket"], report["function"])


class SageMakerFront(ThreadingHTTPServer):
    """SageMaker in front of a container.

    It forwards `/endpoints/NAME/invocations` without most headers. It answers
    `/endpoints/NAME/async-invocations` first, then forwards the request and writes the result to the
    bucket `theirs`.
    """

    def __init__(self, container: str) -> None:
        super().__init__(("127.0.0.1", 0), SageMakerFrontHandler)
        self.container = container
        self.invoked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.results: boto3.client | None = None


class SageMakerFrontHandler(BaseHTTPRequestHandler):
    server: SageMakerFront

    def do_POST(self) -> None:
        assert self.headers["Authorization"].startswith("AWS4-HMAC-SHA256 ")
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers["X-Amz-Target"] == "SageMaker.DescribeEndpoint":
            paths = {"S3OutputPath": "s3://theirs/out", "S3FailurePath": "s3://theirs/failed"}
            description = {"EndpointName": json.loads(body)["EndpointName"], "EndpointStatus": "InService"}
            self.answer(200, json.dumps(description | {"AsyncInferenceConfig": {"OutputConfig": paths}}).encode())
            return
        self.server.invoked.append(self.path)
        if self.path.endswith("/async-invocations"):
            self.invoke_later(body)
        else:
            result = self.invoke(body, self.headers["Content-Type"], self.headers["Accept"])
            headers = {"x-Amzn-Invoked-Production-Variant": "AllTraffic", "Content-Type": result.headers["Content-Type"]}
            self.answer(result.status_code, result.content, headers)

    def invoke(self, body: bytes, content_type: str, accept: str) -> requests.Response:
        passed = {"Content-Type": content_type, "Accept": accept}
        return requests.post(f"{self.server.container}/invocations", data=body, headers=passed, timeout=60)

    def invoke_later(self, body: bytes) -> None:
        key = f"out/{len(self.server.invoked)}.out"
        location = {
            "X-Amzn-SageMaker-OutputLocation": f"s3://theirs/{key}",
            "X-Amzn-SageMaker-FailureLocation": f"s3://theirs/failed/{len(self.server.invoked)}.out",
        }
        content_type = self.headers.get("X-Amzn-SageMaker-Content-Type", "application/json")
        accept = self.headers.get("X-Amzn-SageMaker-Accept", "application/json")
        self.answer(202, b'{"InferenceId":"1"}', location)
        result = self.invoke(body, content_type, accept)
        assert result.status_code == 200, result.text
        self.server.results.put_object(Bucket="theirs", Key=key, Body=result.content)

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in ({"Content-Type": "application/json"} | (headers or {})).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def create_endpoint(moto: Service, name: str) -> None:
    """Creates an endpoint in moto's SageMaker control plane."""
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
