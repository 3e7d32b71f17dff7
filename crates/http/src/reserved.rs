//! Names that belong to the API.

/// First path segments of the API, in order. What shares its address with the API, such as the embedded store, must
/// not use them: they cannot be buckets.
pub const RESERVED: &[&str] = &[
    ".well-known",
    "assets",
    "docs",
    "endpoints",
    "favicon.ico",
    "generate",
    "health-check",
    "healthz",
    "internal",
    "invocations",
    "livez",
    "metrics",
    "openapi.json",
    "ping",
    "predictions",
    "readyz",
    "robots.txt",
    "sdapi",
    "v1",
];
