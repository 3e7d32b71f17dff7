//! The project's own toolbox. `cargo xtask` alone lists what it can do.
//!
//! It depends on next to nothing so that it starts at once on a fresh clone: whatever is heavy, it runs as another
//! process.

use std::process::ExitCode;

use anyhow::{Result, bail};

mod bench;
mod edges;
mod model;
mod python;
mod referees;
mod shell;
mod stages;
mod tools;

const USAGE: &str = "\
cargo xtask <command>

  test            everything that must pass before a change lands (what CI runs)
  lint            the quick part of it: format, clippy, docs, dependency rules
  e2e [ARGS]      the end-to-end tests alone; ARGS go to pytest
  referees [ARGS] what plays AWS, or judges what is made for it: MiniStack, moto, Lambda's emulators, cfn-lint and others;
                  ARGS go to pytest
  bench engine [FOLDER]
                  seconds per denoising step, decode and text encode, beside diffusers' on the same weights;
                  without FOLDER, Stable Diffusion 2.1-base's architecture with random weights
  bench service [--quick] [ARGS]
                  requests per second, identical requests, budgets, overload, and what kill -9 leaves, on an engine
                  that takes a set time; `--help` lists ARGS
  bench api [ARGS]
                  the API beside LiteLLM's proxy and the blog post's Python handler: requests per second of processor
                  time, latency, idle and slow connections; `--help` lists ARGS
  bench lambda    the Lambda function beside the blog post's Python handler: start, warm requests, memory, in AWS's own
                  emulator
  model eval [ARGS]
                  what the built-in model can do, against its targets, and its contact sheets; `--help` lists ARGS
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
        ["e2e", rest @ ..] => stages::end_to_end(rest),
        ["referees", rest @ ..] => referees::referees(rest),
        ["bench", "engine", rest @ ..] => bench::engine(rest.first().copied()),
        ["bench", "service", rest @ ..] => bench::service(rest),
        ["bench", "api", rest @ ..] => bench::api(rest),
        ["bench", "lambda"] => bench::lambda(),
        ["model", "eval", rest @ ..] => model::eval(rest),
        [] | ["help" | "--help" | "-h"] => {
            shell::say(USAGE);
            Ok(())
        }
        _ => bail!("no such command: {}\n\n{USAGE}", args.join(" ")),
    }
}
