//! Writes a request, for a client.

use serde::{Deserialize, Serialize};
use tintype_core::request::GenerateRequest;

/// The form of the requests that an endpoint's model accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// JumpStart's Stable Diffusion and compatible models: `prompt` and `generated_images`.
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

/// Writes the body of an invocation, of type [`JSON`](super::JSON).
pub fn write_request(dialect: Dialect, request: &GenerateRequest) -> Vec<u8> {
    let body = match dialect {
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
    body.expect("strings and numbers serialize as JSON")
}
