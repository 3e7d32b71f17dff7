//! Software that others wrote and that plays AWS, or judges what is made for it.

use anyhow::Result;

use crate::python::Venv;
use crate::shell::{cargo, program, run};
use crate::stages::binary;

/// Sets the referees up, builds the binary, and lets them judge it. The arguments go to pytest.
pub(crate) fn referees(arguments: &[&str]) -> Result<()> {
    // Several environments, since MiniStack and checkov each pin a botocore of their own, and schemathesis what moto does.
    let venv = Venv::ensure("referees-venv", "tests/referees/requirements.txt")?;
    let ministack = Venv::ensure("ministack-venv", "tests/referees/ministack.txt")?;
    let checkov = Venv::ensure("checkov-venv", "tests/referees/checkov.txt")?;
    let openapi = Venv::ensure("openapi-venv", "tests/referees/openapi.txt")?;
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
        .env("PYTHONDONTWRITEBYTECODE", "1");
    run(&mut pytest)
}
