//! Tests against third-party software that emulates AWS, or that validates files for AWS, GitHub or operators.

use anyhow::Result;

use crate::python::Venv;
use crate::shell::{cargo, program, run};
use crate::stages::binary;
use crate::tools::{S3S_E2E, installed};

/// The variable that names a folder with ceph's s3-tests.
const S3_TESTS: &str = "TINTYPE_S3_TESTS";

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
        .env("TINTYPE_S3S_E2E", installed(&S3S_E2E)?)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    if std::env::var_os(S3_TESTS).is_some() {
        let ceph = Venv::ensure("s3-tests-venv", "tests/referees/s3/requirements.txt")?;
        pytest.env("TINTYPE_S3_TESTS_PYTHON", ceph.program("python"));
    }
    run(&mut pytest)
}
