//! The allowed dependencies between crates, and the heavy libraries that only named crates may use. See
//! ARCHITECTURE.md.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{cargo, output};

/// The allowed dependencies between crates of the workspace. The binary may use all of them except
/// [`TESTING`].
const ALLOWED: &[(&str, &[&str])] = &[
    ("tintype-core", &[]),
    ("tintype-deploy", &["tintype-core"]),
    ("tintype-diffusion", &["tintype-core"]),
    ("tintype-emoji", &[]),
    ("tintype-http", &["tintype-core", "tintype-ledger", "tintype-sagemaker", "tintype-service"]),
    ("tintype-ledger", &["tintype-core"]),
    ("tintype-ledger-bucket", &["tintype-core", "tintype-ledger"]),
    ("tintype-ledger-sqlite", &["tintype-ledger"]),
    ("tintype-outbound", &[]),
    ("tintype-picture", &["tintype-core"]),
    ("tintype-sagemaker", &["tintype-core"]),
    ("tintype-service", &["tintype-core", "tintype-ledger", "tintype-picture"]),
    ("tintype-storage", &["tintype-core"]),
    ("tintype-testing", &["tintype-core", "tintype-ledger"]),
    ("xtask", &[]),
];

/// The test engines and stores: only a development dependency.
const TESTING: &str = "tintype-testing";

/// Heavy libraries, each with the crates that may use it. `axum` is also used by the binary, which serves the
/// router.
const RESTRICTED: &[(&str, &[&str])] = &[
    ("axum", &["tintype-http", "tintype"]),
    ("aws-sdk-s3", &["tintype-deploy", "tintype-storage"]),
    ("aws-sdk-sagemakerruntime", &["tintype-sagemaker"]),
    ("candle", &["tintype-diffusion"]),
    ("rusqlite", &["tintype-ledger-sqlite"]),
    ("rustls", &["tintype-outbound"]),
    ("s3s", &["tintype-storage"]),
    ("tokio-rustls", &["tintype-outbound"]),
];

/// Checks the manifests of the workspace.
pub(crate) fn check() -> Result<()> {
    let printed = output(&mut cargo(&["metadata", "--format-version=1", "--no-deps"]))?;
    let forbidden = violations(&serde_json::from_str(&printed)?)?;
    if !forbidden.is_empty() {
        bail!("dependencies that ARCHITECTURE.md does not allow:\n  {}", forbidden.join("\n  "));
    }
    Ok(())
}

/// The forbidden dependencies in the output of `cargo metadata`. Development dependencies are not restricted.
fn violations(metadata: &Value) -> Result<Vec<String>> {
    let mut forbidden = Vec::new();
    for package in metadata["packages"].as_array().context("no `packages` in the metadata")? {
        let name = package["name"].as_str().context("package without a name")?;
        for dependency in package["dependencies"].as_array().context("package without `dependencies`")? {
            let on = dependency["name"].as_str().context("dependency without a name")?;
            if dependency["kind"] != "dev" && !may_depend(name, on) {
                forbidden.push(format!("{name} → {on}"));
            }
        }
    }
    Ok(forbidden)
}

fn may_depend(name: &str, on: &str) -> bool {
    if on == TESTING {
        return false;
    }
    if on.starts_with("tintype-") && name != "tintype" {
        return ALLOWED.iter().any(|(from, to)| *from == name && to.contains(&on));
    }
    let restriction =
        RESTRICTED.iter().find(|(library, _)| on == *library || on.starts_with(&format!("{library}-")));
    restriction.is_none_or(|(_, users)| users.contains(&name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn package(name: &str, on: &str, kind: Value) -> Value {
        json!({"packages": [{"name": name, "dependencies": [{"name": on, "kind": kind}]}]})
    }

    #[test]
    fn a_forbidden_edge_is_found() {
        for (name, on) in [
            ("tintype-core", "tintype-service"),
            ("tintype-service", "axum"),
            ("tintype-http", "candle-core"),
            ("tintype", "aws-sdk-s3"),
            ("tintype", "tintype-testing"),
            ("a-new-crate", "tintype-core"),
        ] {
            let forbidden = violations(&package(name, on, Value::Null)).expect("well-formed");
            assert_eq!(forbidden, [format!("{name} → {on}")]);
        }
    }

    #[test]
    fn an_allowed_edge_is_not() {
        for (name, on) in [("tintype", "tintype-diffusion"), ("tintype-http", "axum"), ("tintype", "serde")] {
            assert!(violations(&package(name, on, Value::Null)).expect("well-formed").is_empty());
        }
        assert!(
            violations(&package("tintype-service", "axum", "dev".into())).expect("well-formed").is_empty()
        );
    }

    #[test]
    fn the_workspace_keeps_the_rules() {
        check().expect("no forbidden edge");
    }
}
