//! The response bodies and events of OpenAI's dialect.

use schemars::JsonSchema;
use serde::Serialize;
use tintype_core::picture::{Encoded, Format};
use tintype_service::{Image, LinkedPicture, WarningMessage};
use uuid::Uuid;

use super::request::ResponseOptions;
use crate::image_resource::{self, Cost};
use crate::openapi::types::{FileFormat, Warning};

/// The members of a response beside its images.
// The fields are in the order of the JSON members.
#[derive(Serialize, JsonSchema)]
pub(crate) struct ResponseMetadata {
    /// Always `opaque`: the images have no transparency.
    background: &'static str,
    /// The file format.
    #[schemars(with = "FileFormat")]
    output_format: Format,
    /// The quality of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<String>,
    /// The size of the images as `WIDTHxHEIGHT`.
    size: String,
    /// Token counts; always 0.
    usage: Usage,
    /// The job's id, for `GET /v1/images/{id}`.
    id: Uuid,
    /// The charged cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    /// `hit` if the images were already stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    cache: Option<&'static str>,
    /// Warnings about the request.
    #[schemars(with = "Vec<Warning>")]
    warnings: Vec<WarningMessage>,
    /// The seed of the first image; each further image has the next seed.
    #[serde(skip)]
    seed: u64,
    #[serde(skip)]
    created: i64,
}

/// Token counts. They are 0, because images cost engine time, but OpenAI's clients expect them.
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
    /// The metadata of a succeeded job.
    pub(super) fn new(image: Image, options: ResponseOptions) -> Self {
        let ResponseOptions { quality, warnings, .. } = options;
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
            warnings: image.warnings.into_iter().chain(warnings).collect(),
        }
    }

    /// Adds a warning, if there is one.
    pub(super) fn with_warning(mut self, warning: Option<WarningMessage>) -> Self {
        self.warnings.extend(warning);
        self
    }

    /// The body with links.
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

    /// The body with files. Each file is encoded directly into the body, to avoid copies.
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

    /// The data of the `image_generation.completed` event of the image with this index.
    pub(super) fn completed(&self, index: usize, file: &Encoded) -> String {
        let metadata = self.to_json();
        let mut data = begin_event("image_generation.completed", file, metadata.len() + 64);
        let seed = self.seed + index as u64;
        data.push_str(&format!(",\"created_at\":{},\"seed\":{seed},", self.created));
        data.push_str(&metadata[1..]);
        data
    }

    fn begin(&self, images_len: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(images_len + 1024);
        body.extend(format!("{{\"created\":{},\"data\":[", self.created).bytes());
        body
    }

    fn end(&self, mut body: Vec<u8>) -> Vec<u8> {
        body.extend(b"],");
        // Without its opening brace: the members continue the object.
        body.extend(&self.to_json().as_bytes()[1..]);
        body
    }

    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("plain data")
    }
}

/// The metadata of a partial image.
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
    /// The data of the `image_generation.partial_image` event with this file.
    pub(super) fn event_data(&self, file: &Encoded) -> String {
        let metadata = serde_json::to_string(self).expect("plain data");
        let mut data = begin_event("image_generation.partial_image", file, metadata.len());
        data.push(',');
        data.push_str(&metadata[1..]);
        data
    }
}

/// The beginning of a JSON object with the event's type and file; the caller adds `extra_len` bytes and the
/// closing brace.
fn begin_event(name: &str, file: &Encoded, extra_len: usize) -> String {
    let base64 = file.bytes.len().div_ceil(3) * 4;
    let mut data = String::with_capacity(base64 + extra_len + 64);
    data.push_str(&format!("{{\"type\":\"{name}\",\"b64_json\":\""));
    base64_simd::STANDARD.encode_append(&file.bytes, &mut data);
    data.push('"');
    data
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("plain data")
}
