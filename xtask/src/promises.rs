//! Checks that the tests named in SECURITY.md exist.

use std::collections::HashSet;

use anyhow::{Context, Result, bail};

use crate::shell::{output, program, root};

/// The header of a table whose last column names tests.
const HEADER: &str = "| promise | tests |";

/// Checks every promise of SECURITY.md: it names at least one test, and every named test exists.
pub(crate) fn check() -> Result<()> {
    let text = std::fs::read_to_string(root().join("SECURITY.md")).context("failed to read SECURITY.md")?;
    let faults = faults(&text, &tests()?);
    if !faults.is_empty() {
        bail!("SECURITY.md:\n  {}", faults.join("\n  "));
    }
    Ok(())
}

/// The names of all functions in the repository's Rust and Python files.
fn tests() -> Result<HashSet<String>> {
    let pattern = r"(fn|def) [a-z0-9_]+\(";
    let found = output(
        program("git")
            .args(["grep", "--no-index", "--exclude-standard", "-hoE", pattern])
            .args(["--", "*.rs", "*.py"]),
    )?;
    Ok(found
        .lines()
        .filter_map(|line| Some(line.split_once(' ')?.1.trim_end_matches('(').to_owned()))
        .collect())
}

fn faults(text: &str, tests: &HashSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut lines = text.lines();
    while lines.by_ref().any(|line| line == HEADER) {
        for row in lines.by_ref().skip(1).take_while(|line| line.starts_with('|')) {
            let mut cells = row.trim_matches('|').split(" | ");
            let (promise, named) =
                (cells.next().unwrap_or_default().trim(), cells.next().unwrap_or_default());
            let names: Vec<_> = named.split('`').skip(1).step_by(2).collect();
            if names.is_empty() {
                faults.push(format!("no test: {promise}"));
            }
            let missing = names.into_iter().filter(|name| !tests.contains(*name));
            faults.extend(missing.map(|name| format!("`{name}` is not a test: {promise}")));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_promise_names_tests_that_exist() {
        let text = "\
| promise | tests |
| --- | --- |
| Kept `a_b`. | `one`, `two` |
| Broken. | `three` |
| Untested. | by hand |

| other | table |
| --- | --- |
| a | `four` |

| promise | tests |
| --- | --- |
| Second table. | `five` |
";
        let tests = ["one", "two"].map(String::from).into();
        assert_eq!(
            faults(text, &tests),
            ["`three` is not a test: Broken.", "no test: Untested.", "`five` is not a test: Second table."]
        );
    }
}
