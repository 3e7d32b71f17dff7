//! The program from outside: what it prints where, and with which status it ends.

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

/// Ends with status 2 and this one line.
fn refused(arguments: &[&str], variables: &[(&str, &str)], file: Option<&str>) -> String {
    let folder = folder();
    if let Some(content) = file {
        std::fs::write(folder.path().join("tintype.toml"), content).expect("a file");
    }
    let output = tintype(folder.path(), arguments, variables);
    let complaint = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(2), "{complaint}");
    assert_eq!(complaint.lines().count(), 1, "{complaint}");
    complaint
}

#[test]
fn mistakes_are_one_line_and_status_2() {
    let address = refused(&["serve", "--listen", "0.0.0.0:0"], &[], None);
    assert!(address.starts_with("error: 0.0.0.0:0 can be reached") && address.contains("--allow-anonymous"));
    let value = refused(&["serve", "--keep", "soon"], &[], None);
    assert!(value.starts_with("error: `keep` is `soon` (--keep); it must be "), "{value}");
    let variable = refused(&["config"], &[("TINTYPE_QUEU", "1")], None);
    assert!(variable.contains("TINTYPE_QUEU"), "{variable}");
    let key = refused(&["config"], &[], Some("queu = 1"));
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
fn the_settings_come_with_their_sources() {
    let output = tintype(folder().path(), &["config", "--queue", "7"], &[("TINTYPE_GRACE", "1m")]);
    assert!(output.status.success());
    let shown = String::from_utf8(output.stdout).expect("UTF-8");
    let line = |start: &str| shown.lines().find(|line| line.starts_with(start)).map(str::to_owned);
    assert!(line("queue = 7 ").is_some_and(|line| line.ends_with("  # --queue")), "{shown}");
    assert!(line("grace = \"1m\" ").is_some_and(|line| line.ends_with("  # TINTYPE_GRACE")), "{shown}");
    assert!(line("keep = \"7d\" ").is_some_and(|line| line.ends_with("  # default")), "{shown}");
}

#[test]
fn a_model_that_is_not_there_is_status_1() {
    let folder = folder();
    for arguments in [
        &["serve", "--listen", "127.0.0.1:0", "--model", "./absent"][..],
        &["generate", "x", "--model", "./absent"],
    ] {
        let output = tintype(folder.path(), arguments, &[]);
        let complaint = String::from_utf8(output.stderr).expect("UTF-8");
        assert_eq!(output.status.code(), Some(1), "{complaint}");
        assert!(complaint.contains("absent") && complaint.contains("model_index.json"), "{complaint}");
        assert!(output.stdout.is_empty());
    }
}
