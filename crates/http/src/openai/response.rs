//! Pictures in OpenAI's words.

use schemars::JsonSchema;
use serde::Serialize;
use tintype_core::picture::{Encoded, Format};
use tintype_service::{Image, LinkedPicture, WarningMessage};
use uuid::Uuid;

use super::request::ResponseOptions;
use crate::image_resource::{self, Cost};
use crate::openapi::types::{FileFormat, Warning};

/// What is said beside the pictures, in the order in which it is written.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ResponseMetadata {
    /// Always `opaque`: pictures have no transparency.
    background: &'static str,
    #[schemars(with = "FileFormat")]
    output_format: Format,
    /// As it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<String>,
    /// `WIDTHxHEIGHT` of what was made.
    size: String,
    usage: Usage,
    /// The job: `/v1/images/{id}` has it.
    id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    /// `hit` if the pictures were there already.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    #[schemars(with = "Vec<Warning>")]
    warnings: Vec<WarningMessage>,
    /// Of the first picture; each one's is one more.
    #[serde(skip)]
    seed: u64,
    #[serde(skip)]
    created: i64,
}

/// Tokens. None are counted here: a picture costs engine time. But clients read these members unasked.
#[derive(Serialize, Default, JsonSchema)]
#[schemars(rename = "TokenUsage")]
struct Usage {
    total_tokens: u64,
    input_tokens: u64,
    output_tokens: u64,
    input_tokens_details: Details,
}

#[derive(Serialize, Default, JsonSchema)]
#[schemars(rename = "TokenDetails")]
struct Details {
    text_tokens: u64,
    image_tokens: u64,
}

#[derive(Serialize)]
struct Link {
    url: String,
    seed: u64,
}

impl ResponseMetadata {
    /// What there is to say of a job that has its pictures.
    pub(super) fn new(image: Image, ResponseOptions { quality, warning, .. }: ResponseOptions) -> Self {
        let request = image.request.as_ref();
        let size =
            request.map_or_else(String::new, |request| format!("{}x{}", request.width, request.height));
        Self {
            background: "opaque",
            output_format: request.map(|request| request.format).unwrap_or_default(),
            quality,
            size,
            usage: Usage::default(),
            id: image.id.uuid(),
            cost: image.cost.map(Cost::from),
            cache: image_resource::cache(image.source),
            seed: request.map_or(0, |request| request.seed.value()),
            created: image.created.unix_timestamp(),
            warnings: image.warnings.into_iter().chain(warning).collect(),
        }
    }

    /// The answer with links.
    pub(super) fn with_links(
        &self,
        pictures: Vec<LinkedPicture>,
        link: impl Fn(LinkedPicture) -> String,
    ) -> Vec<u8> {
        let data = pictures.into_iter().map(|picture| {
            let seed = picture.seed;
            json(&Link { url: link(picture), seed })
        });
        let data: Vec<_> = data.collect();
        let mut body = self.begin(0);
        body.extend(data.join(&b','));
        self.end(body)
    }

    /// The answer with files. They are most of it: each is encoded where it will be sent from.
    pub(super) fn with_files(&self, files: &[Encoded]) -> Vec<u8> {
        let base64: usize = files.iter().map(|file| file.bytes.len().div_ceil(3) * 4 + 64).sum();
        let mut body = self.begin(base64);
        for (seed, file) in (self.seed..).zip(files) {
            if seed > self.seed {
                body.push(b',');
            }
            body.extend(br#"{"b64_json":""#);
            base64_simd::STANDARD.encode_append(&file.bytes, &mut body);
            body.extend(format!("\",\"seed\":{seed}}}").bytes());
        }
        self.end(body)
    }

    /// The data of the event with a finished picture: number `index`.
    pub(super) fn completed(&self, index: usize, file: &Encoded) -> String {
        let about = self.text();
        let mut data = begin_event("image_generation.completed", file, about.len() + 64);
        let seed = self.seed + index as u64;
        data.push_str(&format!(",\"created_at\":{},\"seed\":{seed},", self.created));
        data.push_str(&about[1..]);
        data
    }

    fn begin(&self, more: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(more + 1024);
        body.extend(format!("{{\"created\":{},\"data\":[", self.created).bytes());
        body
    }

    fn end(&self, mut body: Vec<u8>) -> Vec<u8> {
        body.extend(b"],");
        // Its members follow on ours, so its own brace is left away.
        body.extend(&self.text().as_bytes()[1..]);
        body
    }

    fn text(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}

/// What is said of a picture in the making.
#[derive(Serialize)]
pub(super) struct Partial<'a> {
    pub(super) partial_image_index: u32,
    pub(super) created_at: i64,
    pub(super) size: &'a str,
    pub(super) quality: &'a str,
    pub(super) background: &'static str,
    pub(super) output_format: Format,
}

impl Partial<'_> {
    /// The event's data.
    pub(super) fn with(&self, file: &Encoded) -> String {
        let about = serde_json::to_string(self).expect("plain data");
        let mut data = begin_event("image_generation.partial_image", file, about.len());
        data.push(',');
        data.push_str(&about[1..]);
        data
    }
}

/// An object that begins with its type and its file, and has not ended.
fn begin_event(name: &str, file: &Encoded, more: usize) -> String {
    let base64 = file.bytes.len().div_ceil(3) * 4;
    let mut data = String::with_capacity(base64 + more + 64);
    data.push_str(&format!("{{\"type\":\"{name}\",\"b64_json\":\""));
    base64_simd::STANDARD.encode_append(&file.bytes, &mut data);
    data.push('"');
    data
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data")
}
