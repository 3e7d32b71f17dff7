//! The binary's output and exit status.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

fn tintype(folder: &Path, arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tintype"));
    command.args(arguments).current_dir(folder).env_clear().envs(variables.iter().copied());
    command.output().expect("it runs")
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

/// Runs a command that must end with status 2 and one line on standard error, and returns that line.
fn usage_error(arguments: &[&str], variables: &[(&str, &str)], file: Option<&str>) -> String {
    let folder = folder();
    if let Some(content) = file {
        std::fs::write(folder.path().join("tintype.toml"), content).expect("a file");
    }
    let output = tintype(folder.path(), arguments, variables);
    let error = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
    error
}

#[test]
fn usage_errors_are_one_line_and_status_2() {
    let address = usage_error(&["serve", "--listen", "0.0.0.0:0"], &[], None);
    assert!(address.starts_with("error: 0.0.0.0:0 can be reached") && address.contains("--allow-anonymous"));
    let value = usage_error(&["serve", "--keep", "soon"], &[], None);
    assert!(value.starts_with("error: `keep` is `soon` (--keep); it must be "), "{value}");
    let variable = usage_error(&["config"], &[("TINTYPE_QUEU", "1")], None);
    assert!(variable.contains("TINTYPE_QUEU"), "{variable}");
    let key = usage_error(&["config"], &[], Some("queu = 1"));
    assert!(key.contains("`queu`") && key.contains("tintype.toml"), "{key}");
}

#[test]
fn unknown_flags_and_commands_are_status_2() {
    for arguments in
        [&["serve", "--queu", "1"][..], &["sreve"], &["generate"], &["generate", "x", "--steps", "many"]]
    {
        let output = tintype(folder().path(), arguments, &[]);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}

/// Files that are no model folder. `deploy` must reject them before it calls AWS: no credentials are set.
#[test]
fn deploy_rejects_a_model_with_the_error_of_serve() {
    let folder = folder();
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        std::fs::write(path, content).expect("a file");
    };
    let pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    write("x.safetensors", b"\x10\0\0\0\0\0\0\0{\"a\":1}");
    write("x.ckpt", b"PK\x03\x04\0\0");
    write("x.gguf", b"GGUF\x03\0\0\0");
    write("pointer.safetensors", pointer);
    write("checkpoints/x.ckpt", b"PK\x03\x04\0\0");
    write("pointers/model_index.json", b"{\"_class_name\":\"StableDiffusionPipeline\"}");
    write("pointers/unet/config.json", pointer);
    write("empty/model_index.json", b"{\"_class_name\":\"StableDiffusionPipeline\"}");
    let made = Command::new("mkfifo").arg(folder.path().join("fifo")).status().expect("mkfifo");
    assert!(made.success());
    for (model, expected) in [
        ("x.safetensors", "a safetensors file"),
        ("x.ckpt", "a PyTorch file"),
        ("x.gguf", "a GGUF file"),
        ("pointer.safetensors", "a Git LFS pointer"),
        ("checkpoints", "a PyTorch file"),
        ("pointers", "unet/config.json is a Git LFS pointer"),
        ("empty", "unet/config.json is missing"),
        ("./absent", "model_index.json is missing"),
        ("fifo", "not a regular file"),
    ] {
        let last_line = |arguments: &[&str]| {
            let output = tintype(folder.path(), arguments, &[]);
            assert_eq!(output.status.code(), Some(1), "{arguments:?}");
            let error = String::from_utf8(output.stderr).expect("UTF-8");
            error.lines().last().expect("an error").to_owned()
        };
        let found = last_line(&["deploy", "--model", model, "--yes"]);
        assert!(found.starts_with("error: ") && found.contains(expected), "{model}: {found}");
        assert_eq!(found, last_line(&["generate", "x", "--model", model]), "{model}");
    }
}

/// To open a FIFO would wait for a writer.
#[test]
fn a_fifo_in_the_place_of_a_file_is_refused() {
    for (name, arguments, status) in [
        ("tintype.toml", &["config"][..], 2),
        ("data/ledger.db", &["ledger", "check"], 1),
        ("data/serve.lock", &["serve", "--listen", "127.0.0.1:0"], 1),
        ("data/credentials", &["serve", "--listen", "127.0.0.1:0"], 1),
        ("data/store/lock", &["serve", "--listen", "127.0.0.1:0"], 1),
    ] {
        let folder = folder();
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("folders");
        let made = Command::new("mkfifo").arg(&path).status().expect("mkfifo");
        assert!(made.success());
        let output = tintype(folder.path(), arguments, &[("TINTYPE_DATA_DIR", "data")]);
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(status), "{name}: {error}");
        let name = if name.starts_with("data/store") { "data/store" } else { name };
        assert!(error.contains(name) && error.contains("not a regular file"), "{name}: {error}");
    }
}

