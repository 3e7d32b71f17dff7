//! The client against servers of this process, with a resolver of its own.

mod headers;
mod limits;
mod redirects;
mod resolution;
mod server;
mod tls;
