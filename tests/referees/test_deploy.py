"""`tintype deploy`, `destroy` and `doctor` against MiniStack: gateway, function, bucket, and images."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import requests
from accounts import Aws, Deployed, SageMakerFront, create_endpoint, deploy
from conftest import Service
from PIL import Image


def assert_generates_images(deployed: Deployed) -> None:
    answer = deployed.get("/generate", params={"prompt": "a tiger", "seed": "1", "steps": "2"})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    objects = deployed.aws.client("s3").list_objects_v2(Bucket=deployed.bucket, Prefix="images/")["Contents"]
    assert len(objects) == 1
    picture = requests.get(body["url"], timeout=60)
    assert picture.status_code == 200, picture.text
    assert Image.open(io.BytesIO(picture.content)).size == (body["width"], body["height"])


def test_deploy_and_destroy(account: Callable[..., Aws]) -> None:
    aws = account()
    before = aws.resources()
    deployed = deploy(aws, "--model", "builtin")
    during = aws.resources()
    assert during["stacks"] == ["tintype"] and deployed.bucket in during["buckets"]
    assert deployed.function in during["functions"]
    assert "/tintype/tintype" in during["logs"]
    assert len(during["alarms"]) == 2
    (code,) = [name for name in during["buckets"] if name.startswith("tintype-code-")]
    closed = aws.client("s3").get_public_access_block(Bucket=code)["PublicAccessBlockConfiguration"]
    assert all(closed.values())
    tags = aws.client("s3").get_bucket_tagging(Bucket=code)["TagSet"]
    assert {"Key": "tintype", "Value": "tintype"} in tags

    assert_generates_images(deployed)
    refused = requests.get(f"{deployed.address}/generate?prompt=x", timeout=60)
    assert refused.status_code == 401, refused.text

    aws.succeeds("destroy", "--yes")
    assert aws.resources() == before


def test_a_second_deploy_updates_the_stack_and_keeps_keys_and_images(account: Callable[..., Aws]) -> None:
    aws = account()
    first = deploy(aws, "--model", "builtin", "--name", "again")
    again = json.loads(
        aws.succeeds("deploy", "--model", "builtin", "--name", "again", "--memory", "2048", "--yes", "--json")
    )
    assert again["key"] is None, "only the first deployment creates a key"
    assert (again["bucket"], again["changed"]) == (first.bucket, True)
    function = aws.client("lambda").get_function_configuration(FunctionName=first.function)
    assert function["MemorySize"] == 2048
    seen = aws.succeeds("doctor", "--name", "again")
    assert f"{first.bucket} is in us-east-1" in seen, "doctor finds the bucket of the deployment"
    (code,) = [name for name in aws.resources()["buckets"] if name.startswith("tintype-code-")]
    assert len(aws.client("s3").list_objects_v2(Bucket=code)["Contents"]) == 1
    listed = aws.succeeds("keys", "list", "--ledger", "bucket", "--store", f"s3://{first.bucket}")
    assert "first" in listed


def test_without_a_terminal_deploy_and_destroy_need_yes(account: Callable[..., Aws]) -> None:
    aws = account()
    before = aws.resources()
    refused = aws.run("deploy", "--model", "builtin")
    assert refused.returncode == 2 and "--yes" in refused.stderr
    assert "per 1,000 images" in refused.stderr
    assert aws.resources() == before
    nothing = aws.run("destroy")
    assert nothing.returncode == 0 and "no stack tintype" in nothing.stderr


def test_the_doctor(account: Callable[..., Aws], moto: Service) -> None:
    aws = account(AWS_ENDPOINT_URL_SAGEMAKER=moto.url)
    aws.client("s3").create_bucket(Bucket="pictures")
    healthy = aws.run("doctor", "--store", "s3://pictures")
    assert healthy.returncode == 0, healthy.stdout + healthy.stderr
    assert [line.split()[:2] for line in healthy.stdout.splitlines()] == [
        ["ok", subject] for subject in ("region", "clock", "credentials", "stack", "bucket", "permissions")
    ]
    broken = aws.run("doctor", "--store", "s3://nowhere", "--endpoint", "none")
    assert broken.returncode == 1
    wrong = [line for line in broken.stdout.splitlines() if line.startswith("FAILED")]
    assert len(wrong) == 2 and "no endpoint none" in wrong[0] and "no bucket nowhere" in wrong[1]


def test_in_front_of_an_endpoint(
    account: Callable[..., Aws], moto: Service, front: SageMakerFront, tmp_path: Path
) -> None:
    """The blog post's architecture: gateway, function, endpoint (with this binary as container), bucket."""
    create_endpoint(moto, "sd")
    aws = account(AWS_ENDPOINT_URL_SAGEMAKER=moto.url, AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=front.url)
    assert "sd is in service" in aws.succeeds("doctor", "--endpoint", "sd")
    settings = tmp_path / "function.toml"
    settings.write_text("sagemaker_size = 256\nsagemaker_steps = 10\n")
    deployed = deploy(aws, "--endpoint", "sd", "--config", str(settings))
    assert_generates_images(deployed)
    assert front.invoked == ["/endpoints/sd/invocations"], "a paid call is not repeated"
    absent = aws.run("deploy", "--endpoint", "absent", "--yes")
    assert absent.returncode == 1 and "no SageMaker endpoint absent in us-east-1" in absent.stderr
    aws.succeeds("destroy", "--yes")
    assert not re.search("tintype", json.dumps(aws.resources()))


def test_in_front_of_an_asynchronous_endpoint_with_its_own_bucket(
    account: Callable[..., Aws], front: SageMakerFront, tmp_path: Path
) -> None:
    aws = account(AWS_ENDPOINT_URL_SAGEMAKER=front.url, AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=front.url)
    front.results = aws.client("s3")
    front.results.create_bucket(Bucket="theirs")
    assert "asynchronous" in aws.succeeds("doctor", "--endpoint", "slow")
    settings = tmp_path / "function.toml"
    settings.write_text("sagemaker_size = 256\nsagemaker_steps = 10\n")
    deployed = deploy(aws, "--endpoint", "slow", "--config", str(settings))
    function = aws.client("lambda").get_function_configuration(FunctionName=deployed.function)
    assert function["Timeout"] == 120, "no call waits for an instance to start"
    assert_generates_images(deployed)
    assert front.invoked == ["/endpoints/slow/async-invocations"]
