"""A plugin for ceph's s3-tests: signs forms with Signature Version 4.

The tests sign forms with Signature Version 2, which tintype refuses. A form whose signature is right is signed again,
with the same policy and the conditions of the new fields. All other forms stay wrong: they get a wrong signature.
"""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
from typing import Any

import requests
from s3tests import functional

POST = requests.post


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _hmac(key: bytes, text: str, algorithm: Any = hashlib.sha256) -> bytes:
    return hmac.new(key, text.encode(), algorithm).digest()


def _with_conditions(policy: str, fields: dict[str, str]) -> str:
    """The policy with conditions for these fields; unchanged if it is not a policy."""
    document = json.loads(base64.b64decode(policy))
    if not isinstance(document.get("conditions"), list):
        return policy
    document["conditions"] += [{name: value} for name, value in fields.items()]
    return base64.b64encode(json.dumps(document).encode()).decode()


def sign(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a form with a signature of version 4 instead of version 2."""
    names = {name.lower(): name for name in fields}
    if "policy" not in names or not {"signature", "awsaccesskeyid"} & names.keys():
        return fields
    policy = _text(fields[names["policy"]])
    secret = functional.get_main_aws_secret_key().encode()
    signed = {name: value for name, value in fields.items() if name.lower() not in ("signature", "awsaccesskeyid")}
    now = datetime.datetime.now(datetime.timezone.utc)
    key = secret
    if "awsaccesskeyid" in names:
        scope = f"{now:%Y%m%d}/us-east-1/s3/aws4_request"
        added = {
            "x-amz-algorithm": "AWS4-HMAC-SHA256",
            "x-amz-credential": f"{_text(fields[names['awsaccesskeyid']])}/{scope}",
            "x-amz-date": f"{now:%Y%m%dT%H%M%SZ}",
        }
        key = b"AWS4" + secret
        for part in scope.split("/"):
            key = _hmac(key, part)
    else:
        added = {}
    if "signature" in names:
        right = base64.b64encode(_hmac(secret, policy, hashlib.sha1)).decode()
        is_right = _text(fields[names["signature"]]) == right
        policy = _with_conditions(policy, added)
        added["x-amz-signature"] = _hmac(key, policy).hex() if is_right else "0" * 64
    signed[names["policy"]] = policy
    # The file stays the last field.
    return added | signed


def post(url: str, **arguments: Any) -> requests.Response:
    for place in ("files", "data"):
        if isinstance(arguments.get(place), dict):
            arguments[place] = sign(arguments[place])
    return POST(url, **arguments)


requests.post = post
