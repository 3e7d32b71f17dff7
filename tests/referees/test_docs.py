"""The commands of docs/aws.md, one after the other, by somebody at a terminal who says yes."""

from __future__ import annotations

import os
import pty
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

from accounts import Aws, Deployed, SageMakerFront, endpoint_at
from conftest import ROOT, Service

GUIDE = (ROOT / "docs/aws.md").read_text()
COMMANDS = re.findall(r"^```sh\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
SETTINGS = re.findall(r"^```toml\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)

WITH_AN_ENDPOINT_OF_ITS_OWN = "tintype deploy --image"
"""What MiniStack cannot: it has no SageMaker. (moto makes the template's endpoint in test_template.py.)"""


def program(folder: Path, tintype: str) -> None:
    """`tintype` for the commands: answers are buffered, since MiniStack knows no others."""
    folder.mkdir()
    script = folder / "tintype"
    script.write_text(f'#!/bin/sh\n[ "$1" = deploy ] && set -- "$@" --response buffered\nexec {tintype} "$@"\n')
    script.chmod(0o755)


def at_a_terminal(command: str, environment: dict[str, str]) -> str:
    """Runs a command, says yes to every question, and gives what it printed."""
    ours, theirs = pty.openpty()
    try:
        os.write(ours, b"y\n" * 3)
        done = subprocess.run(
            ["bash", "-eu", "-c", command], stdin=theirs, env=environment, capture_output=True, text=True, timeout=300
        )
    finally:
        os.close(ours)
        os.close(theirs)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_every_command(
    account: Callable[..., Aws], moto: Service, front: SageMakerFront, tmp_path: Path
) -> None:
    endpoint_at(moto, "my-endpoint")
    aws = account(AWS_ENDPOINT_URL_SAGEMAKER=moto.url, AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=front.url)
    program(tmp_path / "bin", aws.tintype)
    environment = aws.environment | {"PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    nothing = aws.left()
    printed, deployments = {}, []
    for command in COMMANDS:
        if command.startswith(WITH_AN_ENDPOINT_OF_ITS_OWN):
            continue
        said = printed[command] = at_a_terminal(command, environment)
        if "tintype deploy" in command:
            deployments.append(command)
            of = dict(line.split(maxsplit=1) for line in said.splitlines() if line.startswith(("url", "bucket", "key")))
            key = of.get("key") or environment["KEY"]
            deployed = Deployed(aws, of["url"], key, of["bucket"], "")
            environment |= {"KEY": deployed.key, "BUCKET": deployed.bucket, "URL": deployed.address}
    assert len(printed) == len(COMMANDS) - 1
    assert len(deployments) == 2, "with the model inside, and in front of an endpoint"
    (picture,) = [said for command, said in printed.items() if command.startswith("curl")]
    assert '"url":"http' in picture, picture
    (keys,) = [said for command, said in printed.items() if "keys list" in command]
    assert "first" in keys and "acme" in keys
    assert aws.left() == nothing


def test_the_settings_are_settings(
    tintype: str, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    assert SETTINGS
    for number, settings in enumerate(SETTINGS):
        file = tmp_path / f"{number}.toml"
        file.write_text(settings)
        command = [tintype, "config", "--config", str(file)]
        done = subprocess.run(command, env=clean_environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
