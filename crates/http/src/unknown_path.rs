//! Paths that do not exist, and the path of the API that the client probably means.

use axum::http::Uri;

use crate::openai;
use crate::params::NAME_CHARS;
use crate::problem::Problem;

/// The paths that are suggested.
const PATHS: [&str; 11] = [
    "/v1/images",
    "/v1/images/generations",
    "/v1/models",
    "/v1/keys",
    "/v1/usage",
    "/generate",
    "/healthz",
    "/readyz",
    "/metrics",
    "/docs",
    "/openapi.json",
];
/// First segments of other servers' paths, and the path of this API for the same purpose.
const OTHER_NAMES: [(&[&str], &str); 6] = [
    (&["health", "healthcheck", "health-check", "live", "liveness", "alive", "status"], "/healthz"),
    (&["ready", "readiness"], "/readyz"),
    (&["swagger", "swagger-ui", "redoc", "doc", "documentation", "help", "api-docs", "apidocs"], "/docs"),
    (&["openapi", "openapi.yaml", "openapi.yml", "swagger.json", "swagger.yaml"], "/openapi.json"),
    (&["prometheus"], "/metrics"),
    (&["txt2img", "text2img", "text2image", "text-to-image", "image", "jobs"], "/v1/images"),
];
/// The maximum edit distance between a path and the path that is suggested for it.
const MAX_DISTANCE: usize = 2;

/// A path that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UnknownPath {
    /// The path, shortened.
    path: String,
    /// The nearest path of the API.
    nearest: Option<&'static str>,
}

/// The fallback of the router.
pub(crate) async fn fallback(uri: Uri) -> Problem {
    UnknownPath::of(uri.path()).into()
}

impl UnknownPath {
    pub(crate) fn of(path: &str) -> Self {
        Self { path: path.chars().take(NAME_CHARS).collect(), nearest: nearest(path) }
    }

    /// The detail of the problem.
    pub(crate) fn detail(&self) -> String {
        let Self { path, nearest } = self;
        match nearest {
            Some(nearest) => format!(
                "The path `{path}` does not exist; the nearest path of this API is `{nearest}`. The API is \
                 under `/v1`, and `GET /docs` describes all paths."
            ),
            None => format!(
                "The path `{path}` does not exist; the API is under `/v1`, for example `/v1/images` and \
                 `/v1/images/generations`. `GET /docs` describes all paths."
            ),
        }
    }
}

impl From<UnknownPath> for Problem {
    fn from(path: UnknownPath) -> Self {
        Self::UnknownPath(path)
    }
}

/// The path of the API that is nearest to this one, if any is near.
fn nearest(path: &str) -> Option<&'static str> {
    let path = path.to_ascii_lowercase();
    let segments = openai::without_version(&path);
    let first = *segments.first()?;
    let rest = segments.join("/");
    let ends_equal = |known: &&&str| known.strip_prefix("/v1/").unwrap_or(&known[1..]) == rest;
    let by_name = || OTHER_NAMES.iter().find(|(names, _)| names.contains(&first)).map(|(_, path)| *path);
    let by_distance = || {
        let distances = PATHS.into_iter().map(|known| {
            let end = known.strip_prefix("/v1/").unwrap_or(&known[1..]);
            (distance(end, &rest), known)
        });
        let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
        (distance <= MAX_DISTANCE && rest.len() > 2 * distance).then_some(known)
    };
    let by_parent = || match segments.as_slice() {
        ["images", "edits" | "variations" | "generate" | "create", ..] => Some("/v1/images/generations"),
        ["images", ..] => Some("/v1/images"),
        ["models", ..] => Some("/v1/models"),
        ["keys", ..] => Some("/v1/keys"),
        _ => None,
    };
    PATHS.iter().find(ends_equal).copied().or_else(by_distance).or_else(by_name).or_else(by_parent)
}

/// The number of characters to insert, delete or replace (Levenshtein). Long texts are far from every path.
fn distance(one: &str, other: &str) -> usize {
    if other.len() > one.len() + MAX_DISTANCE {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_path_is_found() {
        for (path, expected) in [
            ("/images/generations", Some("/v1/images/generations")),
            ("/api/v1/images/generations", Some("/v1/images/generations")),
            ("/openai/deployments/any/images/generations", Some("/v1/images/generations")),
            ("/openai/v1/images/generations", Some("/v1/images/generations")),
            ("/v1/images/generation", Some("/v1/images/generations")),
            ("/v1/images/edits", Some("/v1/images/generations")),
            ("/v1/image/generations", Some("/v1/images/generations")),
            ("/V1/Images", Some("/v1/images")),
            ("/v2/images", Some("/v1/images")),
            ("/v1/images/x/y", Some("/v1/images")),
            ("/models", Some("/v1/models")),
            ("/v1/model", Some("/v1/models")),
            ("/health", Some("/healthz")),
            ("/healthz/x", Some("/healthz")),
            ("/jobs", Some("/v1/images")),
            ("/txt2img", Some("/v1/images")),
            ("/swagger", Some("/docs")),
            ("/swagger-ui/index.html", Some("/docs")),
            ("/openapi.yaml", Some("/openapi.json")),
            ("/generat", Some("/generate")),
            ("/mcp", None),
            ("/system_stats", None),
            ("/v1/chat/completions", None),
            ("/v1", None),
            ("/", None),
            ("/no-bucket/key", None),
        ] {
            assert_eq!(nearest(path), expected, "{path}");
        }
    }

    #[test]
    fn distances_are_counted_in_characters() {
        for (one, other, expected) in
            [("", "", 0), ("docs", "doc", 1), ("docs", "dosc", 2), ("docs", "xdocs", 1), ("abc", "", 3)]
        {
            assert_eq!(distance(one, other), expected, "{one} {other}");
        }
        assert_eq!(distance("docs", &"x".repeat(10_000)), usize::MAX);
    }
}
