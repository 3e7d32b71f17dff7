"""Several models in one server: selection, descriptions, keys, prices, usage and metrics."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import jsonschema
import openai
import pytest
import requests
from conftest import Server
from openai import OpenAI
from PIL import Image

ROOT = Path(__file__).parents[2]
FOLDERS = ROOT / "crates/diffusion/goldens/models"
"""Model folders with small random weights."""

SETTINGS = f"""
[models.small]
engine = "{FOLDERS}/sd15"
aliases = ["sketch", "dall-e-*"]
price = "0.02usd/image"
steps = 3

[models."our/turbo"]
engine = "{FOLDERS}/turbo"
default = true
width = 128
height = 64
max_steps = 8
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tintype.toml"
    path.write_text(SETTINGS)
    return path


@pytest.fixture(scope="session")
def server(start_server: Callable[..., Server], settings: Path) -> Server:
    """A server with two models; requests need no key."""
    return start_server("--config", str(settings))


@pytest.fixture(scope="session")
def keyed(
    start_server: Callable[..., Server], run: Run, settings: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Server, Callable[..., str]]:
    """A server that requires keys, and a function that creates one."""
    folder = tmp_path_factory.mktemp("keyed-models")

    def create(*flags: str) -> str:
        status, out, err = run("keys", "create", "--name", "k", "--data-dir", str(folder), *flags)
        assert status == 0, err
        return out.strip()

    create()
    return start_server("--listen", "0.0.0.0:0", "--config", str(settings), data_dir=folder), create


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def generate(server: Server, key: str | None = None, **members: object) -> requests.Response:
    headers = bearer(key) if key else {}
    body = {"prompt": "a tiger", "steps": 2} | members
    return requests.post(f"{server.url}/v1/images", json=body, headers=headers, timeout=300)


def client(server: Server, key: str = "none") -> OpenAI:
    return OpenAI(base_url=f"{server.url}/v1", api_key=key, timeout=300, max_retries=0)


def listed(server: Server, key: str | None = None) -> dict[str, dict]:
    answer = requests.get(f"{server.url}/v1/models", headers=bearer(key) if key else {}, timeout=30)
    assert answer.status_code == 200, answer.text
    return {model["id"]: model for model in answer.json()["data"]}


def check_against_description(server: Server, schema: str, value: object) -> None:
    """Validates a response with the schemas of the server's API description."""
    description = requests.get(f"{server.url}/openapi.json", timeout=30).json()
    schema_with_references = {"$ref": f"#/components/schemas/{schema}", "components": description["components"]}
    jsonschema.Draft202012Validator(schema_with_references).validate(value)


@pytest.mark.parametrize(
    ("requested", "used", "size"),
    [
        (None, "our/turbo", (128, 64)),
        ("our/turbo", "our/turbo", (128, 64)),
        ("small", "small", (64, 64)),
        ("sketch", "small", (64, 64)),
        ("dall-e-3", "small", (64, 64)),
        ("gpt-image-1", "our/turbo", (128, 64)),
    ],
)
def test_a_request_selects_a_model(
    server: Server, run: Run, requested: str | None, used: str, size: tuple[int, int]
) -> None:
    given = {} if requested is None else {"model": requested}
    query = requests.get(f"{server.url}/generate", params={"prompt": "x", "steps": 1} | given, timeout=300)
    assert query.status_code == 200, query.text
    assert (query.json()["width"], query.json()["height"]) == size

    native = generate(server, **given)
    assert (native.status_code, native.json()["model"]) == (201, used), native.text
    image = Image.open(io.BytesIO(requests.get(native.json()["images"][0]["url"], timeout=30).content))
    # The file names the model in its metadata.
    assert image.size == size and f"Model: {used}" in image.getexif().get_ifd(0x8769)[0x9286].decode("utf-16-be", "ignore")

    extra = {"response_format": "url"} | given
    made = client(server).images.generate(prompt="x", **extra, extra_body={"steps": 1})  # type: ignore[arg-type]
    assert made.size == f"{size[0]}x{size[1]}"

    flags = [] if requested is None else ["--model", requested]
    status, out, err = run("generate", "x", "--steps", "1", "--json", "--server", server.url, *flags)
    assert status == 0, err
    assert json.loads(out)["model"] == used


