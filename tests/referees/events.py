"""Events as API Gateway and function URLs send them."""

from __future__ import annotations

import json
import time
from typing import Any
from urllib.parse import urlencode

HOST = "abc123.execute-api.us-east-1.amazonaws.com"


def rest(
    method: str, path: str, query: dict[str, str] | None = None, headers: dict[str, str] | None = None, body: Any = None
) -> dict[str, Any]:
    """An event of a REST API (payload format 1.0), stage `prod`."""
    given = {"Host": HOST, "X-Forwarded-Proto": "https"} | (headers or {})
    if body is not None:
        given["Content-Type"] = "application/json"
    proxied = path.strip("/")
    return {
        "resource": "/{proxy+}" if proxied else "/",
        "path": path,
        "httpMethod": method,
        "headers": given,
        "multiValueHeaders": {name: [value] for name, value in given.items()},
        "queryStringParameters": query,
        "multiValueQueryStringParameters": {k: [v] for k, v in query.items()} if query else None,
        "pathParameters": {"proxy": proxied} if proxied else None,
        "stageVariables": None,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc123",
            "domainName": HOST,
            "domainPrefix": "abc123",
            "httpMethod": method,
            "identity": {"sourceIp": "192.0.2.1", "userAgent": "test"},
            "path": f"/prod{path}",
            "protocol": "HTTP/1.1",
            "requestId": "c6af9ac6-7b61-11e6-9a41-93e8deadbeef",
            "requestTime": "23/Nov/2026:12:00:00 +0000",
            "requestTimeEpoch": int(time.time() * 1000),
            "resourceId": "xyz",
            "resourcePath": "/{proxy+}" if proxied else "/",
            "stage": "prod",
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def http(
    method: str,
    path: str,
    query: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
    body: Any = None,
    stage: str = "$default",
) -> dict[str, Any]:
    """An event of an HTTP API (payload format 2.0) or, with the stage `$default`, of a function URL."""
    given = {"host": HOST, "x-forwarded-proto": "https"} | (headers or {})
    if body is not None:
        given["content-type"] = "application/json"
    full = path if stage == "$default" else f"/{stage}{path}"
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": full,
        "rawQueryString": urlencode(query or {}),
        "headers": given,
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "abc123",
            "domainName": HOST,
            "domainPrefix": "abc123",
            "http": {
                "method": method,
                "path": full,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
                "userAgent": "test",
            },
            "requestId": "JKJaXmPLvHcESHA=",
            "routeKey": "$default",
            "stage": stage,
            "time": "23/Nov/2026:12:00:00 +0000",
            "timeEpoch": int(time.time() * 1000),
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }
