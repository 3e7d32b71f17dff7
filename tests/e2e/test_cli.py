"""The command line of the binary."""

from __future__ import annotations

import json
import os
import pty
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from conftest import Server

Run = Callable[..., tuple[int, str, str]]


def test_help_lists_the_commands_and_their_settings(run: Run) -> None:
    status, out, err = run("--help")
    assert (status, err) == (0, "")
    for word in ["serve", "generate", "config", "Examples:", "curl"]:
        assert word in out
    status, out, _ = run("serve", "--help")
    assert status == 0
    out = " ".join(out.split())  # clap wraps the lines
    for word in ["Serving:", "Model:", "Store:", "Limits:", "Log:", "--listen", "[default: 127.0.0.1:8080]"]:
        assert word in out
    status, out, _ = run("generate", "--help")
    assert status == 0
    assert "--negative-prompt" in out and "--model" in out and "--listen" not in out


def test_ctrl_c_clears_the_progress_bar(tintype: str, clean_environment: dict[str, str], tmp_path: Path) -> None:
    process, terminal = pty.fork()
    if process == 0:
        os.chdir(tmp_path)
        os.execve(tintype, [tintype, "generate", "a tiger", "--steps", "150", "-o", "tiger.png"], clean_environment)
    shown = b""
    interrupted = False
    while True:
        try:
            read = os.read(terminal, 65_536)
        except OSError:  # Linux reports the end of the process so.
            break
        if not read:
            break
        shown += read
        if not interrupted and b"denoising" in shown:
            os.write(terminal, b"\x03")
            interrupted = True
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
    last_line = shown.rsplit(b"\x1b[2K", 1)[1]  # what was written after the line was cleared
    assert last_line.strip() == b"error: interrupted", shown[-500:]
    assert list(tmp_path.iterdir()) == []


def test_version(run: Run) -> None:
    status, out, _ = run("--version")
    assert status == 0
    assert out.startswith("tintype ")


def test_each_settings_source_overrides_the_previous_one(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tintype.toml").write_text('queue = 1\nkeep = "1d"\ngrace = "1s"\n')
    status, out, err = run(
        "config", "--json", "--grace", "3s", cwd=tmp_path, env={"TINTYPE_KEEP": "2d", "TINTYPE_GRACE": "2s"}
    )
    assert (status, err) == (0, "")
    settings = json.loads(out)
    assert settings["queue"] == {"value": 1, "source": "tintype.toml"}
    assert settings["keep"] == {"value": "2d", "source": "TINTYPE_KEEP"}
    assert settings["grace"] == {"value": "3s", "source": "--grace"}
    assert settings["listen"] == {"value": "127.0.0.1:8080", "source": "default"}


def test_config_prints_toml_without_secrets(run: Run, tmp_path: Path) -> None:
    secrets = {"TINTYPE_S3_ACCESS_KEY_ID": "AKIA", "TINTYPE_S3_SECRET_ACCESS_KEY": "hunter2"}
    status, out, _ = run("config", cwd=tmp_path, env=secrets)
    assert status == 0
    assert "hunter2" not in out
    assert tomllib.loads(out)["s3_secret_access_key"] == "[redacted]"
    status, out, _ = run("config", "--json", cwd=tmp_path, env=secrets)
    assert "hunter2" not in out


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["serve", "--keep", "a week"], {}, "`keep` is `a week` (--keep); it must be a duration such as"),
        (["config"], {"TINTYPE_LISTNE": "x"}, "TINTYPE_LISTNE"),
        (["config", "--config", "absent.toml"], {}, "cannot read the settings file absent.toml"),
        (["serve"], {"TINTYPE_MAX_MEMORY": "lots"}, "TINTYPE_MAX_MEMORY"),
        (["generate", "x", "--width", "100"], {}, "`--width` must be a multiple of 8"),
        (["generate", " "], {}, "PROMPT"),
    ],
)
def test_invalid_arguments_print_one_line_and_exit_with_2(
    run: Run, arguments: list[str], environment: dict[str, str], expected: str
) -> None:
    status, _, err = run(*arguments, env=environment)
    assert status == 2, err
    assert err.startswith("error: ") and expected in err and err.count("\n") == 1


