//! The built-in model, measured.

use anyhow::Result;

use crate::shell::{cargo, run};

/// What the shipped weights can do. The arguments go to `models/emoji/examples/eval`.
pub(crate) fn eval(arguments: &[&str]) -> Result<()> {
    let words = ["run", "--release", "--package", "tintype-emoji", "--example", "eval", "--"];
    run(cargo(&words).args(arguments))
}
