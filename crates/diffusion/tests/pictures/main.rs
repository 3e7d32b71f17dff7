//! Networks, pipelines and the engine against what diffusers computed with the same small models.

mod common;
mod engine;
mod model_hash;
mod networks;
mod not_finite;
mod options;
mod pipelines;
mod previews;
mod published;
mod revision;
