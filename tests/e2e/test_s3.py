"""The embedded S3 server, used with boto3 like S3 itself."""

from __future__ import annotations

import os
import re
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from conftest import Server

UNUSUAL_KEYS = [
    *("../x", "../../../x"),
    "a//b",
    "a/b/",
    "a/b",
    *("/a", "./a", "Case", "case"),
    "with space+plus%25&amp;?#",
    "control\x01character",
    "机器人/赛博 虎.jpg",
    "虎" * 341,
    "a" * 1024,
]


def make_client(server: Server, **config: Any) -> BaseClient:
    return boto3.client(
        "s3",
        endpoint_url=config.pop("endpoint_url", server.url),
        aws_access_key_id=config.pop("access_key", server.access_key),
        aws_secret_access_key=config.pop("secret_key", server.secret_key),
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}, **config),
    )


@pytest.fixture(scope="module")
def s3(server: Server) -> BaseClient:
    return make_client(server, signature_version="s3v4")


@pytest.fixture(scope="module")
def bucket(server: Server, s3: BaseClient) -> str:
    """A bucket for the tests of this module."""
    name = f"test-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    return name


def code(call: Any, **arguments: Any) -> tuple[str, int]:
    """Makes a call that must fail. Returns the error's code and status."""
    with pytest.raises(ClientError) as refused:
        call(**arguments)
    response = refused.value.response
    return response["Error"]["Code"], response["ResponseMetadata"]["HTTPStatusCode"]


def test_put_get_head_delete(s3: BaseClient, bucket: str) -> None:
    put = s3.put_object(
        Bucket=bucket, Key="a", Body=b"hello", ContentType="text/plain", Metadata={"who": "me"}, CacheControl="no-cache"
    )
    assert put["ETag"] == '"5d41402abc4b2a76b9719d911017c592"'
    got = s3.get_object(Bucket=bucket, Key="a")
    assert got["Body"].read() == b"hello"
    head = s3.head_object(Bucket=bucket, Key="a")
    for answer in (got, head):
        assert answer["ContentLength"] == 5
        assert answer["ContentType"] == "text/plain"
        assert answer["Metadata"] == {"who": "me"}
        assert answer["CacheControl"] == "no-cache"
        assert answer["ETag"] == put["ETag"]
    s3.delete_object(Bucket=bucket, Key="a")
    s3.delete_object(Bucket=bucket, Key="a")
    assert code(s3.get_object, Bucket=bucket, Key="a") == ("NoSuchKey", 404)
    assert code(s3.head_object, Bucket=bucket, Key="a") == ("404", 404)


def test_defaults_and_empty_objects(s3: BaseClient, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="empty")
    got = s3.get_object(Bucket=bucket, Key="empty")
    assert got["Body"].read() == b""
    assert got["ContentType"] == "binary/octet-stream"


@pytest.mark.parametrize("key", UNUSUAL_KEYS, ids=lambda key: repr(key[:20]))
def test_unusual_keys(s3: BaseClient, bucket: str, key: str) -> None:
    s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"]][0] == key


def test_no_key_leaves_the_store(server: Server, s3: BaseClient, bucket: str) -> None:
    names = sorted(os.listdir(server.data_dir.parent)), sorted(os.listdir(server.data_dir))
    for key in ["../escaped", "../../escaped", "../../../../../../../../tmp/escaped", "a/../../../escaped"]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    assert (sorted(os.listdir(server.data_dir.parent)), sorted(os.listdir(server.data_dir))) == names
    assert not [path for path in server.data_dir.rglob("*escaped*")]
    assert not Path("/tmp/escaped").exists()


def test_a_key_that_is_too_long(s3: BaseClient, bucket: str) -> None:
    assert code(s3.put_object, Bucket=bucket, Key="a" * 1025, Body=b"") == ("KeyTooLongError", 400)