def test_curl_selects_a_model(server: Server) -> None:
    body = ["-H", "Content-Type: application/json", "-d", '{"prompt": "x", "steps": 1, "model": "sketch"}']
    command = ["curl", "--silent", "--show-error", *body, f"{server.url}/v1/images"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    assert json.loads(done.stdout)["model"] == "small"


def test_models_have_stored_images_of_their_own(server: Server) -> None:
    """The same parameters with another model are another image; an alias is the same model."""
    same = {"seed": 11, "width": 64, "height": 64}
    first = generate(server, **same, model="small").json()
    other = generate(server, **same, model="our/turbo").json()
    again = generate(server, **same, model="sketch").json()
    assert "cache" not in other and again["cache"] == "hit"
    contents = [requests.get(job["images"][0]["url"], timeout=30).content for job in (first, other, again)]
    assert contents[0] == contents[2] != contents[1]


def test_an_unknown_model_is_an_error_that_lists_the_models(server: Server, run: Run) -> None:
    for answer in (
        generate(server, model="larg"),
        requests.get(f"{server.url}/generate", params={"prompt": "x", "model": "larg"}, timeout=30),
    ):
        (violation,) = answer.json()["errors"]
        assert (answer.status_code, violation["parameter"]) == (400, "model")
        assert "small" in violation["detail"] and "our/turbo" in violation["detail"], violation
    with pytest.raises(openai.NotFoundError) as raised:
        client(server).images.generate(prompt="x", model="larg")
    assert (raised.value.code, raised.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.NotFoundError):
        client(server).models.retrieve("larg")
    status, out, err = run("generate", "x", "--model", "larg", "--server", server.url)
    assert (status, out) == (1, "") and "`model`" in err and "our/turbo" in err


def test_the_local_model_settings_do_not_select_a_model_of_the_server(server: Server, run: Run) -> None:
    environment = {"TINTYPE_MODEL": str(FOLDERS / "sd15")}
    status, out, err = run("generate", "x", "--steps", "1", "--json", "--server", server.url, env=environment)
    assert status == 0, err
    assert json.loads(out)["model"] == "our/turbo"


def test_the_list_describes_each_model(server: Server) -> None:
    models = listed(server)
    check_against_description(server, "ModelList", {"object": "list", "data": list(models.values())})
    assert list(models)[0] == "our/turbo", "the default model is the first"
    turbo, small = models["our/turbo"], models["small"]
    assert (turbo["default"], small["default"], turbo["state"]) == (True, False, "loaded")
    assert turbo["defaults"] == {"width": 128, "height": 64, "steps": 4, "guidance": 0}
    assert small["defaults"] == {"width": 64, "height": 64, "steps": 3, "guidance": 7.5}
    assert (turbo["limits"]["max_steps"], small["limits"]["max_steps"]) == (8, 150)
    assert small["price"] == "0.02usd/image" and "price" not in turbo
    assert models["sketch"] == {key: small[key] for key in ("object", "created", "owned_by")} | {
        "id": "sketch",
        "alias_of": "small",
    }
    assert {model.id for model in client(server).models.list()} == set(models)
    for name in ("small", "our/turbo", "our%2Fturbo", "sketch", "dall-e-2"):
        answer = requests.get(f"{server.url}/v1/models/{name}", timeout=30)
        assert answer.status_code == 200, f"{name}: {answer.text}"
        check_against_description(server, "Model", answer.json())
        if name in models:
            assert answer.json() == models[name]
    assert client(server).models.retrieve("our/turbo").id == "our/turbo"


GOOD: list[dict[str, object]] = [
    {"prompt": "x"},
    {"prompt": "x", "steps": 8, "width": 64, "height": 128, "seed": 5, "n": 2, "format": "png"},
    {"prompt": "x", "guidance": 1.5, "negative_prompt": "y", "model": "our/turbo"},
]
BAD: list[dict[str, object]] = [
    {},
    {"prompt": ""},
    {"prompt": "x", "steps": 9},
    {"prompt": "x", "width": 100},
    {"prompt": "x", "width": 4104, "height": 64},
    {"prompt": "x", "height": 32},
    {"prompt": "x", "n": 11},
    {"prompt": "x", "guidance": 31},
    {"prompt": "x", "format": "gif"},
    {"prompt": "x", "stepz": 4},
]


@pytest.mark.parametrize("body", GOOD + BAD, ids=json.dumps)
def test_the_schema_of_a_model_agrees_with_the_server(server: Server, body: dict[str, object]) -> None:
    schema = listed(server)["our/turbo"]["parameters"]
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema).is_valid(body)
    answer = requests.post(f"{server.url}/v1/images", json=body, timeout=300)
    assert (answer.status_code == 201) == valid == (body in GOOD), answer.text


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_example_of_the_readme_works(
    start_server: Callable[..., Server], run: Run, tmp_path: Path, readme: str
) -> None:
    (example,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / readme).read_text(), re.M | re.S)
    config = tmp_path / "tintype.toml"
    config.write_text(example)
    status, out, err = run("config", cwd=tmp_path)
    assert status == 0, err
    for table in ("[models.emoji]", "[models.turbo]", '[models."our/portraits"]'):
        assert table in out
    # The test has neither a Hugging Face cache nor an endpoint.
    engines = {"stabilityai/sd-turbo": "turbo", "sagemaker:portraits": "sd15"}
    for engine, folder in engines.items():
        example = example.replace(f'"{engine}"', f'"{FOLDERS / folder}"')
    config.write_text(example)
    server = start_server("--config", str(config))
    models = listed(server)
    assert {name: model["state"] for name, model in models.items() if "state" in model} == {
        "turbo": "unloaded",
        "emoji": "loaded",
        "our/portraits": "loaded",
    }
    assert models["our/portraits"]["price"] == "0.02usd/image"
    assert models["dall-e-2"]["alias_of"] == "emoji"
    assert generate(server).json()["model"] == "turbo"
    assert listed(server)["turbo"]["state"] == "loaded"
    assert generate(server, model="our/portraits", steps=31).json()["errors"][0]["parameter"] == "steps"


