"""Runs the commands of docs/aws.md in order, in a terminal, and answers all questions with yes."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from accounts import Aws, Deployed, SageMakerFront, create_endpoint
from conftest import ROOT, Service

GUIDE = (ROOT / "docs/aws.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
SETTINGS = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)

NEEDS_SAGEMAKER = "tintype deploy --image"
"""The command that MiniStack does not support. (moto creates the template's endpoint in test_template.py.)"""


def write_wrapper(folder: Path, tintype: str) -> None:
    """Writes a `tintype` command that deploys buffered responses, the only kind that MiniStack supports."""
    folder.mkdir()
    script = folder / "tintype"
    script.write_text(f'#!/bin/sh\n[ "$1" = deploy ] && set -- "$@" --response buffered\nexec {tintype} "$@"\n')
    script.chmod(0o755)


def run_in_terminal(command: str, environment: dict[str, str]) -> str:
    """Runs a command in a terminal and answers all questions with yes. Returns its standard output."""
    controller, terminal = pty.openpty()
    try:
        os.write(controller, b"y\n" * 3)
        done = subprocess.run(
            ["bash", "-eu", "-c", command],
            stdin=terminal,
            env=environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
    finally:
        os.close(controller)
        os.close(terminal)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_command(
    account: Callable[..., Aws], moto: Service, front: SageMakerFront, tmp_path: Path
) -> None:
    create_endpoint(moto, "my-endpoint")
    aws = account(AWS_ENDPOINT_URL_SAGEMAKER=moto.url, AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=front.url)
    write_wrapper(tmp_path / "bin", aws.tintype)
    environment = aws.environment | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    before = aws.resources()
    printed, deployments = {}, []
    for command in COMMANDS:
        if command.startswith(NEEDS_SAGEMAKER):
            continue
        output = printed[command] = run_in_terminal(command, environment)
        if "tintype deploy" in command:
            deployments.append(command)
            lines = [line for line in output.splitlines() if line.startswith(("url", "bucket", "key"))]
            values = dict(line.split(maxsplit=1) for line in lines)
            key = values.get("key") or environment["KEY"]
            deployed = Deployed(aws, values["url"], key, values["bucket"], "")
            environment |= {"KEY": deployed.key, "BUCKET": deployed.bucket, "URL": deployed.address}
    assert len(printed) == len(COMMANDS) - 1
    assert len(deployments) == 2, "one deployment with the model inside, one in front of an endpoint"
    (response,) = [output for command, output in printed.items() if command.startswith("curl")]
    assert '"url":"http' in response, response
    (keys,) = [output for command, output in printed.items() if "keys list" in command]
    assert "first" in keys and "acme" in keys
    assert aws.resources() == before


def test_the_settings_files_are_valid(
    tintype: str, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    assert SETTINGS
    for number, settings in enumerate(SETTINGS):
        file = tmp_path / f"{number}.toml"
        file.write_text(settings)
        command = [tintype, "config", "--config", str(file)]
        done = subprocess.run(command, env=clean_environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
