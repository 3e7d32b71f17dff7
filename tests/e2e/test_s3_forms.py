"""Uploads from HTML forms (presigned POST) to the embedded S3 server."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import requests
from botocore.client import BaseClient
from conftest import Server
from test_s3 import make_client

LIMIT = 3_000_000
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def s3(server: Server) -> BaseClient:
    client = make_client(server, signature_version="s3v4")
    client.create_bucket(Bucket="forms")
    return client


def form(s3: BaseClient, key: str, fields: dict[str, str] | None = None, *conditions: Any, **more: Any) -> Any:
    """A form with these fields, and a policy with their values and further conditions."""
    fields = fields or {}
    return s3.generate_presigned_post(
        "forms", key, Fields=fields, Conditions=[{name: value} for name, value in fields.items()] + [*conditions], **more
    )


def send(
    post: dict[str, Any],
    content: bytes = b"content",
    name: str = "a.png",
    url: str | None = None,
    headers: dict[str, str] | None = None,
    **changes: str,
) -> requests.Response:
    """Sends the form with some fields changed or added."""
    fields = post["fields"] | {field.replace("__", "-"): value for field, value in changes.items()}
    files = {"file": (name, content, "application/x-ignored")}
    return requests.post(url or post["url"], data=fields, files=files, headers=headers, allow_redirects=False, timeout=60)


def code(response: requests.Response) -> tuple[int, str]:
    return response.status_code, response.text.split("<Code>")[-1].split("</Code>")[0]


def test_upload(s3: BaseClient, server: Server) -> None:
    fields = PNG | {"x-amz-meta-who": "me", "Cache-Control": "no-cache", "acl": "private"}
    post = form(s3, "photos/${filename}", fields, ["content-length-range", 1, LIMIT])
    content = bytes(range(256)) * (LIMIT // 256)
    response = send(post, content, name="虎 &.png")
    assert response.status_code == 204, response.text
    assert response.headers["location"] == f"{server.url}/forms/photos/%E8%99%8E%20%26.png"
    assert response.headers["access-control-allow-origin"] == "*"
    got = s3.get_object(Bucket="forms", Key="photos/虎 &.png")
    assert got["Body"].read() == content
    assert got["ETag"] == response.headers["etag"]
    assert (got["ContentType"], got["CacheControl"], got["Metadata"]) == ("image/png", "no-cache", {"who": "me"})


def test_empty_files_are_objects(s3: BaseClient) -> None:
    assert send(form(s3, "empty"), b"").status_code == 204
    head = s3.head_object(Bucket="forms", Key="empty")
    assert (head["ContentLength"], head["ContentType"]) == (0, "binary/octet-stream")


def test_bucket_in_the_host(s3: BaseClient, server: Server) -> None:
    response = send(form(s3, "in-host"), url=server.url, headers={"host": f"forms.localhost:{server.port}"})
    assert response.status_code == 204, response.text
    assert s3.head_object(Bucket="forms", Key="in-host")["ContentLength"] == 7


@pytest.mark.parametrize(("requested", "status"), [("200", 200), ("201", 201), ("204", 204), ("404", 204), ("x", 204)])
def test_status_of_success(s3: BaseClient, requested: str, status: int) -> None:
    response = send(form(s3, "a&b", {"success_action_status": requested}))
    assert response.status_code == status
    if status == 201:
        assert response.headers["content-type"] == "application/xml"
        assert "<PostResponse>" in response.text
        assert "<Bucket>forms</Bucket><Key>a&amp;b</Key>" in response.text
    else:
        assert response.content == b""


def test_redirection(s3: BaseClient) -> None:
    for field in ("success_action_redirect", "redirect"):
        response = send(form(s3, "a b", {field: "https://example.com/done?x=1"}))
        etag = response.headers["etag"].strip('"')
        assert response.status_code == 303
        expected = f"https://example.com/done?x=1&bucket=forms&key=a%20b&etag=%22{etag}%22"
        assert response.headers["location"] == expected
    response = send(form(s3, "a b", {"success_action_redirect": "javascript:alert(1)"}))
    assert response.status_code == 204


def test_conditions(s3: BaseClient) -> None:
    in_folder = form(s3, "user/${filename}")
    assert send(in_folder, key="user/else").status_code == 204
    images = form(s3, "k", {"Content-Type": "image/gif"}, ["starts-with", "$Content-Type", "image/"])
    refused = [
        send(in_folder, key="other/a"),
        send(in_folder, acl="private"),
        send(in_folder, x__amz__meta__a="1"),
        send(in_folder, bucket="forms"),
        send(form(s3, "k", PNG), Content__Type="text/html"),
        send(images, Content__Type="image/gif, text/html"),
        send(form(s3, "k", {"success_action_redirect": "https://a.example/"}), success_action_redirect="https://b.example/"),
    ]
    assert [code(response) for response in refused if response.status_code != 204] == [(403, "AccessDenied")] * 6
    # The URL's bucket meets the condition that every policy of boto3 has.
    assert refused[3].status_code == 204
    assert send(in_folder, x__ignore__me="1").status_code == 204


def test_wrong_bucket(s3: BaseClient, server: Server) -> None:
    post = form(s3, "k")
    assert code(send(post, url=f"{server.url}/{server.bucket}")) == (403, "AccessDenied")
    assert code(send(post, bucket=server.bucket)) == (403, "AccessDenied")


def test_length_of_the_file(s3: BaseClient) -> None:
    post = form(s3, "sized", None, ["content-length-range", 10, LIMIT])
    assert code(send(post, b"x" * 9)) == (400, "EntityTooSmall")
    assert code(send(post, b"x" * (LIMIT + 1))) == (400, "EntityTooLarge")
    listed = s3.list_objects_v2(Bucket="forms", Prefix="sized")
    assert listed["KeyCount"] == 0
    assert send(post, b"x" * 10).status_code == 204
    assert send(post, b"x" * LIMIT).status_code == 204


def test_invalid_signatures(s3: BaseClient) -> None:
    post = form(s3, "k")
    policy = json.loads(base64.b64decode(post["fields"]["policy"]))
    policy["conditions"].append(["starts-with", "$acl", ""])
    tampered = base64.b64encode(json.dumps(policy).encode()).decode()
    refused = {
        "forged": send(post, x__amz__signature="0" * 64),
        "short": send(post, x__amz__signature="0"),
        "tampered": send(post, policy=tampered),
        "expired": send(form(s3, "k", ExpiresIn=-1)),
        "unknown": send(post, x__amz__credential="AKIAUNKNOWN" + post["fields"]["x-amz-credential"][20:]),
    }
    mismatch = (403, "SignatureDoesNotMatch")
    assert {name: code(response) for name, response in refused.items()} == {
        "forged": mismatch,
        "short": mismatch,
        "tampered": mismatch,
        "expired": (403, "AccessDenied"),
        "unknown": (403, "InvalidAccessKeyId"),
    }


def test_forms_without_a_policy(s3: BaseClient, server: Server) -> None:
    url = f"{server.url}/forms"
    assert code(requests.post(url, data={"key": "k"}, files={"file": b"x"}, timeout=60)) == (403, "AccessDenied")
    version_2 = make_client(server, signature_version="s3").generate_presigned_post("forms", "k")
    response = send(version_2)
    assert code(response) == (400, "InvalidRequest")
    assert "Signature Version 2" in response.text


def test_incomplete_forms(s3: BaseClient) -> None:
    post = form(s3, "incomplete")
    no_file = {name: (None, value) for name, value in post["fields"].items()}
    assert code(requests.post(post["url"], files=no_file, timeout=60)) == (400, "InvalidArgument")
    no_key = {name: value for name, value in post["fields"].items() if name != "key"}
    assert code(send(post | {"fields": no_key})) == (400, "InvalidArgument")
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
    headers = {"content-type": "multipart/form-data; boundary=b"}
    fields = b"".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in post["fields"].items()
    )
    cut = requests.post(post["url"], data=fields + body + b"half", headers=headers, timeout=60)
    assert code(cut) == (400, "IncompleteBody")
    no_boundary = requests.post(post["url"], data=body, headers={"content-type": "multipart/form-data"}, timeout=60)
    assert code(no_boundary) == (400, "MalformedPOSTRequest")
    assert s3.list_objects_v2(Bucket="forms", Prefix="incomplete")["KeyCount"] == 0


@pytest.mark.parametrize(
    "field", ["tagging", "x-amz-copy-source", "x-amz-tagging", "x-amz-website-redirect-location", "x-amz-grant-read"]
)
def test_unsupported_fields_are_refused_by_name(s3: BaseClient, field: str) -> None:
    response = send(form(s3, "refused", {field: "/forms/k"}))
    assert code(response) == (501, "NotImplemented")
    assert field in response.text


def test_unsupported_values_are_refused(s3: BaseClient) -> None:
    for field, value in {
        "acl": "public-read",
        "x-amz-storage-class": "GLACIER",
        "x-amz-server-side-encryption": "aws:kms",
    }.items():
        response = send(form(s3, "refused", {field: value}))
        assert code(response) == (501, "NotImplemented"), field
        assert value in response.text


def test_checksum(s3: BaseClient) -> None:
    right = {"x-amz-checksum-crc32": "Jh2u5Q=="}
    assert send(form(s3, "summed", right), b"1234567890").status_code == 204
    wrong = {"x-amz-checksum-sha256": base64.b64encode(bytes(32)).decode()}
    assert code(send(form(s3, "summed", wrong))) == (400, "BadDigest")


def test_keys_and_queries(s3: BaseClient, server: Server) -> None:
    assert code(send(form(s3, "k"), url=f"{server.url}/forms/k")) == (405, "MethodNotAllowed")
    assert code(send(form(s3, "k"), url=f"{server.url}/forms?uploads")) == (501, "NotImplemented")
    for key in ("../x", "a//b", "a?b#c%41", "虎" * 341):
        assert send(form(s3, key)).status_code == 204
        assert s3.head_object(Bucket="forms", Key=key)["ContentLength"] == 7
    assert code(send(form(s3, "虎" * 342))) == (400, "KeyTooLongError")
