//! Checks that AWS Lambda can run the binary.

use tintype_deploy::Binary;

#[test]
fn the_binary_needs_no_newer_glibc_than_lambda_has() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_tintype")).expect("the binary under test");
    let binary = Binary::read(&program).expect("a program for Linux");
    assert!(binary.glibc.is_some(), "it is linked against glibc");
    binary.check().expect("provided.al2023 has what it needs");
}
