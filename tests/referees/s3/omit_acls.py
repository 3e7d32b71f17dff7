"""A plugin for ceph's s3-tests: omits canned ACLs.

Many tests of other features create their bucket with a public ACL, or set one, which tintype refuses. Without it, only
the tests fail that need public access.
"""

from __future__ import annotations

from typing import Any

from botocore.client import BaseClient

CALL = BaseClient._make_api_call


def call(client: BaseClient, operation: str, parameters: dict[str, Any]) -> Any:
    if operation in ("PutBucketAcl", "PutObjectAcl"):
        return {}
    if operation in ("CreateBucket", "PutObject"):
        parameters = {name: value for name, value in parameters.items() if name != "ACL"}
    return CALL(client, operation, parameters)


BaseClient._make_api_call = call
