"""The embedded S3 server, tested by two suites for S3 servers: s3s-e2e, and ceph's s3-tests.

ceph's tests are not downloaded: `TINTYPE_S3_TESTS` names a folder with them. `expected_failures.yaml` has the tests that
fail because of what docs/s3.md refuses, and the reasons.
"""

from __future__ import annotations

import configparser
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml
from conftest import serving

FOLDER = Path(__file__).with_name("s3")
EXPECTED: dict[str, dict[str, list[str]]] = yaml.safe_load((FOLDER / "expected_failures.yaml").read_text())

HOW_TO_GET = "no s3-tests: run `git clone https://github.com/ceph/s3-tests` and set TINTYPE_S3_TESTS to its folder"

OTHER_FEATURES = (
    "versioning or versioned or version or acl or (policy and not post_object) or lock or retention or legal_hold or tagging or website or lifecycle"
    " or encrypt or sse or kms or logging or notification or cors or restore or cloud or public_block or block_public"
    " or publicaccess or current or last_modified_time or match_size or ownership or grant or delete_marker or account or torrent or access_bucket or usage or storage_class"
)
"""Names of tests of features that docs/s3.md does not claim. `current` is in the names of tests with versions, and
`last_modified_time` and `match_size` are conditions that S3 has for directory buckets only."""

CONDITIONS = "ifmatch or ifnonematch or ifnonmatch or ifmodified or ifunmodified or if_match or if_none_match"
CHECKSUMS = "checksum or cksum or attributes"
MULTIPART = "multipart or upload_part or get_part"
OTHER_GROUPS = f"{CONDITIONS} or {CHECKSUMS} or {MULTIPART} or atomic or object_copy or ranged"

GROUPS = {
    "listing": "(bucket_list or basic_key_count or special_key_names)",
    "buckets": "(bucket_create or create_bucket or bucket_delete or bucket_head or head_bucket or bucket_get_location"
    " or bucket_notexist or bucketv2_notexist or bucket_recreate or buckets or nonexist_bucket or expected_bucket_owner)"
    " and not (special_key_names or test_headers)",
    "objects": "(object_write_ or object_read or object_head or object_set or object_metadata or object_delete_key"
    " or multi_object or object_content_encoding or object_requestid or object_put_auth or 100_continue)"
    f" and not (nonexist_bucket or unreadable or post_object or {OTHER_GROUPS})",
    "conditions": f"({CONDITIONS}) and not ({MULTIPART} or copy)",
    "copy": "(object_copy or copy_object)",
    "multipart": f"({MULTIPART}) and not ({CHECKSUMS} or atomic)",
    "ranges": "ranged",
    "signatures": "(object_raw or object_anon) and not post_object",
    "atomic": "atomic",
    "checksums": f"({CHECKSUMS}) and not post_object",
    "forms": "post_object",
    "headers": "test_headers and not aws2",
}
"""The groups of ceph's tests, as expressions of pytest's option `-k`."""


@pytest.fixture(scope="module")
def s3_server(
    tintype: str, clean_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, str, str]]:
    """The URL and the access key of a server."""
    folder = tmp_path_factory.mktemp("s3")
    with serving(tintype, clean_environment, folder) as url:
        credentials = configparser.ConfigParser()
        credentials.read(folder / "data" / "credentials")
        key = credentials["default"]
        yield url, key["aws_access_key_id"], key["aws_secret_access_key"]


def unexpected(failed: set[str], run: set[str], suite: str) -> dict[str, set[str]]:
    """The tests that fail although they should pass, and the reverse."""
    expected = {name for names in EXPECTED[suite].values() for name in names}
    return {"failed": failed - expected, "passed": (expected & run) - failed}


def test_s3s_e2e(s3_server: tuple[str, str, str], clean_environment: dict[str, str], tmp_path: Path) -> None:
    url, key, secret = s3_server
    environment = clean_environment | {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": key,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    report = tmp_path / "report.json"
    done = subprocess.run(
        [os.environ["TINTYPE_S3S_E2E"], "--json", report],
        env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert report.exists(), done.stdout + done.stderr
    cases = {
        f"{suite['name']}/{fixture['name']}/{case['name']}": case["passed"]
        for suite in json.loads(report.read_text())["suites"]
        for fixture in suite["fixtures"]
        for case in fixture["cases"]
    }
    assert len(cases) > 15
    failed = {name for name, passed in cases.items() if not passed}
    assert unexpected(failed, set(cases), "s3s-e2e") == {"failed": set(), "passed": set()}, done.stdout


def write_configuration(path: Path, server: tuple[str, str, str]) -> None:
    """Writes the configuration of ceph's tests. All their users are the only account of the server."""
    url, key, secret = server
    host, port = url.removeprefix("http://").split(":")
    configuration = configparser.ConfigParser(interpolation=None)
    configuration["DEFAULT"] = {"host": host, "port": port, "is_secure": "False", "ssl_verify": "False"}
    configuration["fixtures"] = {
        "bucket prefix": "test-{random}-",
        "iam name prefix": "test-",
        "iam path prefix": "/test/",
    }
    user = {"display_name": "tintype", "user_id": "tintype", "email": "tintype", "api_name": "", "tenant": "x"}
    for section in ("s3 main", "s3 alt", "s3 tenant", "iam", "iam root", "iam alt root"):
        configuration[section] = user | {"access_key": key, "secret_key": secret}
    with path.open("w") as file:
        configuration.write(file)


@pytest.mark.parametrize("group", GROUPS)
def test_ceph(
    group: str, s3_server: tuple[str, str, str], clean_environment: dict[str, str], tmp_path: Path
) -> None:
    folder = os.environ.get("TINTYPE_S3_TESTS")
    if not folder:
        pytest.skip(HOW_TO_GET)
    write_configuration(tmp_path / "s3tests.conf", s3_server)
    report = tmp_path / "report.xml"
    command = [
        os.environ["TINTYPE_S3_TESTS_PYTHON"], "-m", "pytest", "-q", "-p", "no:cacheprovider",
        "-p", "sign_forms", "-p", "omit_acls", "--tb=short", f"--junitxml={report}",
        "-k", f"({GROUPS[group]}) and not ({OTHER_FEATURES})",
        "s3tests/functional/test_s3.py", "s3tests/functional/test_headers.py",
    ]  # fmt: skip
    environment = clean_environment | {
        "S3TEST_CONF": str(tmp_path / "s3tests.conf"),
        "PYTHONPATH": str(FOLDER),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, timeout=3000)
    assert report.exists(), done.stdout + done.stderr
    cases = {case.get("name", ""): case for case in ElementTree.parse(report).getroot().iter("testcase")}
    skipped = {name for name, case in cases.items() if case.find("skipped") is not None}
    failed = {name for name, case in cases.items() for kind in ("failure", "error") if case.find(kind) is not None}
    ran = cases.keys() - skipped
    print(f"{group}: {len(ran - failed)} of {len(ran)} passed, {len(failed)} failed")
    assert ran, done.stdout
    assert unexpected(failed, set(ran), "s3-tests") == {"failed": set(), "passed": set()}, done.stdout
