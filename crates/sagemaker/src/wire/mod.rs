//! What text-to-image models on SageMaker understand and answer.
//!
//! Two dialects: that of JumpStart's Stable Diffusion (`{"prompt", "width", …}` → `{"generated_images"}`) and that of
//! its SDXL (`{"text_prompts", "cfg_scale", …}` → `{"artifacts"}`). As a server, an [`Invocation`] is read from a
//! request's bytes and writes the answer's; as a client, [`write_request`] and [`read_reply`] do the reverse.

mod failure;
mod fields;
mod invocation;
mod media;
mod reply;
mod request;
mod response;
mod rows;
mod runtime;
mod sdxl;
mod sniff;

pub use failure::{ERROR_TYPE, Failure};
pub use invocation::{Invocation, InvocationError};
pub use media::{JSON, JSON_JPEG, TEXT, Wanted};
pub use reply::{ReplyError, read_reply};
pub use request::{Dialect, write_request};
pub use response::{AnswerError, Made};
pub use runtime::{AsyncAccepted, header};

/// Most bytes of a request or an answer that SageMaker's real-time endpoints carry for sure.
pub const MAX_BODY: usize = 6 << 20;

#[cfg(test)]
mod tests;
