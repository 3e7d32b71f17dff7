//! Side-by-side benchmarks: tintype and its alternatives, with the same work in the same run.

use anyhow::Result;

use crate::python::Venv;
use crate::shell::{cargo, program, root, run, say};
use crate::stages::{binary, test_venv};
use crate::tools;

/// Measures the engine and diffusers on the same model folder.
pub(crate) fn engine(folder: Option<&str>) -> Result<()> {
    let venv = Venv::ensure("train-venv", "models/emoji/requirements.txt")?;
    let folder = match folder {
        Some(folder) => folder.into(),
        None => root().join("target/sd21-random"),
    };
    if !folder.join("model_index.json").exists() {
        say("writing a model folder with Stable Diffusion 2.1-base's architecture and random weights …");
        run(program(venv.program("python")).arg("bench/engine/random_sd21.py").arg(&folder))?;
    }
    let arguments = ["run", "--release", "--package", "tintype-diffusion", "--example", "bench_engine", "--"];
    run(cargo(&arguments).arg(&folder))?;
    run(program(venv.program("python")).arg("bench/engine/diffusers_bench.py").arg(&folder))
}

/// Measures the service with an engine of constant duration: load, limits, kills. The benchmark receives
/// `bench_arguments`.
pub(crate) fn service(bench_arguments: &[&str]) -> Result<()> {
    let arguments =
        ["run", "--release", "--package", "tintype", "--example", "bench_service", "--", "--weed"];
    run(cargo(&arguments).arg(test_venv()?.program("weed")).args(bench_arguments))
}

/// Compares the Lambda function with the blog post's Python handler, in the same emulator.
pub(crate) fn lambda() -> Result<()> {
    let venv = Venv::ensure("bench-lambda-venv", "bench/lambda/requirements.txt")?;
    run(&mut cargo(&["build", "--release"]))?;
    let python = venv.program("python");
    run(program(python).args(["bench/lambda/bench.py", "--binary"]).arg(binary()?))
}

/// Compares the API with LiteLLM's proxy and the blog post's handler, with one load generator. The benchmark
/// receives `arguments`.
pub(crate) fn api(arguments: &[&str]) -> Result<()> {
    let venv = Venv::ensure("bench-api-venv", "bench/api/requirements.txt")?;
    let oha = tools::installed(&tools::OHA)?;
    run(&mut cargo(&["build", "--release", "--bin", "tintype", "--example", "bench_service"]))?;
    let (tintype, python) = (binary()?, venv.program("python"));
    let server = tintype.with_file_name("examples").join("bench_service");
    let mut bench = program(python);
    bench
        .arg("bench/api/bench.py")
        .arg("--binary")
        .arg(tintype)
        .arg("--server")
        .arg(server)
        .arg("--oha")
        .arg(oha);
    run(bench.args(arguments))
}
