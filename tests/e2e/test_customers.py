"""API keys, limits and budgets, on the command line and over the API."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import requests
from conftest import Server

Run = Callable[..., tuple[int, str, str]]


@dataclass
class Customer:
    """A client with an API key."""

    server: Server
    key: str

    def call(self, method: str, path: str, **more: object) -> requests.Response:
        headers = {"authorization": f"Bearer {self.key}", **more.pop("headers", {})}  # type: ignore[dict-item]
        return requests.request(method, self.server.url + path, headers=headers, timeout=300, **more)  # type: ignore[arg-type]

    def create_image(self, **body: object) -> requests.Response:
        return self.call("POST", "/v1/images", json={"prompt": "apple", "steps": 2, **body})


@pytest.fixture(scope="module")
def shop(start_server: Callable[..., Server]) -> Server:
    """A server with a price for engine time."""
    return start_server("--price", "0.01usd")


@pytest.fixture
def customer(shop: Server, run: Run) -> Callable[..., Customer]:
    """Creates a key and its client: `customer("acme", "--rate", "2/min")`."""

    def create(name: str, *flags: str) -> Customer:
        status, key, err = run("keys", "create", "--name", name, *flags, "--data-dir", str(shop.data_dir))
        assert status == 0, err
        assert "it cannot be shown again" in err
        return Customer(shop, key.strip())

    return create


def key_id(shop: Server, run: Run, name: str) -> str:
    status, out, _ = run("keys", "list", "--json", "--data-dir", str(shop.data_dir))
    assert status == 0
    return next(key["id"] for key in json.loads(out) if key["name"] == name)


def test_a_key_created_while_the_server_runs_works_until_it_is_revoked(
    shop: Server, customer: Callable[..., Customer], run: Run
) -> None:
    acme = customer("acme", "--owner", "acme-inc", "--expires", "90d")
    assert acme.key.startswith("tt_")
    assert acme.create_image().status_code == 201
    assert requests.get(f"{shop.url}/v1/usage", headers={"x-api-key": acme.key}, timeout=30).status_code == 200

    id = key_id(shop, run, "acme")
    status, out, _ = run("keys", "show", id, "--json", "--data-dir", str(shop.data_dir))
    shown = json.loads(out)
    assert (status, shown["owner"], shown["today"]["pictures"]) == (0, "acme-inc", 1)
    assert acme.key not in out and "hash" not in shown
    status, out, _ = run("keys", "revoke", id, "--data-dir", str(shop.data_dir))
    assert status == 0 and "revoked" in out
    refused = acme.create_image()
    assert (refused.status_code, refused.headers["www-authenticate"][:6]) == (401, "Bearer")
    assert "revoked" in refused.json()["detail"]


def test_an_invalid_key_is_rejected_even_if_no_key_is_required(shop: Server) -> None:
    for key in ("tt_nonsense", "sk-1234", ""):
        answer = requests.get(f"{shop.url}/v1/usage", headers={"authorization": f"Bearer {key}"}, timeout=30)
        assert answer.status_code == 401, key
        assert answer.headers["content-type"] == "application/problem+json"


def test_invalid_limits_are_rejected(run: Run) -> None:
    for flags, expected in [
        (["--rate", "60"], "60/min"),
        (["--budget", "5"], "3600s/day"),
        (["--expires", "never"], "90d"),
        (["--concurrency", "0"], "concurrency"),
        (["--owner", "a/b"], "owner"),
    ]:
        status, out, err = run("keys", "create", "--name", "x", *flags)
        assert (status, out) == (2, ""), flags
        assert expected in err, err
    status, _, err = run("keys", "revoke", "0123456789abcdef")
    assert status == 1 and "no key" in err


def test_a_request_over_the_rate_gets_429_and_retry_after(customer: Callable[..., Customer]) -> None:
    acme = customer("rated", "--rate", "2/min")
    first = acme.create_image(seed=1)
    assert first.headers["ratelimit-policy"] == '"rate";q=2;w=60'
    assert first.headers["ratelimit"].startswith('"rate";r=1;t=')
    acme.create_image(seed=2)
    refused = acme.create_image(seed=3)
    body = refused.json()
    assert (refused.status_code, body["limit"]) == (429, "rate 2/min")
    assert 1 <= int(refused.headers["retry-after"]) <= 30
    assert refused.headers["ratelimit"].startswith('"rate";r=0;t=')


def test_a_spent_budget_gives_402_and_is_never_exceeded(customer: Callable[..., Customer]) -> None:
    unlimited = customer("measures")
    measured = unlimited.create_image(steps=40).json()["cost"]["engine_seconds"]
    # At least 1 s is reserved for each job. The rest of the budget is spent before the next job is rejected.
    budget = f"{max(measured, 1) + 2 * measured:.3f}s/day"
    acme = customer("thrifty", "--budget", budget)
    statuses = [acme.create_image(seed=seed, steps=40).status_code for seed in range(12)]
    accepted = statuses.count(201)
    assert 1 <= accepted < 12 and statuses[accepted:] == [402] * (12 - accepted), statuses
    refused = acme.create_image(seed=99, steps=40)
    assert refused.json()["limit"].startswith("budget ")
    assert int(refused.headers["retry-after"]) <= 86_400
    day = acme.call("GET", "/v1/usage").json()["data"][0]
    assert (day["jobs"], day["reserved_engine_seconds"]) == (accepted, 0)


def test_the_jobs_of_another_owner_are_not_found(customer: Callable[..., Customer]) -> None:
    acme, other = customer("mine"), customer("evil")
    id = acme.create_image(seed=5).json()["id"]
    for method, path in [
        ("GET", ""),
        ("GET", "/content"),
        ("GET", "/events"),
        ("POST", "/cancel"),
        ("DELETE", ""),
    ]:
        assert other.call(method, f"/v1/images/{id}{path}").status_code == 404, (method, path)
    assert id not in other.call("GET", "/v1/images").text
    # Stored images are not shared between owners either.
    again = other.create_image(seed=5).json()
    assert again["id"] != id and "cache" not in again
    assert acme.call("GET", f"/v1/images/{id}").status_code == 200


def test_an_admin_manages_keys_over_the_api(shop: Server, customer: Callable[..., Customer]) -> None:
    admin, acme = customer("admin", "--admin"), customer("not-admin")
    wanted = {"name": "new", "rate": "5/min", "concurrency": 2, "budgets": ["60s/day"], "expires_in": "1d"}
    assert acme.call("POST", "/v1/keys", json=wanted).status_code == 403
    assert requests.post(f"{shop.url}/v1/keys", json=wanted, timeout=30).status_code in (401, 403)

    made = admin.call("POST", "/v1/keys", json=wanted)
    assert (made.status_code, made.headers["cache-control"]) == (201, "no-store")
    new = made.json()
    assert Customer(shop, new["key"]).call("GET", "/v1/usage").status_code == 200
    listed = admin.call("GET", "/v1/keys").json()["data"]
    assert new["key"] not in json.dumps(listed) and new["id"] in [key["id"] for key in listed]
    assert admin.call("DELETE", f"/v1/keys/{new['id']}").json()["revoked_at"]
    assert Customer(shop, new["key"]).call("GET", "/v1/usage").status_code == 401


def test_a_public_url_requires_a_key(start_server: Callable[..., Server], run: Run) -> None:
    # Behind a reverse proxy, all requests come from loopback. The public URL shows that there is a proxy.
    status, out, err = run("serve", "--listen", "127.0.0.1:0", "--public-url", "https://pictures.example")
    assert (status, out) == (2, "") and "keys create" in err


def test_generate_sends_its_api_key(customer: Callable[..., Customer], run: Run) -> None:
    acme = customer("cli")
    words = ["generate", "apple", "--steps", "2", "--server", acme.server.url, "--json"]
    status, out, err = run(*words, env={"TINTYPE_API_KEY": acme.key})
    assert status == 0, err
    assert acme.call("GET", "/v1/images").json()["data"][0]["id"] == json.loads(out)["id"]
    status, _, err = run(*words, env={"TINTYPE_API_KEY": acme.key[:-1] + "!"})
    assert status == 1 and "key" in err
