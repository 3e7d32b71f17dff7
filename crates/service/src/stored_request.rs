//! The stored form of a request, and the keys by which jobs and images are found again.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tintype_core::engine::EngineInfo;
use tintype_core::picture::Format;
use tintype_core::request::{GenerateRequest, Seed};
use tintype_ledger::accept::PictureKeys;
use tintype_ledger::id::Fingerprint;
use tintype_ledger::job::JobRecord;

/// The version of the form that this program writes. Records without a version have version 1.
const VERSION: u32 = 1;

/// A job's request in the ledger's record.
///
/// Other versions of this program read it. A new member needs a default; a change that earlier versions would
/// misunderstand needs a new version of the job's record ([`tintype_ledger::stored::VERSION`]).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredRequest {
    #[serde(default = "first_version")]
    v: u32,
    /// The model that the request was checked for.
    pub(crate) model: String,
    #[serde(rename = "request")]
    parameters: StoredParameters,
    /// Maximum engine time in milliseconds, if a budget pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) cap_ms: Option<u64>,
}

/// The parameters of a request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct StoredParameters {
    prompt: String,
    negative_prompt: String,
    width: u32,
    height: u32,
    steps: u32,
    guidance: f64,
    seed: StoredSeed,
    n: u32,
    format: Format,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compression: Option<u8>,
    expires_in: Duration,
}

/// A seed, and who chose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StoredSeed {
    Explicit(u64),
    #[serde(rename = "drawn")]
    Random(u64),
}

fn first_version() -> u32 {
    1
}

impl StoredRequest {
    pub(crate) fn new(model: &str, request: &GenerateRequest, cap: Option<Duration>) -> Self {
        Self {
            v: VERSION,
            model: model.to_owned(),
            parameters: request.into(),
            cap_ms: cap.map(|cap| u64::try_from(cap.as_millis()).unwrap_or(u64::MAX)),
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        serde_json::to_value(self).expect("plain data serializes")
    }

    /// `None` if the record was erased or has an unknown format.
    pub(crate) fn read(job: &JobRecord) -> Option<Self> {
        Self::deserialize(&job.request).ok().filter(|stored| stored.v <= VERSION)
    }

    pub(crate) fn request(&self) -> GenerateRequest {
        self.parameters.clone().into()
    }
}

impl From<&GenerateRequest> for StoredParameters {
    fn from(request: &GenerateRequest) -> Self {
        Self {
            prompt: request.prompt.clone(),
            negative_prompt: request.negative_prompt.clone(),
            width: request.width,
            height: request.height,
            steps: request.steps,
            guidance: request.guidance,
            seed: match request.seed {
                Seed::Explicit(seed) => StoredSeed::Explicit(seed),
                Seed::Random(seed) => StoredSeed::Random(seed),
            },
            n: request.n,
            format: request.format,
            compression: request.compression,
            expires_in: request.expires_in,
        }
    }
}

impl From<StoredParameters> for GenerateRequest {
    fn from(stored: StoredParameters) -> Self {
        Self {
            prompt: stored.prompt,
            negative_prompt: stored.negative_prompt,
            width: stored.width,
            height: stored.height,
            steps: stored.steps,
            guidance: stored.guidance,
            seed: match stored.seed {
                StoredSeed::Explicit(seed) => Seed::Explicit(seed),
                StoredSeed::Random(seed) => Seed::Random(seed),
            },
            n: stored.n,
            format: stored.format,
            compression: stored.compression,
            expires_in: stored.expires_in,
        }
    }
}

/// What makes two requests the same. The bytes of its JSON are part of the keys of stored jobs: a new parameter is
/// left out while it has its default.
#[derive(Serialize)]
struct CanonicalRequest<'a> {
    model: &'a str,
    prompt: &'a str,
    negative_prompt: &'a str,
    width: u32,
    height: u32,
    steps: u32,
    guidance: f64,
    /// `None` if the server chose the seed.
    seed: Option<u64>,
    n: u32,
    format: Format,
    #[serde(skip_serializing_if = "Option::is_none")]
    compression: Option<u8>,
}

impl<'a> CanonicalRequest<'a> {
    fn new(model: &'a str, request: &'a GenerateRequest) -> Self {
        Self {
            model,
            prompt: &request.prompt,
            negative_prompt: &request.negative_prompt,
            width: request.width,
            height: request.height,
            steps: request.steps,
            guidance: request.guidance,
            seed: match request.seed {
                Seed::Explicit(seed) => Some(seed),
                Seed::Random(_) => None,
            },
            n: request.n,
            format: request.format,
            compression: request.compression,
        }
    }
}

/// The key of identical requests, which may share a job in flight. It covers the model's name and all parameters
/// except a seed that the server chose and the lifetime of the URLs. A retry has the key of the first attempt.
pub(crate) fn request_key(model: &str, request: &GenerateRequest) -> Fingerprint {
    digest(&CanonicalRequest::new(model, request))
}

/// The key of identical images: the request, and what else decides the pixels and the file.
pub(crate) fn picture_key(engine: &EngineInfo, request: &GenerateRequest) -> Fingerprint {
    let canonical = CanonicalRequest::new(&engine.model.name, request);
    digest(&(canonical, &engine.revision, &engine.numerics))
}

/// The keys of the images that this request would get now.
pub(crate) fn picture_keys(engine: &EngineInfo, request: &GenerateRequest) -> PictureKeys {
    let before_0_2 = engine.revision_before_0_2.as_ref().map(|revision| {
        let parameters = StoredParameters { expires_in: Duration::ZERO, ..request.into() };
        digest(&(&engine.model.name, revision, parameters))
    });
    PictureKeys { current: picture_key(engine, request), before_0_2 }
}

fn digest(value: &impl Serialize) -> Fingerprint {
    Fingerprint::of(&serde_json::to_vec(value).expect("plain data serializes"))
}

#[cfg(test)]
mod tests;
