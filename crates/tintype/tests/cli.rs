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
