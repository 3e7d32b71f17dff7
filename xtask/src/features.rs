//! One set of features: a crate has the same features in the product's build and in the tests' build. Otherwise
//! cargo would compile it, and every crate that uses it, twice.

use std::collections::BTreeSet;

use anyhow::{Result, bail};

use crate::shell::{cargo, output};

/// Compares the features of the product's crates with those in the whole workspace with its tests.
pub(crate) fn check() -> Result<()> {
    let product = crates(&["--package", "tintype", "--edges", "normal,build"])?;
    let workspace = crates(&["--workspace", "--edges", "normal,build,dev"])?;
    let differing = differing(&product, &workspace);
    if !differing.is_empty() {
        bail!(
            "these crates have more features in the tests than in the product, so cargo compiles them twice; \
             set the same features in [workspace.dependencies]:\n  {}",
            differing.join("\n  ")
        );
    }
    Ok(())
}

/// The crates of a selection, one line per crate with its features.
fn crates(selection: &[&str]) -> Result<String> {
    let arguments = ["tree", "--locked", "--prefix", "none", "--no-dedupe", "--format", "{p}\t{f}"];
    output(cargo(&arguments).args(selection))
}

/// The lines of `product` that `workspace` lacks, each with the features in `workspace`.
fn differing(product: &str, workspace: &str) -> Vec<String> {
    let all: BTreeSet<&str> = workspace.lines().collect();
    let missing: BTreeSet<&str> = product.lines().filter(|line| !all.contains(line)).collect();
    let shown = missing.into_iter().map(|line| {
        let name = line.split('\t').next().unwrap_or_default();
        let others = all.iter().filter(|other| other.split('\t').next() == Some(name));
        let others: Vec<_> = others.filter_map(|other| other.split('\t').nth(1)).collect();
        format!("{} / in the workspace: {}", line.replace('\t', ": "), others.join(" / "))
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feature_of_the_tests_only_is_found() {
        let product = "tokio v1.0.0\trt,time\nhttp v1.0.0\tstd\n";
        assert!(
            differing(product, "http v1.0.0\tstd\ntokio v1.0.0\trt,time\nproptest v1.0.0\t\n").is_empty()
        );
        let found = differing(product, "http v1.0.0\tstd\ntokio v1.0.0\trt,test-util,time\n");
        assert_eq!(found, ["tokio v1.0.0: rt,time / in the workspace: rt,test-util,time"]);
    }
}