def test_listing(s3: BaseClient) -> None:
    bucket = f"list-{uuid.uuid4()}"
    s3.create_bucket(Bucket=bucket)
    keys = ["a", "b/1", "b/2", "b/3", "c", "d/1", "é", "猫"]
    for key in reversed(keys):
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    for version in ("list_objects", "list_objects_v2"):
        pages = s3.get_paginator(version)
        for size in (1, 2, 3, 1000):
            paging = {"PageSize": size}
            flat = [o["Key"] for p in pages.paginate(Bucket=bucket, PaginationConfig=paging) for o in p.get("Contents", [])]
            assert flat == keys, (version, size)
            grouped = list(pages.paginate(Bucket=bucket, Delimiter="/", PaginationConfig=paging))
            assert [o["Key"] for p in grouped for o in p.get("Contents", [])] == ["a", "c", "é", "猫"], (version, size)
            assert [o["Prefix"] for p in grouped for o in p.get("CommonPrefixes", [])] == ["b/", "d/"], (version, size)
    assert [o["Key"] for o in s3.list_objects_v2(Bucket=bucket, StartAfter="b/2")["Contents"]] == keys[3:]
    assert s3.list_objects_v2(Bucket=bucket, Prefix="none")["KeyCount"] == 0
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*keys, "never"]]})
    assert len(deleted["Deleted"]) == len(keys) + 1
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    s3.delete_bucket(Bucket=bucket)


@pytest.mark.parametrize("name", ["generate", "healthz", "readyz"])
def test_buckets_cannot_have_reserved_names(s3: BaseClient, name: str) -> None:
    assert code(s3.create_bucket, Bucket=name) == ("InvalidBucketName", 400)


def test_ranges(s3: BaseClient, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="digits", Body=b"0123456789")
    for requested, expected in [
        ("bytes=2-4", b"234"),
        ("bytes=8-99", b"89"),
        ("bytes=-3", b"789"),
        ("bytes=7-", b"789"),
    ]:
        part = s3.get_object(Bucket=bucket, Key="digits", Range=requested)
        assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
        assert part["Body"].read() == expected
    assert part["ContentRange"] == "bytes 7-9/10"
    assert code(s3.get_object, Bucket=bucket, Key="digits", Range="bytes=10-") == ("InvalidRange", 416)


def test_conditional_reads(s3: BaseClient, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="read", Body=b"x")["ETag"]
    modified = s3.head_object(Bucket=bucket, Key="read")["LastModified"]
    same = {"Bucket": bucket, "Key": "read"}
    assert s3.get_object(**same, IfMatch=etag)["Body"].read() == b"x"
    assert code(s3.get_object, **same, IfMatch='"other"')[1] == 412
    assert code(s3.get_object, **same, IfNoneMatch=etag)[1] == 304
    assert code(s3.get_object, **same, IfModifiedSince=modified)[1] == 304
    assert code(s3.head_object, **same, IfNoneMatch=etag)[1] == 304


def test_conditional_writes(s3: BaseClient, bucket: str) -> None:
    same = {"Bucket": bucket, "Key": f"claim-{uuid.uuid4()}"}
    first = s3.put_object(**same, Body=b"1", IfNoneMatch="*")["ETag"]
    assert code(s3.put_object, **same, Body=b"2", IfNoneMatch="*") == ("PreconditionFailed", 412)
    s3.put_object(**same, Body=b"3", IfMatch=first)
    assert code(s3.put_object, **same, Body=b"4", IfMatch=first) == ("PreconditionFailed", 412)
    assert s3.get_object(**same)["Body"].read() == b"3"


def test_copies(s3: BaseClient, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="../from 虎", Body=b"x", ContentType="image/png", Metadata={"a": "b"})
    source = {"Bucket": bucket, "Key": "../from 虎"}
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=source)
    copied = s3.get_object(Bucket=bucket, Key="copy")
    assert (copied["Body"].read(), copied["ContentType"], copied["Metadata"]) == (b"x", "image/png", {"a": "b"})
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=source, MetadataDirective="REPLACE", ContentType="text/plain")
    replaced = s3.head_object(Bucket=bucket, Key="copy")
    assert (replaced["ContentType"], replaced["Metadata"]) == ("text/plain", {})
    assert code(s3.copy_object, Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "no"})[0] == "NoSuchKey"