def test_a_broken_model_leaves_the_other_one_working(start_server: Callable[..., Server], tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "model_index.json").write_text("{")
    config = tmp_path / "tintype.toml"
    config.write_text(f'[models.good]\nengine = "{FOLDERS}/turbo"\n[models.bad]\nengine = "{broken}"\n')
    server = start_server("--config", str(config))
    (line,) = [line for line in server.log.read_text().splitlines() if "failed to load model" in line]
    assert "ERROR" in line and "bad" in line and "model_index.json" in line
    for _ in range(2):
        refused = generate(server, model="bad")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert generate(server).status_code == generate(server, model="good").status_code == 201
    with pytest.raises(openai.InternalServerError) as raised:
        client(server).images.generate(prompt="x", model="bad")
    assert raised.value.status_code == 503
    assert requests.get(f"{server.url}/readyz", timeout=30).status_code == 200
    # Of a model without a readable configuration, neither defaults nor limits are known.
    models = listed(server)
    assert models["good"]["state"] == "loaded" and "bad" not in models
    assert requests.get(f"{server.url}/v1/models/bad", timeout=30).status_code == 503


@pytest.mark.parametrize("tables", [1, 2])
def test_a_server_without_a_working_model_exits(run: Run, tmp_path: Path, tables: int) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    serve = ("serve", "--listen", "127.0.0.1:0", "--data-dir", str(tmp_path / "data"), "--log", "off")
    status, out, before = run(*serve, "--model", str(broken))
    assert (status, out) == (1, "") and "model_index.json" in before
    names = ["broken", "other"][:tables]
    config = tmp_path / "tintype.toml"
    config.write_text("".join(f'[models.{name}]\nengine = "{broken}"\n' for name in names))
    assert run(*serve, "--config", str(config)) == (1, "", before)


def test_a_key_can_be_limited_to_models(keyed: tuple[Server, Callable[..., str]], run: Run) -> None:
    server, create = keyed
    key = create("--model", "small")
    assert generate(server, key, model="sketch").status_code == 201
    # The default model is another one.
    for given in ({}, {"model": "our/turbo"}):
        refused = generate(server, key, **given)
        assert (refused.status_code, refused.json()["type"]) == (403, "urn:tintype:problem:model-not-allowed")
    assert set(listed(server, key)) == {"small", "sketch", "dall-e-*"}
    with pytest.raises(openai.NotFoundError):
        client(server, key).models.retrieve("our/turbo")
    with pytest.raises(openai.PermissionDeniedError) as raised:
        client(server, key).images.generate(prompt="x", model="our/turbo")
    assert (raised.value.code, raised.value.param) == ("model_not_allowed", "model")

    folder = ("--data-dir", str(server.data_dir))
    status, out, err = run("keys", "list", "--json", *folder)
    assert status == 0, err
    (limited,) = [record for record in json.loads(out) if record["models"] == ["small"]]
    for command in (("list",), ("show", limited["id"])):
        status, out, err = run("keys", *command, *folder)
        assert status == 0 and "only small" in out, (out, err)


