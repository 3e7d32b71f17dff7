"""The Grafana dashboard: its format, the syntax of its queries, and the existence of the queried metrics."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

import promql_parser
import requests
from conftest import ROOT, serving
from grafana_foundation_sdk.models.dashboard import Dashboard

DASHBOARD = json.loads((ROOT / "deploy/grafana/tintype.json").read_text())
QUERIES = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]


def test_grafanas_types_parse_the_dashboard() -> None:
    read = Dashboard.from_json(DASHBOARD)
    assert (read.title, read.uid) == ("tintype", "tintype")
    assert read.panels and len(read.panels) == len(DASHBOARD["panels"])
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_queried_metric_exists(
    tintype: str, clean_environment: dict[str, str], tmp_path: Path
) -> None:
    key = subprocess.run(
        [tintype, "keys", "create", "--name", "slow", "--rate", "1/h", "--data-dir", str(tmp_path / "data")],
        env=clean_environment, cwd=tmp_path, check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    with serving(tintype, clean_environment, tmp_path) as url:
        bearer = {"Authorization": f"Bearer {key}"}
        statuses = [
            requests.get(f"{url}/generate", params={"prompt": "x", "steps": 2}, headers=bearer, timeout=60).status_code
            for _ in range(2)
        ]
        assert statuses == [200, 429]
        text = requests.get(f"{url}/metrics", timeout=10).text
    exported = {line.split("{")[0].split()[0] for line in text.splitlines() if not line.startswith("#")}
    for query in QUERIES:
        promql_parser.parse(query.replace("$__rate_interval", "5m"))
        queried = set(re.findall(r"tintype_\w+", query))
        assert queried and queried <= exported, f"{queried - exported} in {query}"