def test_upload_file_of_20_mb(s3: BaseClient, bucket: str, tmp_path: Path) -> None:
    content = os.urandom(20_000_000)
    (tmp_path / "big").write_bytes(content)
    s3.upload_file(str(tmp_path / "big"), bucket, "big", ExtraArgs={"ContentType": "image/png"})
    head = s3.head_object(Bucket=bucket, Key="big")
    assert (head["ContentLength"], head["ContentType"]) == (len(content), "image/png")
    assert re.fullmatch(r'"[0-9a-f]{32}-3"', head["ETag"])
    s3.download_file(bucket, "big", str(tmp_path / "back"))
    assert (tmp_path / "back").read_bytes() == content
    # boto3 copies an object of this size in parts.
    s3.copy({"Bucket": bucket, "Key": "big"}, bucket, "big copy", Config=TransferConfig(multipart_threshold=8_000_000))
    assert s3.get_object(Bucket=bucket, Key="big copy")["Body"].read() == content
    s3.put_object(Bucket=bucket, Key="in one", Body=content)
    assert s3.get_object(Bucket=bucket, Key="in one")["Body"].read() == content


def test_multipart_step_by_step(s3: BaseClient, bucket: str) -> None:
    same = {"Bucket": bucket, "Key": "parts/../虎"}
    upload = {**same, "UploadId": s3.create_multipart_upload(**same, ContentType="image/webp")["UploadId"]}
    first, last = os.urandom(5 << 20), b"end"
    etags = [s3.upload_part(**upload, PartNumber=n, Body=body)["ETag"] for n, body in [(3, first), (7, last)]]
    assert [(p["PartNumber"], p["Size"]) for p in s3.list_parts(**upload)["Parts"]] == [(3, len(first)), (7, 3)]
    assert upload["UploadId"] in [u["UploadId"] for u in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]]
    assert code(s3.get_object, **same)[0] == "NoSuchKey"

    def complete(*parts: tuple[int, str]) -> dict[str, Any]:
        named = [{"PartNumber": number, "ETag": etag} for number, etag in parts]
        return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": named})

    assert code(lambda: complete((7, etags[1]), (3, etags[0])))[0] == "InvalidPartOrder"
    assert code(lambda: complete((3, etags[1])))[0] == "InvalidPart"
    assert code(lambda: complete((4, etags[0])))[0] == "InvalidPart"
    assert complete((3, etags[0]), (7, etags[1]))["ETag"].endswith('-2"')
    got = s3.get_object(**same)
    assert (got["Body"].read(), got["ContentType"]) == (first + last, "image/webp")
    assert code(s3.list_parts, **upload)[0] == "NoSuchUpload"


def test_aborted_multipart_uploads(s3: BaseClient, bucket: str) -> None:
    same = {"Bucket": bucket, "Key": "given up"}
    upload = {**same, "UploadId": s3.create_multipart_upload(**same)["UploadId"]}
    small = [s3.upload_part(**upload, PartNumber=n, Body=b"small")["ETag"] for n in (1, 2)]
    parts = {"Parts": [{"PartNumber": n, "ETag": etag} for n, etag in enumerate(small, 1)]}
    assert code(s3.complete_multipart_upload, **upload, MultipartUpload=parts)[0] == "EntityTooSmall"
    s3.abort_multipart_upload(**upload)
    assert code(s3.upload_part, **upload, PartNumber=1, Body=b"x")[0] == "NoSuchUpload"
    unknown = {**same, "UploadId": "../../tintype"}
    assert code(s3.list_parts, **unknown)[0] == "NoSuchUpload"


