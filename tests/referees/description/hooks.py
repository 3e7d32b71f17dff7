"""What the description cannot say: how large a picture one server allows, and how two parameters go together, and
what time it is."""

from __future__ import annotations

import schemathesis

LIMITS = ("pixels", "work", "memory", "no later than `to`", "a time to come")


@schemathesis.check
def valid_data_is_accepted_within_the_limits(ctx, response, case) -> None:
    """`positive_data_acceptance`, but for requests that exceed only what the operator of this server set."""
    meta = case.meta
    if meta is None or not meta.generation.mode.is_positive:
        return
    status = response.status_code
    if status != 400 and (status < 400 or status in (401, 403, 404, 409, 422, 424, 429) or status >= 500):
        return
    if status == 400:
        body = response.json()
        text = body["error"]["message"] if "error" in body else " ".join(e["detail"] for e in body.get("errors", []))
        if text and all(any(limit in part for limit in LIMITS) for part in text.rstrip(".").split(". ")):
            return
    raise AssertionError(f"valid data was answered with {status}: {response.text}")
