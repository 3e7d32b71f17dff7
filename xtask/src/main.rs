//! The project's development commands. `cargo xtask` without arguments lists them.
//!
//! The crate has few dependencies, so that it compiles quickly in a fresh clone. Heavy work runs in other
//! processes.

use std::process::ExitCode;

use anyhow::{Result, bail};
use budgets::Measured;

mod bench;
mod budgets;
mod dist;
mod edges;
mod features;
mod language;
mod layers;
mod model;
mod promises;
mod python;
mod referees;
mod shell;
mod stages;
mod tools;

const USAGE: &str = "\
cargo xtask <command>

  test            run all checks and tests that must pass before a change lands (CI runs this)
  lint            run the quick checks only: format, language, clippy, docs, dependency rules
  unit            run the unit and integration tests only
  e2e [ARGS]      run the end-to-end tests only; ARGS are passed to pytest
  referees [ARGS] run the tests against third-party AWS emulators and validators: MiniStack, moto, the Lambda
                  emulators, cfn-lint and others; ARGS are passed to pytest
  bench engine [FOLDER]
                  measure seconds per denoising step, decode and text encoding, next to diffusers on the same weights;
                  without FOLDER, use random weights in the architecture of Stable Diffusion 2.1 base
  bench service [--quick] [ARGS]
                  measure requests per second, identical requests, budgets, overload, and recovery from kill -9, with an
                  engine of constant duration; `--help` lists ARGS
  bench api [ARGS]
                  compare the API with LiteLLM's proxy and the blog post's Python handler: requests per second of CPU
                  time, latency, idle and slow connections; `--help` lists ARGS
  bench lambda    compare the Lambda function with the blog post's Python handler in AWS's emulator: start-up time, warm
                  requests, memory
  budgets         print the size of the release binary and the start-up time of the Lambda function beside their budgets
  dist [--check] [wheel] [tar] [deb] [oci]
                  make the packages of a release in dist/, by default all; with --check, install them in fresh
                  environments and generate an image in each
  model eval [ARGS]
                  evaluate the built-in model against its targets and draw its contact sheets; `--help` lists ARGS
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            shell::say(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] => stages::test(),
        ["lint"] => stages::lint(),
        ["budgets"] => budgets::report(&stages::binary()?, &Measured::default()),
        ["unit"] => stages::unit(),
        ["e2e", rest @ ..] => stages::end_to_end(rest),
        ["referees", rest @ ..] => referees::referees(rest),
        ["bench", "engine", rest @ ..] => bench::engine(rest.first().copied()),
        ["bench", "service", rest @ ..] => bench::service(rest),
        ["bench", "api", rest @ ..] => bench::api(rest),
        ["bench", "lambda"] => bench::lambda(),
        ["dist", rest @ ..] => dist::dist(rest),
        ["model", "eval", rest @ ..] => model::eval(rest),
        [] | ["help" | "--help" | "-h"] => {
            shell::say(USAGE);
            Ok(())
        }
        _ => bail!("unknown command `{}`\n\n{USAGE}", args.join(" ")),
    }
}
