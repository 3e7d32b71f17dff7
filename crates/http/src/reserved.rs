//! The path segments that the API reserves.

/// The first path segments of the API, sorted. The embedded store shares the API's address, so its buckets
/// must not have these names.
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
