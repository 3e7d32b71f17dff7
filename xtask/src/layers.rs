//! The order of the modules of the `service` crate: the API uses the runner, and both use the shared state. A module
//! never uses a layer above its own.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::shell::root;

/// The folder of the crate's modules.
const SOURCES: &str = "crates/service/src";

/// The upper layers by their folders, each with the layers that its modules must not use. Files outside these folders
/// are the shared state.
const LAYERS: &[(&str, &[&str])] = &[("api/", &[]), ("runner/", &["crate::api"])];

/// What the modules of the shared state must not use.
const ABOVE_SHARED: &[&str] = &["crate::api", "crate::runner"];

/// Checks the imports and paths of all modules.
pub(crate) fn check() -> Result<()> {
    let folder = root().join(SOURCES);
    let mut forbidden = Vec::new();
    check_folder(&folder, &folder, &mut forbidden)?;
    if !forbidden.is_empty() {
        bail!("modules that use a layer above their own:\n  {}", forbidden.join("\n  "));
    }
    Ok(())
}

fn check_folder(root: &Path, folder: &Path, forbidden: &mut Vec<String>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            check_folder(root, &path, forbidden)?;
        } else {
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            forbidden.extend(violations(&name, &fs::read_to_string(&path)?));
        }
    }
    Ok(())
}

/// The lines of a module that use a layer above its own. Comments may name any layer, and the crate's root re-exports
/// all layers by relative paths.
fn violations(name: &str, source: &str) -> Vec<String> {
    let layer = LAYERS.iter().find(|(folder, _)| name.starts_with(folder));
    let above = layer.map_or(ABOVE_SHARED, |(_, above)| above);
    let is_code = |line: &&str| !line.trim_start().starts_with("//");
    let uses_above = |line: &&str| above.iter().any(|path| line.contains(path));
    let lines = source.lines().filter(is_code).filter(uses_above);
    lines.map(|line| format!("{name}: {}", line.trim())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_upper_layers_use_lower_ones() {
        let uses = |name, line| violations(name, line).len();
        assert_eq!(uses("api/admission.rs", "use crate::runner::FreeSlot;"), 0);
        assert_eq!(uses("runner/worker.rs", "use crate::inner::Inner;"), 0);
        assert_eq!(uses("runner/worker.rs", "    use crate::api::Service;"), 1);
        assert_eq!(uses("inner.rs", "use crate::runner::Worker;\nuse crate::api::Service;"), 2);
        assert_eq!(uses("inner.rs", "/// See [`Service`](crate::api::Service)."), 0);
    }
}
