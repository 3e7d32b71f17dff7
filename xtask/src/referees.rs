//! Tests against third-party software that emulates AWS, or that validates files for AWS, GitHub or operators.

use anyhow::Result;

use crate::python::Venv;
use crate::shell::{cargo, program, run};
use crate::stages::binary;

/// Installs the third-party tools, builds the binary, and runs the tests against them. pytest receives
/// `arguments`.
pub(crate) fn referees(arguments: &[&str]) -> Result<()> {
    // Separate environments, because MiniStack and checkov pin different versions of botocore, schemathesis
    // conflicts with moto, and check-jsonschema conflicts with SAM.
    let venv = Venv::ensure("referees-venv", "tests/referees/requirements.txt")?;
    let ministack = Venv::ensure("ministack-venv", "tests/referees/ministack.txt")?;
    let checkov = Venv::ensure("checkov-venv", "tests/referees/checkov.txt")?;
    let openapi = Venv::ensure("openapi-venv", "tests/referees/openapi.txt")?;
    let release =
        Venv::ensure("release-venv", "tests/referees/release.txt")?.with_node_modules("tests/referees")?;
    let moto = ["test", "--release", "--package", "tintype-sagemaker", "--test", "moto"];
    run(cargo(&moto).env("TINTYPE_MOTO", venv.program("moto_server")))?;
    run(&mut cargo(&["build", "--release"]))?;
    let mut pytest = program(venv.program("pytest"));
    pytest
        .args(["tests/referees", "-q"])
        .args(arguments)
        .env("TINTYPE_BIN", binary()?)
        .env("TINTYPE_MINISTACK", ministack.program("ministack"))
        .env("TINTYPE_CHECKOV", checkov.program("checkov"))
        .env("TINTYPE_OPENAPI", openapi.program("python"))
        .env("TINTYPE_RELEASE", release.program("python"))
        .env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut pytest)
}