#[test]
fn config_shows_the_settings_with_their_sources() {
    let output = tintype(folder().path(), &["config", "--queue", "7"], &[("TINTYPE_GRACE", "1m")]);
    assert!(output.status.success());
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    assert!(line("queue = 7 ").is_some_and(|line| line.ends_with("  # --queue")), "{shown}");
    assert!(line("grace = \"1m\" ").is_some_and(|line| line.ends_with("  # TINTYPE_GRACE")), "{shown}");
    assert!(line("keep = \"7d\" ").is_some_and(|line| line.ends_with("  # default")), "{shown}");
}

#[test]
fn a_missing_model_is_status_1() {
    let folder = folder();
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0", "--model", "./absent"][..],
        &["generate", "x", "--model", "./absent"],
    ] {
        let output = tintype(folder.path(), arguments, &[]);
        let error = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{error}");
        assert!(error.contains("absent") && error.contains("model_index.json"), "{error}");
        assert!(output.stdout.is_empty());
    }
}

#[test]
fn a_key_for_a_model_that_the_settings_lack_gets_a_warning() {
    let folder = folder();
    let tables =
        "[models.fast]\nengine = \"builtin\"\naliases = [\"quick\"]\n[models.slow]\nengine = \"builtin\"\n";
    std::fs::write(folder.path().join("tintype.toml"), tables).expect("a file");
    for (model, warned) in [("fast", false), ("slow", false), ("quick", true), ("other", true)] {
        let create = ["keys", "create", "--name", "x", "--data-dir", "data", "--model", model];
        let output = tintype(folder.path(), &create, &[]);
        let shown = String::from_utf8(output.stderr).expect("UTF-8");
        assert!(output.status.success() && shown.contains(&format!("only {model}")), "{shown}");
        let warning = format!("no model named `{model}`, only fast, slow");
        assert_eq!(shown.contains(&warning), warned, "{shown}");
    }
}

#[test]
fn the_ledger_is_checked_and_repaired() {
    let folder = folder();
    let create = ["keys", "create", "--name", "x", "--data-dir", "data"];
    assert!(tintype(folder.path(), &create, &[]).status.success());
    let check = |more: &[&str]| {
        let arguments = [&["ledger", "check", "--data-dir", "data"], more].concat();
        let output = tintype(folder.path(), &arguments, &[]);
        (output.status.code(), String::from_utf8(output.stdout).expect("UTF-8"))
    };
    assert_eq!(check(&[]), (Some(0), String::new()));
    let database = rusqlite::Connection::open(folder.path().join("data/ledger.db")).expect("the ledger");
    let insert = "INSERT INTO jobs (owner, id, status, deleted, fingerprint, record)
                  VALUES ('acme', x'019ab000000070008000000000000001', 'queued', 0, x'00', '{\"id\":'),
                         ('acme', x'019ab000000070008000000000000002', 'queued', 0, x'00', '{\"v\":9}')";
    database.execute(insert, []).expect("inserted");
    let job = "jobs/acme/019ab000-0000-7000-8000-00000000000";
    let (status, listed) = check(&[]);
    let lines: Vec<_> = listed.lines().collect();
    assert_eq!((status, lines.len()), (Some(1), 2), "{listed}");
    assert!(lines[0].starts_with(&format!("damaged  {job}1: failed to read")), "{listed}");
    assert!(lines[1].starts_with(&format!("newer_version  {job}2: ")), "{listed}");
    let (status, printed) = check(&["--repair", "--json"]);
    let printed: serde_json::Value = serde_json::from_str(&printed).expect("JSON");
    assert_eq!(status, Some(1), "the record of a newer version is left");
    assert_eq!(printed["repaired"][0]["record"], format!("{job}1"));
    assert_eq!(printed["repaired"][0]["fault"], "damaged");
    assert_eq!(printed["unreadable"].as_array().map(Vec::len), Some(1));
    database.execute("DELETE FROM jobs WHERE record LIKE '%\"v\":9%'", []).expect("deleted");
    assert_eq!(check(&["--repair"]), (Some(0), String::new()));
    let record: String = database.query_row("SELECT record FROM jobs", [], |row| row.get(0)).expect("a job");
    assert!(
        record.contains(r#""status":{"is":"failed","reason":"engine","detail":"unreadable_record"}"#),
        "{record}"
    );
}
