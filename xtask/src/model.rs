//! Evaluation of the built-in model.

use anyhow::Result;

use crate::shell::{cargo, run};

/// Evaluates the shipped weights. `models/emoji/examples/eval` receives `eval_arguments`.
pub(crate) fn eval(eval_arguments: &[&str]) -> Result<()> {
    let arguments = ["run", "--release", "--package", "tintype-emoji", "--example", "eval", "--"];
    run(cargo(&arguments).args(eval_arguments))
}
