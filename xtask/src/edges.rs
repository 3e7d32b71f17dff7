//! Which crate may depend on which, and which one alone may know a heavy library. See ARCHITECTURE.md.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::shell::{cargo, output};

/// Every edge between our crates that is allowed. The binary may use all of them but [`TESTING`].
const ALLOWED: &[(&str, &[&str])] = &[
    ("tintype-core", &[]),
    ("tintype-deploy", &["tintype-core"]),
    ("tintype-diffusion", &["tintype-core"]),
    ("tintype-emoji", &[]),
    ("tintype-http", &["tintype-core", "tintype-sagemaker", "tintype-service"]),
    ("tintype-ledger", &["tintype-core"]),
    ("tintype-picture", &["tintype-core"]),
    ("tintype-sagemaker", &["tintype-core"]),
    ("tintype-service", &["tintype-core", "tintype-ledger", "tintype-picture"]),
    ("tintype-storage", &["tintype-core"]),
    ("tintype-testing", &["tintype-core"]),
    ("xtask", &[]),
];

/// The null engine and its like: a development dependency only.
const TESTING: &str = "tintype-testing";

/// Libraries that one crate (and the binary, where it serves the router) walls off from the rest.
const WALLED: &[(&str, &[&str])] = &[
    ("axum", &["tintype-http", "tintype"]),
    ("aws-sdk-cloudformation", &["tintype-deploy"]),
    ("aws-sdk-s3", &["tintype-deploy", "tintype-storage"]),
    ("aws-sdk-sagemakerruntime", &["tintype-sagemaker"]),
    ("candle", &["tintype-diffusion"]),
    ("rusqlite", &["tintype-ledger"]),
    ("s3s", &["tintype-storage"]),
];

/// Checks the manifests of the workspace.
pub(crate) fn check() -> Result<()> {
    let printed = output(&mut cargo(&["metadata", "--format-version=1", "--no-deps"]))?;
    let wrong = violations(&serde_json::from_str(&printed)?)?;
    if !wrong.is_empty() {
        bail!("dependencies that ARCHITECTURE.md does not allow:\n  {}", wrong.join("\n  "));
    }
    Ok(())
}

/// The forbidden edges in what `cargo metadata` printed. Development dependencies are free: tests may use anything.
fn violations(metadata: &Value) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    for package in metadata["packages"].as_array().context("metadata without packages")? {
        let name = package["name"].as_str().context("a package without a name")?;
        for dependency in package["dependencies"].as_array().context("a package without dependencies")? {
            let on = dependency["name"].as_str().context("a dependency without a name")?;
            if dependency["kind"] != "dev" && !may_depend(name, on) {
                wrong.push(format!("{name} → {on}"));
            }
        }
    }
    Ok(wrong)
}

fn may_depend(name: &str, on: &str) -> bool {
    if on == TESTING {
        return false;
    }
    if on.starts_with("tintype-") && name != "tintype" {
        return ALLOWED.iter().any(|(from, to)| *from == name && to.contains(&on));
    }
    let wall = WALLED.iter().find(|(library, _)| on == *library || on.starts_with(&format!("{library}-")));
    wall.is_none_or(|(_, insiders)| insiders.contains(&name))
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
            let wrong = violations(&package(name, on, Value::Null)).expect("well-formed");
            assert_eq!(wrong, [format!("{name} → {on}")]);
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
