"""The template and its policies, checked by cfn-lint, SAM, checkov, parliament and moto."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator

import boto3
import parliament
import pytest
from conftest import TEMPLATE, Service, own_program
from moto.iam.access_control import IAMPolicy, PermissionResult

ACCOUNT = "123456789012"
CODE = {"CodeBucket": "code", "CodeKey": "code.zip"}
IMAGE = {
    "ModelImage": f"{ACCOUNT}.dkr.ecr.eu-west-1.amazonaws.com/tintype:1",
    "ModelData": "s3://models/sd/21.tar.gz",
    "InstanceType": "ml.g4dn.xlarge",
}
KINDS = {
    "inside": CODE,
    "existing": CODE | {"EndpointName": "JumpStart-SD", "EndpointNameInArn": "jumpstart-sd"},
    "existing-async": CODE
    | {"EndpointName": "SD", "EndpointNameInArn": "sd", "Asynchronous": "true"}
    | {"AnswersAt": "theirs/out", "FailuresAt": "theirs/failed"},
    "new": CODE | IMAGE,
    "new-async": CODE | IMAGE | {"Asynchronous": "true", "MostInstances": "3"},
}


def run_checker(*command: str) -> str:
    """Runs a checker, which must find no errors. Returns its standard output."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"SAM_CLI_TELEMETRY": "0"})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_cfn_lint() -> None:
    assert run_checker(own_program("cfn-lint"), "--include-checks", "I", "--", str(TEMPLATE)) == ""


def test_sam() -> None:
    command = (own_program("sam"), "validate", "--lint", "--region", "us-east-1", "--template", str(TEMPLATE))
    assert "is a valid SAM Template" in run_checker(*command)


def test_checkov_passes_and_every_suppression_is_explained_and_needed() -> None:
    command = ("--skip-download", "--framework", "cloudformation", "--output", "json", "--file", str(TEMPLATE))
    results = json.loads(run_checker(os.environ["TINTYPE_CHECKOV"], *command))["results"]
    assert results["failed_checks"] == [] and results["parsing_errors"] == []
    assert len(results["passed_checks"]) >= 20
    skipped = [(check["resource"].split(".")[-1], check["check_id"]) for check in results["skipped_checks"]]
    assert all(len(check["check_result"]["suppress_comment"]) > 30 for check in results["skipped_checks"])
    resource, suppressed = "", []
    for line in TEMPLATE.read_text().splitlines():
        if named := re.match(r"  (\w+):$", line):
            resource = named[1]
        elif rule := re.match(r" +- id: (CKV\w+)$", line):
            suppressed.append((resource, rule[1]))
    assert sorted(suppressed) == sorted(skipped)


def test_tintype_prints_the_template(tintype: str) -> None:
    assert run_checker(tintype, "template") == TEMPLATE.read_text()
    assert len(TEMPLATE.read_bytes()) < 51_200, "CloudFormation's limit for a template in a request"


class Stack:
    """A stack that moto's CloudFormation has created."""

    def __init__(self, moto: Service, name: str, parameters: dict[str, str]) -> None:
        self.moto = moto
        self.name = name
        cloudformation = self.client("cloudformation")
        cloudformation.create_stack(
            StackName=name,
            TemplateBody=TEMPLATE.read_text(),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        described = cloudformation.describe_stacks(StackName=name)["Stacks"][0]
        assert described["StackStatus"] == "CREATE_COMPLETE", described
        self.outputs = {output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]}
        resources = cloudformation.describe_stack_resources(StackName=name)["StackResources"]
        # moto has no physical id for resource types that it does not support.
        known = [one for one in resources if "PhysicalResourceId" in one and "LogicalResourceId" in one]
        self.resources = {one["LogicalResourceId"]: one["PhysicalResourceId"] for one in known}

    def client(self, service: str) -> boto3.client:
        keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
        return boto3.client(service, endpoint_url=self.moto.url, region_name="us-east-1", **keys)

    def policy(self, role: str) -> dict:
        """The only policy of a role."""
        iam = self.client("iam")
        (name,) = iam.list_role_policies(RoleName=self.resources[role])["PolicyNames"]
        # moto stores the document as the text of a Python object, with None instead of AWS::NoValue.
        text = iam.get_role_policy(RoleName=self.resources[role], PolicyName=name)["PolicyDocument"]
        policy = ast.literal_eval(text)
        return policy | {"Statement": [statement for statement in policy["Statement"] if statement]}

    def allows(self, role: str, action: str, resource: str) -> bool:
        """Whether moto's policy evaluation, which ignores conditions, permits the action."""
        result = IAMPolicy(json.dumps(self.policy(role))).is_action_permitted(action, resource)
        return result == PermissionResult.PERMITTED


