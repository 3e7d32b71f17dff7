"""Checksums of multipart uploads to the embedded S3 server, and the limits of XML."""

from __future__ import annotations

import base64
import hashlib
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from botocore.client import BaseClient
from conftest import Server
from test_s3 import code, make_client

PARTS = [b"\xaa" * (5 << 20), b"end"]
BUCKET = "summed"


def crc(polynomial: int, bits: int) -> Callable[[bytes], bytes]:
    """A reflected CRC whose first and last value are inverted."""
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (polynomial if value & 1 else 0)
        table.append(value)
    mask = (1 << bits) - 1

    def digest(content: bytes) -> bytes:
        value = mask
        for byte in content:
            value = value >> 8 ^ table[(value ^ byte) & 255]
        return (value ^ mask).to_bytes(bits // 8, "big")

    return digest


DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "CRC32": lambda content: zlib.crc32(content).to_bytes(4, "big"),
    "CRC32C": crc(0x82F63B78, 32),
    "CRC64NVME": crc(0x9A6C9329AC4BC9B5, 64),
    "SHA1": lambda content: hashlib.sha1(content).digest(),
    "SHA256": lambda content: hashlib.sha256(content).digest(),
}
COMBINATIONS = [
    ("CRC32", "COMPOSITE"),
    ("CRC32", "FULL_OBJECT"),
    ("CRC32C", "COMPOSITE"),
    ("CRC32C", "FULL_OBJECT"),
    ("CRC64NVME", "FULL_OBJECT"),
    ("SHA1", "COMPOSITE"),
    ("SHA256", "COMPOSITE"),
]


def encoded(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@pytest.fixture(scope="module")
def s3(server: Server) -> BaseClient:
    client = make_client(server, signature_version="s3v4")
    client.create_bucket(Bucket=BUCKET)
    return client


def test_the_digests() -> None:
    assert encoded(DIGESTS["CRC32C"](b"123456789")) == "4waSgw=="
    assert encoded(DIGESTS["CRC64NVME"](b"123456789")) == "rosUhgp5mIg="


@pytest.mark.parametrize(("algorithm", "kind"), COMBINATIONS)
def test_checksums_of_uploads(s3: BaseClient, algorithm: str, kind: str) -> None:
    digest, name = DIGESTS[algorithm], f"Checksum{algorithm}"
    of_parts = [digest(part) for part in PARTS]
    sums = [encoded(value) for value in of_parts]
    of_object = encoded(digest(b"".join(of_parts))) + "-2" if kind == "COMPOSITE" else encoded(digest(b"".join(PARTS)))
    wrong = encoded(bytes(len(of_parts[0])))

    target = {"Bucket": BUCKET, "Key": f"{algorithm}-{kind}"}
    created = s3.create_multipart_upload(**target, ChecksumAlgorithm=algorithm, ChecksumType=kind)
    assert (created["ChecksumAlgorithm"], created["ChecksumType"]) == (algorithm, kind)
    upload = target | {"UploadId": created["UploadId"]}
    parts: list[dict[str, Any]] = []
    for number, content in enumerate(PARTS, 1):
        part = upload | {"PartNumber": number, "Body": content}
        assert code(s3.upload_part, **part, **{name: wrong}) == ("BadDigest", 400)
        other = "SHA1" if algorithm != "SHA1" else "SHA256"
        mismatch = part | {f"Checksum{other}": encoded(DIGESTS[other](content))}
        assert code(s3.upload_part, **mismatch) == ("InvalidRequest", 400)
        stored = s3.upload_part(**part, **{name: sums[number - 1]})
        assert stored[name] == sums[number - 1]
        parts.append({"PartNumber": number, "ETag": stored["ETag"], name: sums[number - 1]})

    listed = s3.list_parts(**upload)
    assert (listed["ChecksumAlgorithm"], listed["ChecksumType"]) == (algorithm, kind)
    assert [part[name] for part in listed["Parts"]] == sums
    uploads = s3.list_multipart_uploads(Bucket=BUCKET, Prefix=target["Key"])["Uploads"]
    assert [(found["ChecksumAlgorithm"], found["ChecksumType"]) for found in uploads] == [(algorithm, kind)]

    def complete(listed: list[dict[str, Any]], **more: Any) -> Any:
        return s3.complete_multipart_upload(**upload, MultipartUpload={"Parts": listed}, **more)

    other_kind = "FULL_OBJECT" if kind == "COMPOSITE" else "COMPOSITE"
    swapped = [part | {name: wrong} for part in parts]
    assert code(complete, listed=swapped) == ("InvalidPart", 400)
    assert code(complete, listed=parts, **{name: wrong}) == ("BadDigest", 400)
    assert code(complete, listed=parts, ChecksumType=other_kind) == ("InvalidRequest", 400)
    for _ in range(2):
        done = complete(parts, **{name: of_object}, ChecksumType=kind)
        assert (done[name], done["ChecksumType"]) == (of_object, kind)

    for read in (s3.head_object, s3.get_object):
        answer = read(**target, ChecksumMode="ENABLED")
        assert (answer[name], answer["ChecksumType"]) == (of_object, kind)
        for number, value in enumerate(sums, 1):
            answer = read(**target, PartNumber=number, ChecksumMode="ENABLED")
            assert (answer[name], answer["ChecksumType"]) == (value, kind)
    answer = s3.get_object(**target, Range="bytes=0-3", ChecksumMode="ENABLED")
    assert name not in answer and "ChecksumType" not in answer
    attributes = s3.get_object_attributes(**target, ObjectAttributes=["ETag", "Checksum", "ObjectParts"])
    assert attributes["ETag"] == answer["ETag"].strip('"')
    assert (attributes["Checksum"][name], attributes["Checksum"]["ChecksumType"]) == (of_object, kind)
    assert [part[name] for part in attributes["ObjectParts"]["Parts"]] == sums

    copied = s3.copy_object(Bucket=BUCKET, Key="copy", CopySource=target)["CopyObjectResult"]
    assert copied["ChecksumType"] == "FULL_OBJECT"
    assert copied[name] == encoded(digest(b"".join(PARTS)))


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("SHA1", "FULL_OBJECT"), ("SHA256", "FULL_OBJECT"), ("CRC64NVME", "COMPOSITE")]
)
def test_combinations_that_s3_does_not_have(s3: BaseClient, algorithm: str, kind: str) -> None:
    create = {"Bucket": BUCKET, "Key": "k", "ChecksumAlgorithm": algorithm, "ChecksumType": kind}
    assert code(s3.create_multipart_upload, **create) == ("InvalidRequest", 400)


