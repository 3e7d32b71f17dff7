//! An HTTP client for URLs that callers of the API choose, such as image URLs and webhooks.
//!
//! A server that fetches a URL for a caller can be made to call services that only this server reaches: the metadata
//! service of a cloud, a database, the server itself (server-side request forgery). [`Client`] prevents this:
//!
//! - A host name is resolved once per request. All its addresses must be allowed by the [`Policy`], by default public
//!   ones, and the connection is made to exactly these addresses: a second answer of the name server (DNS rebinding) has
//!   no effect.
//! - Redirects are followed by the client itself, each with the same checks as the first URL.
//! - Scheme, port, number of redirects, time, and size of the response are limited.
//! - Nothing of this server is sent: no credentials, cookies or referrer. Proxies of the environment are not used,
//!   because a proxy would resolve the name again.

mod address;
mod body;
mod client;
mod connection;
mod error;
mod policy;
mod request;
mod resolver;
mod target;

pub use address::is_public;
pub use body::Response;
pub use client::Client;
pub use error::{OutboundError, UrlProblem};
pub use policy::Policy;
pub use request::OutboundRequest;
pub use resolver::{Resolver, SystemResolver};