def test_the_api_creates_keys_limited_to_models(keyed: tuple[Server, Callable[..., str]]) -> None:
    server, create = keyed
    admin = bearer(create("--admin"))
    url = f"{server.url}/v1/keys"
    made = requests.post(url, headers=admin, json={"name": "k", "models": ["our/turbo"]}, timeout=30)
    assert (made.status_code, made.json()["models"]) == (201, ["our/turbo"])
    check_against_description(server, "NewKey", made.json())
    key = made.json()["key"]
    assert [generate(server, key, model=name).status_code for name in ("our/turbo", "small")] == [201, 403]
    shown = requests.get(f"{url}/{made.json()['id']}", headers=admin, timeout=30).json()
    assert shown["models"] == ["our/turbo"]
    for unknown in ("larg", "sketch"):
        refused = requests.post(url, headers=admin, json={"name": "k", "models": [unknown]}, timeout=30)
        (violation,) = refused.json()["errors"]
        assert (refused.status_code, violation["parameter"]) == (400, "models")
        assert "our/turbo, small" in violation["detail"]


def test_a_price_per_image_is_charged_and_limited_by_budgets(keyed: tuple[Server, Callable[..., str]]) -> None:
    server, create = keyed
    key = create("--budget", "0.05usd/day")
    made = generate(server, key, model="small", n=2)
    assert made.status_code == 201, made.text
    cost = made.json()["cost"]
    assert (cost["amount"], cost["currency"]) == (0.04, "usd")
    refused = generate(server, key, model="sketch")
    assert (refused.status_code, refused.json()["limit"]) == (402, "budget 0.05usd/day")
    assert int(refused.headers["retry-after"]) > 0
    # A budget in a currency cannot limit a model without a price.
    unpriced = generate(server, key, model="our/turbo")
    assert (unpriced.status_code, unpriced.json()["type"]) == (402, "urn:tintype:problem:budget-unpriced")

    usage = requests.get(f"{server.url}/v1/usage", headers=bearer(key), timeout=30).json()
    check_against_description(server, "Usage", usage)
    models = {model["model"]: model for day in usage["data"] for model in day["models"]}
    assert (models["small"]["jobs"], models["small"]["pictures"]) == (1, 2)
    assert models["small"]["amounts"] == [{"amount": 0.04, "currency": "usd"}]


def test_usage_and_metrics_are_per_model(start_server: Callable[..., Server], settings: Path) -> None:
    server = start_server("--config", str(settings))
    for model, n in (("small", 1), ("sketch", 2), ("our/turbo", 3)):
        assert generate(server, model=model, n=n).status_code == 201
    usage = requests.get(f"{server.url}/v1/usage", timeout=30).json()
    models = {model["model"]: model for day in usage["data"] for model in day["models"]}
    assert {name: (model["jobs"], model["pictures"]) for name, model in models.items()} == {
        "small": (2, 3),
        "our/turbo": (1, 3),
    }
    assert all(model["engine_seconds"] > 0 for model in models.values())

    lines = dict(
        line.rsplit(" ", 1)
        for line in requests.get(f"{server.url}/metrics", timeout=30).text.splitlines()
        if not line.startswith("#")
    )
    for model, generations, pictures in (("small", "2", "3"), ("our/turbo", "1", "3")):
        label = f'model="{model}"'
        assert lines[f"tintype_generations_total{{{label}}}"] == generations
        assert lines[f"tintype_pictures_total{{{label}}}"] == pictures
        assert lines[f'tintype_jobs_ended_total{{{label},status="succeeded",reason=""}}'] == generations
        assert lines[f"tintype_step_seconds_count{{{label}}}"] == generations
        assert lines[f"tintype_queue_wait_seconds_count{{{label}}}"] == generations
        assert lines[f"tintype_jobs_queued{{{label}}}"] == lines[f"tintype_jobs_running{{{label}}}"] == "0"
        charged = [float(value) for name, value in lines.items() if "engine_seconds_total" in name and label in name]
        assert len(charged) == 1 and charged[0] > 0
