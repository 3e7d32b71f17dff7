"""Buckets of the embedded S3 server."""

from __future__ import annotations

import uuid

import pytest
from botocore.client import BaseClient
from conftest import Server
from test_s3 import code, make_client


@pytest.fixture(scope="module")
def s3(server: Server) -> BaseClient:
    return make_client(server, signature_version="s3v4")


@pytest.fixture(scope="module")
def bucket(s3: BaseClient) -> str:
    name = f"test-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    return name


def test_buckets(server: Server, s3: BaseClient, bucket: str) -> None:
    names = [b["Name"] for b in s3.list_buckets()["Buckets"]]
    assert server.bucket in names and bucket in names
    s3.head_bucket(Bucket=bucket)
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    # As in us-east-1.
    s3.create_bucket(Bucket=bucket)
    assert code(s3.create_bucket, Bucket="dot.-hyphen") == ("InvalidBucketName", 400)
    assert code(s3.head_bucket, Bucket="no-such-bucket")[1] == 404
    assert code(s3.get_object, Bucket="no-such-bucket", Key="a") == ("NoSuchBucket", 404)
    assert code(s3.put_object, Bucket="no-such-bucket", Key="a") == ("NoSuchBucket", 404)
    s3.put_object(Bucket=bucket, Key="keeps it", Body=b"")
    assert code(s3.delete_bucket, Bucket=bucket) == ("BucketNotEmpty", 409)
    assert code(s3.delete_bucket, Bucket=server.bucket)[1] == 403


def test_a_conditional_deletion_of_a_missing_object_succeeds(s3: BaseClient, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    assert code(s3.delete_object, Bucket=bucket, Key="k", IfMatch='"other"') == ("PreconditionFailed", 412)
    for key in ("missing", "also-missing"):
        s3.delete_object(Bucket=bucket, Key=key, IfMatch='"other"')
    listed = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "missing", "ETag": '"other"'}]})
    assert "Errors" not in listed


def test_an_empty_delimiter_is_none(s3: BaseClient, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="a/b", Body=b"x")
    for listing in (s3.list_objects, s3.list_objects_v2):
        page = listing(Bucket=bucket, Prefix="a/", Delimiter="")
        assert "Delimiter" not in page and [found["Key"] for found in page["Contents"]] == ["a/b"]
