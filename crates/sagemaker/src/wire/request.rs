//! A request as a client writes it.

use serde::{Deserialize, Serialize};
use tintype_core::request::GenerateRequest;

/// What an endpoint's model understands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// JumpStart's Stable Diffusion, and what speaks like it.
    #[default]
    JumpStart,
    /// SDXL's `text_prompts` and `artifacts`.
    Sdxl,
}

#[derive(Serialize)]
struct JumpStart<'a> {
    prompt: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    negative_prompt: &'a str,
    width: u32,
    height: u32,
    num_images_per_prompt: u32,
    num_inference_steps: u32,
    guidance_scale: f64,
    seed: u64,
}

#[derive(Serialize)]
struct Sdxl<'a> {
    text_prompts: Vec<Weighted<'a>>,
    width: u32,
    height: u32,
    samples: u32,
    steps: u32,
    cfg_scale: f64,
    seed: u64,
}

#[derive(Serialize)]
struct Weighted<'a> {
    text: &'a str,
    weight: f64,
}

/// The body of the invocation that asks for these pictures, of type [`JSON`](super::JSON).
pub fn write_request(dialect: Dialect, request: &GenerateRequest) -> Vec<u8> {
    let written = match dialect {
        Dialect::JumpStart => serde_json::to_vec(&JumpStart {
            prompt: &request.prompt,
            negative_prompt: &request.negative_prompt,
            width: request.width,
            height: request.height,
            num_images_per_prompt: request.n,
            num_inference_steps: request.steps,
            guidance_scale: request.guidance,
            seed: request.seed.value(),
        }),
        Dialect::Sdxl => {
            let mut text_prompts = vec![Weighted { text: &request.prompt, weight: 1.0 }];
            if !request.negative_prompt.is_empty() {
                text_prompts.push(Weighted { text: &request.negative_prompt, weight: -1.0 });
            }
            serde_json::to_vec(&Sdxl {
                text_prompts,
                width: request.width,
                height: request.height,
                samples: request.n,
                steps: request.steps,
                cfg_scale: request.guidance,
                seed: request.seed.value(),
            })
        }
    };
    written.expect("strings and numbers are always JSON")
}
