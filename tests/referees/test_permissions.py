"""The permission checks of `tintype doctor`.

MiniStack simulates and enforces policies. AWS's schemas of the template's resources, parliament's tables
of actions and botocore's model of the operation check what `doctor` requests.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl

import botocore.session
import cfnlint
import parliament
import pytest
import requests
from accounts import Aws, deploy
from botocore.serialize import create_serializer
from botocore.validate import ParamValidator
from conftest import TEMPLATE

CALLED = {
    *(f"cloudformation:{verb}Stack" for verb in ("Create", "Delete", "Update")),
    *(f"cloudformation:DescribeStack{what}" for what in ("s", "Events", "Resources")),
    *("s3:DeleteObjectVersion", "s3:GetObject", "s3:ListBucketVersions", "s3:PutObject"),
}
"""Actions that tintype calls itself. The resource schemas do not list them."""


def user(aws: Aws, *policies: dict) -> Aws:
    """The account with the credentials of a new user who has these policies."""
    iam = aws.client("iam")
    name = f"user-{len(iam.list_users()['Users'])}"
    iam.create_user(UserName=name)
    for number, policy in enumerate(policies):
        iam.put_user_policy(UserName=name, PolicyName=str(number), PolicyDocument=json.dumps(policy))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    own = {"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    return replace(aws, environment=aws.environment | own)


def policy(*statements: tuple[str, str, str]) -> dict:
    """A policy from effects, actions and resources."""
    listed = [{"Effect": effect, "Action": action, "Resource": on} for effect, action, on in statements]
    return {"Version": "2012-10-17", "Statement": listed}


EVERYTHING = policy(("Allow", "*", "*"))


def permissions(aws: Aws, *arguments: str) -> tuple[list[str], list[dict]]:
    """Runs `doctor`. Returns the lines about permissions and the policies below them."""
    output = aws.run("doctor", *arguments).stdout
    lines = [line for line in output.splitlines() if re.match(r"\S+ +permissions ", line)]
    return lines, [json.loads(found) for found in re.findall(r"^{$.*?^}$", output, re.DOTALL | re.MULTILINE)]


@pytest.fixture
def missing(account: Callable[..., Aws]) -> dict:
    """The policy that `doctor` prints for a user without policies."""
    (line,), (wanted,) = permissions(user(account()))
    assert line.startswith("FAILED") and "no IAM policy allows these actions" in line
    return wanted


def actions(wanted: dict) -> set[str]:
    return {action for statement in wanted["Statement"] for action in statement["Action"]}


def test_the_printed_policy_is_sufficient(account: Callable[..., Aws], missing: dict) -> None:
    """MiniStack ignores the context of a simulation, so a condition on the context is never met."""
    aws = account()
    (line,), (rest,) = permissions(user(aws, missing))
    assert line.startswith("FAILED") and actions(rest) == {"iam:PassRole"}
    (line,), policies = permissions(user(aws, missing, policy(("Allow", "iam:PassRole", "*"))))
    assert line.startswith("ok") and "not with `--image`, which also needs" in line and policies == []
    assert "sagemaker:CreateEndpoint," in line
    (line,), policies = permissions(user(aws, EVERYTHING))
    assert line.endswith("you may deploy and destroy") and policies == []


def test_deploy_and_destroy_succeed_with_the_printed_policy(
    account: Callable[..., Aws], missing: dict
) -> None:
    """In an account that enforces policies."""
    aws = account(AUTH="true")
    before = aws.resources()
    without_policy = user(aws)
    refused = without_policy.run("deploy", "--model", "builtin", "--yes")
    assert refused.returncode == 1 and "not allowed to" in refused.stderr
    lines, _ = permissions(without_policy)
    assert lines[0].startswith("unknown") and "iam:SimulatePrincipalPolicy" in lines[0]
    permitted = user(aws, missing)
    # The bucket policy refuses requests without TLS, and MiniStack has no TLS.
    unencrypted = permitted.run("deploy", "--model", "builtin", "--yes")
    assert "deployed at" in unencrypted.stderr and "explicit deny in a resource-based policy" in unencrypted.stderr
    (bucket,) = [name for name in aws.resources()["buckets"] if not name.startswith("tintype-code-")]
    aws.client("s3").delete_bucket_policy(Bucket=bucket)
    assert deploy(permitted, "--model", "builtin").key
    permitted.succeeds("destroy", "--yes")
    assert aws.resources() == before


def test_a_deny_is_reported_separately(account: Callable[..., Aws]) -> None:
    aws = account()
    (line,), policies = permissions(user(aws, EVERYTHING, policy(("Deny", "lambda:CreateFunction", "*"))))
    assert line.startswith("FAILED") and line.endswith("for lambda:CreateFunction") and policies == []
    root = permissions(aws)
    assert root[0][0].startswith("ok") and "root" in root[0][0]


def test_the_session_of_a_role(account: Callable[..., Aws]) -> None:
    aws = account()
    iam = aws.client("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    trust = json.dumps({"Version": "2012-10-17", "Statement": [trust]})
    arn = iam.create_role(RoleName="deployer", AssumeRolePolicyDocument=trust)["Role"]["Arn"]
    held = policy(("Allow", "*", "*"), ("Deny", "iam:CreateRole", "*"))
    iam.put_role_policy(RoleName="deployer", PolicyName="held", PolicyDocument=json.dumps(held))
    taken = aws.client("sts").assume_role(RoleArn=arn, RoleSessionName="me")["Credentials"]
    session = {
        "AWS_ACCESS_KEY_ID": taken["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": taken["SecretAccessKey"],
        "AWS_SESSION_TOKEN": taken["SessionToken"],
    }
    aws = replace(aws, environment=aws.environment | session)
    assert "assumed-role/deployer/me" in aws.run("doctor").stdout
    (line,), _ = permissions(aws)
    assert line.startswith("FAILED") and line.endswith("for iam:CreateRole")


def test_the_permissions_of_the_function(account: Callable[..., Aws]) -> None:
    aws = account()
    deployed = deploy(aws, "--model", "builtin")
    lines, _ = permissions(aws)
    assert [line.split()[0] for line in lines] == ["ok", "ok"] and "the function has all permissions" in lines[1]
    iam = aws.client("iam")
    (role,) = [role["RoleName"] for role in iam.list_roles()["Roles"] if "Role" in role["RoleName"]]
    (held,) = iam.list_role_policies(RoleName=role)["PolicyNames"]
    less = policy(("Allow", "s3:GetObject", "*"), ("Allow", "s3:ListBucket", "*"), ("Allow", "logs:*", "*"))
    iam.put_role_policy(RoleName=role, PolicyName=held, PolicyDocument=json.dumps(less))
    (_, line), (wanted,) = permissions(aws)
    assert line.startswith("FAILED") and role in line
    assert actions(wanted) == {"s3:DeleteObject", "s3:PutObject"}
    assert f"arn:aws:s3:::{deployed.bucket}/jobs/*" in {statement["Resource"] for statement in wanted["Statement"]}


def test_every_action_exists_and_applies_to_its_resource(missing: dict) -> None:
    findings = parliament.analyze_policy_string(json.dumps(missing)).findings
    assert [finding for finding in findings if finding.severity != "LOW"] == [], findings


def required_permissions() -> dict[str, set[str]]:
    """The permissions that CloudFormation needs per resource type, from AWS's schemas in cfn-lint."""
    schemas = Path(cfnlint.__file__).parent / "data/schemas"
    of_type = json.loads((schemas / "providers/us-east-1.json").read_text())
    types = set(re.findall(r"^    Type: (AWS::\S+)$", TEMPLATE.read_text(), re.MULTILINE))
    needed = {}
    for kind in types:
        schema = json.loads((schemas / f"resources/{of_type[kind]}.json").read_text())
        needed[kind] = {action for one in schema["handlers"].values() for action in one["permissions"]}
        needed[kind] |= set(schema.get("tagging", {}).get("permissions", []))
    return needed


