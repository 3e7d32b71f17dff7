"""Rules that the API description cannot express: the server's limits, other notations, dependent parameters, the time."""

from __future__ import annotations

import re

import schemathesis

LIMITS = ("pixels", "steps × n", "memory", "not after `to`", "a future time", "a currency with a price", "not be empty")
SIZES = {"rate": 1_000_000, "expires_in": 3650}
"""The largest numbers of a key's limits, in their largest units. A pattern cannot limit a number."""
LARGE = 10**9
"""A budget that every server accepts."""


@schemathesis.hook
def map_case(ctx, case):
    """Reduces the numbers in a new key's limits to the accepted range, if the case must be accepted."""
    positive = case.meta is not None and case.meta.generation.mode.is_positive
    if positive and case.operation.label == "POST /v1/keys" and isinstance(case.body, dict):
        limits = {name: case.body[name] for name in SIZES if isinstance(case.body.get(name), str)}
        body = case.body | {name: smaller(text, SIZES[name]) for name, text in limits.items()}
        if isinstance(body.get("budgets"), list):
            body["budgets"] = [smaller(budget, LARGE) for budget in body["budgets"]]
        case.body = body
    negative = case.meta is not None and case.meta.generation.mode.is_negative
    if negative and case.operation.label != "POST /v1/keys":
        if isinstance(case.body, dict):
            case.body = {name: strict(name, value) for name, value in case.body.items()}
        if isinstance(case.query, dict):
            case.query = {name: strict(name, value) for name, value in case.query.items()}
    return case


def strict(name: str, value: object) -> object:
    """An invalid text instead of a notation that the server accepts and the schema does not describe.

    Empty texts count as absent, and numbers may be text.
    """
    accepted = isinstance(value, str) and name != "prompt" and re.fullmatch(r"(-?[0-9.]+(e-?[0-9]+)?)?", value, re.I)
    return "?" if accepted else value


def smaller(text: str, most: int) -> str:
    """The text with its first number reduced to the range 1 to `most`."""
    return re.sub("[0-9]+", lambda number: str(int(number[0][-9:]) % most + 1), text, count=1)


@schemathesis.check
def valid_data_is_accepted_within_the_limits(ctx, response, case) -> None:
    """Like `positive_data_acceptance`, but accepts an error for a limit that the operator has set."""
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
    raise AssertionError(f"valid data got status {status}: {response.text}")