def test_corrupt_bodies_are_rejected(s3: BaseClient, bucket: str) -> None:
    wrong = "1B2M2Y8AsgTpgAmY7PhCfg=="
    assert code(s3.put_object, Bucket=bucket, Key="broken", Body=b"x", ContentMD5=wrong) == ("BadDigest", 400)
    assert code(s3.put_object, Bucket=bucket, Key="broken", Body=b"x", ChecksumCRC32="AAAAAA==") == ("BadDigest", 400)
    assert code(s3.head_object, Bucket=bucket, Key="broken")[1] == 404


# How clients presign URLs. boto3's default for a custom endpoint is still version 2.
SIGNERS: dict[str, dict[str, Any]] = {
    "default": {},
    "version 2": {"signature_version": "s3"},
    "version 4": {"signature_version": "s3v4"},
}


@pytest.fixture(scope="module", params=SIGNERS, ids=lambda name: name.replace(" ", "-"))
def signer(request: pytest.FixtureRequest, server: Server) -> BaseClient:
    return make_client(server, **SIGNERS[request.param])


def presign(client: BaseClient, bucket: str, key: str, life: int = 60, method: str = "get_object", **more: Any) -> str:
    return client.generate_presigned_url(method, Params={"Bucket": bucket, "Key": key, **more}, ExpiresIn=life)


def forge(url: str) -> str:
    """The URL with another signature of the same length."""
    name = "X-Amz-Signature=" if "X-Amz-Signature=" in url else "Signature="
    at = url.index(name) + len(name)
    return url[:at] + ("b" if url[at] == "a" else "a") + url[at + 1 :]


def extend(url: str) -> str:
    """The URL with a later expiry."""
    changed = re.sub(r"(?<=[?&])(X-Amz-Expires|Expires)=(\d+)", lambda m: f"{m[1]}={int(m[2]) + 60}", url)
    assert changed != url
    return changed


def test_presigned_urls(s3: BaseClient, signer: BaseClient, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="cat.png", Body=b"a cat", ContentType="image/png")
    s3.put_object(Bucket=bucket, Key="dog.png", Body=b"a dog", ContentType="image/png")
    url = presign(signer, bucket, "cat.png")
    assert requests.get(url).content == b"a cat"
    responses = {
        "good": requests.get(url),
        "forged": requests.get(forge(url)),
        "unsigned": requests.get(url.partition("?")[0]),
        "PUT": requests.put(url, data=b"x"),
        "DELETE": requests.delete(url),
        "HEAD": requests.head(url),
        "extended": requests.get(extend(url)),
        "another key": requests.get(url.replace("cat.png", "dog.png")),
        "an added override": requests.get(url + "&response-content-type=text%2Fhtml"),
    }
    statuses = {case: answer.status_code for case, answer in responses.items()}
    assert statuses == {case: 200 if case == "good" else 403 for case in statuses}
    assert s3.get_object(Bucket=bucket, Key="cat.png")["Body"].read() == b"a cat"


def test_presigned_urls_expire(s3: BaseClient, signer: BaseClient, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="cat.png", Body=b"a cat", ContentType="image/png")
    url = presign(signer, bucket, "cat.png", life=1)
    deadline = time.monotonic() + 20
    while (answer := requests.get(url)).status_code == 200 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert (answer.status_code, "expired" in answer.text) == (403, True)


def test_links_of_unknown_and_wrong_keys(server: Server, bucket: str) -> None:
    for config in SIGNERS.values():
        for wrong in ({"access_key": "AKIDNOBODY"}, {"secret_key": "wrong"}):
            url = presign(make_client(server, **config, **wrong), bucket, "cat.png")
            assert requests.get(url).status_code == 403


def test_presigned_uploads(s3: BaseClient, signer: BaseClient, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="secret", Body=b"secret")
    url = presign(signer, bucket, "uploaded", method="put_object")
    assert requests.put(url, data=b"by link").status_code == 200
    assert s3.get_object(Bucket=bucket, Key="uploaded")["Body"].read() == b"by link"
    assert requests.get(url).status_code == 403
    # A presigned upload must not be usable to copy another object.
    copied = requests.put(url, headers={"x-amz-copy-source": f"/{bucket}/secret"})
    assert copied.status_code == 403
    assert s3.get_object(Bucket=bucket, Key="uploaded")["Body"].read() == b"by link"


