//! The headers with a key's limits and their remaining quota (draft-ietf-httpapi-ratelimit-headers).

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use time::OffsetDateTime;
use tintype_ledger::limits::Quota;

const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");
const REMAINING: HeaderName = HeaderName::from_static("ratelimit");

/// `RateLimit-Policy` and `RateLimit`; empty for a key without limits.
pub(crate) fn headers(quotas: &[Quota]) -> HeaderMap {
    let now = OffsetDateTime::now_utc();
    let policy: Vec<_> = quotas.iter().map(Quota::policy_header).collect();
    let remaining: Vec<_> = quotas.iter().map(|quota| quota.header(now)).collect();
    let lines = [(POLICY, policy), (REMAINING, remaining)].into_iter().filter(|(_, items)| !items.is_empty());
    let value = |items: Vec<String>| HeaderValue::try_from(items.join(", ")).expect("visible ASCII");
    lines.map(|(name, items)| (name, value(items))).collect()
}