def test_doctor_checks_what_cloudformation_needs(account: Callable[..., Aws], missing: dict) -> None:
    needed = required_permissions()
    assert len(needed) >= 18
    # `doctor` lists the actions that only `--image` needs by name.
    (line,), _ = permissions(user(account(), missing, policy(("Allow", "iam:PassRole", "*"))))
    for_image = set(re.findall(r"[a-z-]+:[A-Z]\w+", line))
    checked = actions(missing) | for_image
    assert checked - set().union(*needed.values()) - CALLED == set()
    for kind, permitted in needed.items():
        assert permitted & checked, f"no permission is checked for {kind}"


class Recorder(ThreadingHTTPServer):
    """Forwards requests to IAM and records their bodies."""

    def __init__(self, iam: str) -> None:
        super().__init__(("127.0.0.1", 0), RecorderHandler)
        self.iam = iam
        self.bodies: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class RecorderHandler(BaseHTTPRequestHandler):
    server: Recorder

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body.decode())
        # The signature is for this host. MiniStack does not verify it.
        headers = {name: self.headers[name] for name in ("Content-Type", "Authorization", "X-Amz-Date")}
        answer = requests.post(self.server.iam, data=body, headers=headers, timeout=60)
        self.send_response(answer.status_code)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def recorder(request: pytest.FixtureRequest) -> Iterator[Callable[[str], Recorder]]:
    """Starts a recorder in front of the IAM at this URL: `recorder(url)`."""

    def start(iam: str) -> Recorder:
        server = Recorder(iam)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def stop() -> None:
            server.shutdown()
            thread.join()
            server.server_close()

        request.addfinalizer(stop)
        return server

    yield start


def as_parameters(form: dict[str, str]) -> dict:
    """Converts the form of a simulation request to botocore's parameters."""
    context: dict[str, dict] = {}
    lists: dict[str, list[str]] = {}
    parameters: dict = {}
    for name, value in form.items():
        if entry := re.fullmatch(r"ContextEntries\.member\.(\d+)\.(\w+)(\.member\.1)?", name):
            context.setdefault(entry[1], {})[entry[2]] = [value] if entry[3] else value
        elif member := re.fullmatch(r"(\w+)\.member\.\d+", name):
            lists.setdefault(member[1], []).append(value)
        elif name not in ("Action", "Version"):
            parameters[name] = value
    return parameters | lists | {"ContextEntries": list(context.values())}


def test_botocore_sends_the_same_simulation_requests(
    account: Callable[..., Aws], recorder: Callable[[str], Recorder]
) -> None:
    aws = account()
    server = recorder(aws.service.url)
    caller = user(aws, EVERYTHING)
    permissions(replace(caller, environment=caller.environment | {"AWS_ENDPOINT_URL_IAM": server.url}))
    model = botocore.session.get_session().get_service_model("iam")
    operation, serializer = model.operation_model("SimulatePrincipalPolicy"), create_serializer("query")
    assert len(server.bodies) > 10
    for body in server.bodies:
        form = dict(parse_qsl(body, strict_parsing=True))
        parameters = as_parameters(form)
        if parameters["ContextEntries"] == []:
            del parameters["ContextEntries"]
        problems = ParamValidator().validate(parameters, operation.input_shape)
        assert not problems.has_errors(), problems.generate_report()
        assert serializer.serialize_to_request(parameters, operation)["body"] == form