def test_an_unknown_flag_exits_with_2(run: Run) -> None:
    status, out, err = run("serve", "--listne", "x")
    assert (status, out) == (2, "")
    assert "--listne" in err


def test_the_error_for_an_unknown_setting_names_setting_and_file(run: Run, tmp_path: Path) -> None:
    (tmp_path / "tintype.toml").write_text("listne = 1\n")
    status, _, err = run("config", cwd=tmp_path)
    assert status == 2
    assert "listne" in err and "tintype.toml" in err


def test_generate_writes_an_image_to_the_working_directory(run: Run, tmp_path: Path) -> None:
    status, out, err = run("generate", "a tiger", "--steps", "2", "--seed", "5", cwd=tmp_path)
    assert status == 0, err
    assert out == "a-tiger-5.jpg\n"
    assert Image.open(tmp_path / "a-tiger-5.jpg").format == "JPEG"

    status, out, err = run("generate", "a tiger", "--steps", "2", "--seed", "5", "-o", "t.webp", "--json", cwd=tmp_path)
    assert status == 0, err
    facts = json.loads(out)
    assert (facts["file"], facts["seed"], facts["prompt"]) == ("t.webp", 5, "a tiger")
    picture = Image.open(tmp_path / "t.webp")
    assert (picture.format, picture.size) == ("WEBP", (facts["width"], facts["height"]))


def test_generate_writes_several_images(run: Run, tmp_path: Path) -> None:
    status, out, err = run("generate", "a tiger", "--steps", "1", "--seed", "5", "-n", "2", "-o", "t.png", cwd=tmp_path)
    assert status == 0, err
    assert out == "t-1.png\nt-2.png\n"
    first, second = (Image.open(tmp_path / name) for name in out.split())
    assert "Seed: 5," in first.text["parameters"] and "Seed: 6," in second.text["parameters"]
    assert first.tobytes() != second.tobytes()


def test_generate_uses_a_server(run: Run, server: Server, tmp_path: Path) -> None:
    arguments = ("generate", "a tiger", "--steps", "2", "--seed", "5", "--server", server.url)
    status, out, err = run(*arguments, cwd=tmp_path)
    assert status == 0, err
    assert out.startswith(f"{server.url}/{server.bucket}/images/")
    assert not list(tmp_path.iterdir()), "no file without -o"

    status, out, err = run(*arguments, "-o", "t.png", "--json", cwd=tmp_path)
    assert status == 0, err
    facts = json.loads(out)
    assert facts["file"] == "t.png" and facts["url"].startswith(server.url)
    remote = Image.open(tmp_path / "t.png")
    assert remote.format == "PNG"

    assert run(*arguments[:-2], "-o", "here.png", cwd=tmp_path)[0] == 0
    local = Image.open(tmp_path / "here.png")
    assert local.tobytes() == remote.tobytes(), "the same seed gives the same image locally and on the server"


def test_generate_prints_the_servers_error(run: Run, server: Server) -> None:
    status, out, err = run("generate", "a tiger", "--steps", "151", "--server", server.url)
    assert (status, out) == (1, "")
    assert "steps" in err and "150" in err and err.count("\n") == 1
    status, _, err = run("generate", "x", "--server", "http://127.0.0.1:9")
    assert status == 1
    assert "cannot reach 127.0.0.1:9: " in err and err.count("\n") == 1
    status, _, err = run("generate", "x", "--server", "nonsense")
    assert status == 1
    assert "is not an http:// or https:// URL" in err


def test_the_error_for_an_unwritable_file_names_the_file(run: Run, tmp_path: Path) -> None:
    status, out, err = run("generate", "x", "--steps", "1", "-o", "no/such/folder/x.png", cwd=tmp_path)
    assert (status, out) == (1, "")
    assert "cannot write no/such/folder/x.png: " in err
