//! Requests and responses of text-to-image models on SageMaker.
//!
//! There are two dialects: that of JumpStart's Stable Diffusion (`{"prompt", "width", …}` →
//! `{"generated_images"}`) and that of its SDXL (`{"text_prompts", "cfg_scale", …}` → `{"artifacts"}`). A
//! server reads an [`Invocation`] from a request's bytes, and the invocation writes the response. A client
//! uses [`write_request`] and [`read_response`].

mod error;
mod fields;
mod invocation;
mod invocation_response;
mod media;
mod request;
mod response;
mod response_picture;
mod runtime;
mod sdxl;
mod sniff;

pub use error::{ERROR_TYPE, RuntimeApiError};
pub use invocation::{Invocation, InvocationError};
pub use invocation_response::{GeneratedPicture, InvalidPictures};
pub use media::{JSON, JSON_JPEG, PictureEncoding, TEXT};
pub use request::{Dialect, write_request};
pub use response::{ResponseError, read_response};
pub use runtime::{AsyncAccepted, header};

/// Maximum length in bytes of a request or a response that SageMaker's real-time endpoints guarantee to
/// carry.
pub const MAX_BODY: usize = 6 << 20;

#[cfg(test)]
mod tests;
