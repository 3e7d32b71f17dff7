//! Defaults in the container of a SageMaker endpoint.

use std::path::Path;

use super::environment::Environment;

/// The folder into which SageMaker unpacks the model's archive.
const MODEL: &str = "/opt/ml/model";
/// The port on which SageMaker expects the server, unless `SAGEMAKER_BIND_TO_PORT` has another one.
const PORT: &str = "8080";

/// The settings whose defaults differ in the container.
pub(super) fn defaults(environment: &Environment) -> [(&'static str, String); 8] {
    let port = environment.sagemaker_port.as_deref().unwrap_or(PORT);
    [
        ("listen", format!("0.0.0.0:{port}")),
        ("allow_anonymous", "true".into()),
        ("model", model(Path::new(MODEL))),
        // The container's disk is temporary, and responses contain the images.
        ("data_dir", "/tmp/tintype".into()),
        ("keep", "10m".into()),
        ("keep_jobs", "1h".into()),
        // SageMaker sends SIGKILL 30 s after SIGTERM; the last responses need some of that time.
        ("grace", "20s".into()),
        ("log_format", "json".into()),
    ]
}

/// The endpoint's model, or the built-in one if the endpoint was created without a model.
fn model(folder: &Path) -> String {
    let given = folder.read_dir().is_ok_and(|mut entries| entries.next().is_some());
    if given { folder.display().to_string() } else { "builtin".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_is_the_folder_s_if_it_has_one() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(model(folder.path()), "builtin");
        assert_eq!(model(&folder.path().join("absent")), "builtin");
        std::fs::write(folder.path().join("model_index.json"), "{}").expect("a file");
        assert_eq!(model(folder.path()), folder.path().display().to_string());
    }

    #[test]
    fn the_port_is_sagemaker_s() {
        let environment = Environment { sagemaker_port: Some("8123".into()), ..Environment::default() };
        assert_eq!(defaults(&environment)[0], ("listen", "0.0.0.0:8123".to_owned()));
        assert_eq!(defaults(&Environment::default())[0].1, "0.0.0.0:8080");
    }
}