def test_copied_parts_have_checksums(s3: BaseClient) -> None:
    s3.put_object(Bucket=BUCKET, Key="source", Body=b"0123456789")
    target = {"Bucket": BUCKET, "Key": "from-copies"}
    upload = target | {"UploadId": s3.create_multipart_upload(**target, ChecksumAlgorithm="SHA256")["UploadId"]}
    source = {"CopySource": {"Bucket": BUCKET, "Key": "source"}, "CopySourceRange": "bytes=2-5"}
    part = s3.upload_part_copy(**upload, PartNumber=1, **source)["CopyPartResult"]
    expected = hashlib.sha256(b"2345").digest()
    assert part["ChecksumSHA256"] == encoded(expected)
    done = s3.complete_multipart_upload(
        **upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    )
    assert done["ChecksumSHA256"] == encoded(hashlib.sha256(expected).digest()) + "-1"


def test_uploads_without_a_checksum(s3: BaseClient) -> None:
    target = {"Bucket": BUCKET, "Key": "none"}
    upload = target | {"UploadId": s3.create_multipart_upload(**target)["UploadId"]}
    stored = s3.upload_part(**upload, PartNumber=1, Body=b"x")
    part = {"PartNumber": 1, "ETag": stored["ETag"]}
    complete = {"MultipartUpload": {"Parts": [part]}, "ChecksumType": "FULL_OBJECT"}
    assert code(s3.complete_multipart_upload, **upload, **complete, ChecksumCRC32="AAAAAA==") == ("BadDigest", 400)
    crc32 = encoded(DIGESTS["CRC32"](b"x"))
    assert s3.complete_multipart_upload(**upload, **complete, ChecksumCRC32=crc32)["ChecksumCRC32"] == crc32


def chunked(document: bytes) -> Iterator[bytes]:
    """A body without a length."""
    for start in range(0, len(document), 100_000):
        yield document[start : start + 100_000]


@pytest.mark.parametrize("megabytes", [1, 6])
@pytest.mark.parametrize(("method", "path"), [("POST", "?delete"), ("POST", "/k?uploadId=0"), ("PUT", "")])
@pytest.mark.usefixtures("s3")
def test_xml_without_a_length_is_refused(server: Server, method: str, path: str, megabytes: int) -> None:
    document = b"<Delete>" + b" " * (megabytes << 20) + b"</Delete>"
    answer = requests.request(method, f"{server.url}/{BUCKET}{path}", data=chunked(document), timeout=60)
    assert answer.status_code == 411
    assert "<Code>MissingContentLength</Code>" in answer.text


def test_limits_of_xml(s3: BaseClient) -> None:
    keys = [{"Key": f"{number}"} for number in range(1001)]
    assert code(s3.delete_objects, Bucket=BUCKET, Delete={"Objects": keys}) == ("MalformedXML", 400)
    assert len(s3.delete_objects(Bucket=BUCKET, Delete={"Objects": keys[:1000]})["Deleted"]) == 1000
    large = [{"Key": "x" * 1024, "VersionId": "v" * 5000} for _ in range(1000)]
    assert code(s3.delete_objects, Bucket=BUCKET, Delete={"Objects": large}) == ("MaxMessageLengthExceeded", 400)


def test_invalid_completions(s3: BaseClient) -> None:
    target = {"Bucket": BUCKET, "Key": "invalid"}
    upload = target | {"UploadId": s3.create_multipart_upload(**target)["UploadId"]}
    etags = {
        number: s3.upload_part(**upload, PartNumber=number, Body=content)["ETag"]
        for number, content in {1: b"small", 2: b"small", 10_000: b"last"}.items()
    }

    def refused(*numbers: int, **more: Any) -> str:
        parts = [{"PartNumber": number, "ETag": etags.get(number, etags[1])} | more for number in numbers]
        return code(s3.complete_multipart_upload, **upload, MultipartUpload={"Parts": parts})[0]

    assert refused(2, 1) == "InvalidPartOrder"
    assert refused(1, 1) == "InvalidPartOrder"
    assert refused(1, 2) == "EntityTooSmall"
    assert refused(3) == "InvalidPart"
    assert refused(1, ETag='"0"') == "InvalidPart"
    assert refused(0) == refused(10_001) == "InvalidArgument"
    assert refused(*range(1, 10_002)) == "MalformedXML"
    assert refused() == "MalformedXML"
    assert code(s3.upload_part, **upload, PartNumber=10_001, Body=b"x") == ("InvalidArgument", 400)
    done = s3.complete_multipart_upload(
        **upload, MultipartUpload={"Parts": [{"PartNumber": 10_000, "ETag": etags[10_000]}]}
    )
    assert done["ETag"].endswith('-1"')