@pytest.fixture(scope="session")
def stack(moto: Service) -> Iterator[Callable[[str], Stack]]:
    """Creates a stack of this kind, once per session: `stack("new")`."""
    made: dict[str, Stack] = {}
    s3 = boto3.client(
        "s3", endpoint_url=moto.url, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    s3.create_bucket(Bucket="code")
    s3.put_object(Bucket="code", Key="code.zip", Body=b"not read")

    def get(kind: str) -> Stack:
        if kind not in made:
            made[kind] = Stack(moto, f"tintype-{kind}", KINDS[kind])
        return made[kind]

    yield get


@pytest.mark.parametrize("kind", KINDS)
def test_parliament_finds_no_errors_in_the_policies(stack: Callable[[str], Stack], kind: str) -> None:
    made = stack(kind)
    roles = ["Role"] + (["EndpointRole"] if kind.startswith("new") else [])
    for role in roles:
        findings = parliament.analyze_policy_string(json.dumps(made.policy(role))).findings
        assert findings == [], role


RECORDS = ["images/2026/11/23/a.jpg", "jobs/open/acme/1", "idem/acme/1", "keys/1", "usage/1"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_function_has_the_needed_permissions_only(stack: Callable[[str], Stack], kind: str) -> None:
    made = stack(kind)
    bucket = made.outputs["Bucket"]
    for key in RECORDS:
        for action in ("s3:GetObject", "s3:PutObject", "s3:DeleteObject"):
            assert made.allows("Role", action, f"arn:aws:s3:::{bucket}/{key}"), (action, key)
            assert not made.allows("Role", action, f"arn:aws:s3:::another/{key}"), (action, key)
    assert made.allows("Role", "s3:ListBucket", f"arn:aws:s3:::{bucket}")
    group = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/tintype/{made.name}:log-stream:1"
    assert made.allows("Role", "logs:PutLogEvents", group)
    for action, resource in [
        ("s3:PutObject", f"arn:aws:s3:::{bucket}/elsewhere/a"),
        ("s3:PutObject", f"arn:aws:s3:::{bucket}/async/a"),
        ("s3:DeleteBucket", f"arn:aws:s3:::{bucket}"),
        ("s3:PutBucketPolicy", f"arn:aws:s3:::{bucket}"),
        ("s3:ListAllMyBuckets", "*"),
        ("logs:PutLogEvents", f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/lambda/other:log-stream:1"),
        ("lambda:InvokeFunction", f"arn:aws:lambda:us-east-1:{ACCOUNT}:function:{made.outputs['Function']}"),
        ("iam:PassRole", "*"),
        ("sagemaker:CreateEndpoint", "*"),
        ("sagemaker:InvokeEndpoint", f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/another"),
        ("sagemaker:InvokeEndpointAsync", f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/another"),
    ]:
        assert not made.allows("Role", action, resource), (action, resource)


def endpoint_arn(made: Stack, kind: str) -> str:
    if kind.startswith("new"):
        name = made.outputs["Endpoint"]
        return made.client("sagemaker").describe_endpoint(EndpointName=name)["EndpointArn"]
    return f"arn:aws:sagemaker:us-east-1:{ACCOUNT}:endpoint/{KINDS[kind]['EndpointNameInArn']}"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "inside"])
def test_the_function_may_invoke_its_endpoint_only_in_its_mode(
    stack: Callable[[str], Stack], kind: str
) -> None:
    made, asynchronous = stack(kind), kind.endswith("async")
    arn = endpoint_arn(made, kind)
    assert made.allows("Role", "sagemaker:InvokeEndpointAsync", arn) == asynchronous
    assert made.allows("Role", "sagemaker:InvokeEndpoint", arn) == (not asynchronous)
    has_own_bucket = kind == "existing-async"
    assert made.allows("Role", "s3:GetObject", "arn:aws:s3:::theirs/out/1.out") == has_own_bucket
    assert made.allows("Role", "s3:GetObject", "arn:aws:s3:::theirs/failed/1.out") == has_own_bucket
    assert not made.allows("Role", "s3:GetObject", "arn:aws:s3:::theirs/other/1.out")
    result = f"arn:aws:s3:::{made.outputs['Bucket']}/async/answers/1.out"
    assert made.allows("Role", "s3:GetObject", result) == (kind == "new-async")


@pytest.mark.parametrize("kind", ["new", "new-async"])
def test_the_created_endpoint(stack: Callable[[str], Stack], kind: str) -> None:
    made, asynchronous = stack(kind), kind == "new-async"
    sagemaker, name = made.client("sagemaker"), made.outputs["Endpoint"]
    endpoint = sagemaker.describe_endpoint(EndpointName=name)
    configuration = sagemaker.describe_endpoint_config(EndpointConfigName=endpoint["EndpointConfigName"])
    (variant,) = configuration["ProductionVariants"]
    assert (variant["VariantName"], variant["InstanceType"]) == ("AllTraffic", "ml.g4dn.xlarge")
    model = sagemaker.describe_model(ModelName=variant["ModelName"])
    assert model["PrimaryContainer"]["Image"] == IMAGE["ModelImage"]
    assert model["PrimaryContainer"]["ModelDataUrl"] == IMAGE["ModelData"]
    assert model["ExecutionRoleArn"].endswith(made.resources["EndpointRole"])
    bucket = made.outputs["Bucket"]
    output = configuration.get("AsyncInferenceConfig", {}).get("OutputConfig", {})
    assert output.get("S3OutputPath") == (f"s3://{bucket}/async/answers" if asynchronous else None)
    function = made.client("lambda").get_function_configuration(FunctionName=made.outputs["Function"])
    variables = function["Environment"]["Variables"]
    assert variables["TINTYPE_MODEL"] == f"sagemaker:{name}"
    assert variables.get("TINTYPE_SAGEMAKER_ASYNC") == ("true" if asynchronous else None)


@pytest.mark.parametrize("kind", ["new", "new-async"])
def test_the_endpoint_may_read_its_model_and_image(stack: Callable[[str], Stack], kind: str) -> None:
    made, role = stack(kind), "EndpointRole"
    assert made.allows(role, "s3:GetObject", "arn:aws:s3:::models/sd/21.tar.gz")
    assert not made.allows(role, "s3:GetObject", "arn:aws:s3:::models/sd/other.tar.gz")
    assert not made.allows(role, "s3:GetObject", f"arn:aws:s3:::{made.outputs['Bucket']}/keys/1")
    image = f"arn:aws:ecr:eu-west-1:{ACCOUNT}:repository/tintype"
    assert made.allows(role, "ecr:BatchGetImage", image)
    assert not made.allows(role, "ecr:PutImage", image)
    assert not made.allows(role, "ecr:BatchGetImage", "arn:aws:ecr:eu-west-1:999999999999:repository/tintype")
    answers = f"arn:aws:s3:::{made.outputs['Bucket']}/async/answers/1.out"
    assert made.allows(role, "s3:PutObject", answers) == (kind == "new-async")