def test_presigned_response_overrides(s3: BaseClient, signer: BaseClient, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="cat.png", Body=b"a cat", ContentType="image/png")
    disposition = 'attachment; filename="my cat.png"'
    answer = requests.get(presign(signer, bucket, "cat.png", ResponseContentDisposition=disposition))
    assert (answer.status_code, answer.headers["Content-Disposition"]) == (200, disposition)
    html = requests.get(presign(signer, bucket, "cat.png", ResponseContentType="text/html", ResponseContentDisposition="inline"))
    assert (html.headers["Content-Type"], html.headers["Content-Disposition"]) == ("text/html", "attachment")


def test_an_authorization_header_with_a_presigned_url_is_ignored(
    s3: BaseClient, signer: BaseClient, bucket: str
) -> None:
    s3.put_object(Bucket=bucket, Key="cat.png", Body=b"a cat", ContentType="image/png")
    url = presign(signer, bucket, "cat.png")
    for authorization in ["Bearer sk-1234", "Basic dTpw", "AWS4-HMAC-SHA256 nonsense", "AWS a:b"]:
        assert requests.get(url, headers={"Authorization": authorization}).content == b"a cat"


def test_stored_content_cannot_run_scripts(s3: BaseClient, signer: BaseClient, bucket: str) -> None:
    for content_type, shown in [("image/png", True), ("image/jpeg", True), ("image/svg+xml", False), ("text/html", False)]:
        s3.put_object(Bucket=bucket, Key="untrusted", Body=b"<script>", ContentType=content_type)
        answer = requests.get(presign(signer, bucket, "untrusted"))
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'"
        assert ("Content-Disposition" not in answer.headers) == shown
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert answer.headers["Cache-Control"].startswith("private")


def test_presigned_urls_of_unusual_keys(s3: BaseClient, signer: BaseClient, bucket: str) -> None:
    for key in ["a//b", "a/b/", "with space+plus%25&amp;?#", "机器人/赛博 虎.jpg", "虎" * 341]:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode())
        assert requests.get(presign(signer, bucket, key)).content == key.encode(), key


@pytest.mark.parametrize("version", ["s3", "s3v4"])
def test_bucket_in_the_host_name(server: Server, s3: BaseClient, version: str) -> None:
    s3.put_object(Bucket=server.bucket, Key="by host.png", Body=b"a cat", ContentType="image/png")
    endpoint = f"http://localhost:{server.port}"
    client = make_client(server, endpoint_url=endpoint, signature_version=version, s3={"addressing_style": "virtual"})
    url = urlsplit(presign(client, server.bucket, "by host.png"))
    assert url.netloc == f"{server.bucket}.localhost:{server.port}"
    # Not every resolver resolves names below localhost.
    by_address = f"{server.url}{url.path}?{url.query}"
    assert requests.get(by_address, headers={"Host": url.netloc}).content == b"a cat"
    assert requests.get(by_address).status_code in (400, 403, 404)
    other_bucket = requests.get(by_address, headers={"Host": f"other.localhost:{server.port}"})
    assert other_bucket.status_code in (403, 404)


def test_unsigned_requests_are_rejected(server: Server, bucket: str) -> None:
    for method in ("GET", "HEAD", "PUT", "POST", "DELETE"):
        data = b"x" if method in ("PUT", "POST") else None
        # A name that is not a bucket's is an unknown path of the API.
        assert requests.request(method, f"{server.url}/no-such-bucket/x", data=data).status_code == 404, method
        for path in (f"/{bucket}", f"/{bucket}/cat.png"):
            answer = requests.request(method, server.url + path, data=data)
            assert answer.status_code in (403, 400, 405, 501), (method, path)
            assert answer.status_code == 403 or method == "POST", (method, path, answer.text)


def test_only_the_owner_can_read_the_credentials_file(server: Server) -> None:
    assert (server.data_dir / "credentials").stat().st_mode & 0o777 == 0o600
