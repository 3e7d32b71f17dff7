"""The Grafana dashboard: Grafana's own types read it, a parser of PromQL its queries, and what they ask for is there."""

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


def test_grafana_s_types_read_it() -> None:
    read = Dashboard.from_json(DASHBOARD)
    assert (read.title, read.uid) == ("tintype", "tintype")
    assert read.panels and len(read.panels) == len(DASHBOARD["panels"])
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_every_query_asks_for_what_there_is(
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
        told = requests.get(f"{url}/metrics", timeout=10).text
    there = {line.split("{")[0].split()[0] for line in told.splitlines() if not line.startswith("#")}
    for query in QUERIES:
        promql_parser.parse(query.replace("$__rate_interval", "5m"))
        asked = set(re.findall(r"tintype_\w+", query))
        assert asked and asked <= there, f"{asked - there} in {query}"
