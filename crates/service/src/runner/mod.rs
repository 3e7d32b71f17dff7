//! The half of the service that runs jobs: it loads models, claims jobs, calls engines, stores the images and records the
//! end. It knows no client and uses nothing of [`api`](crate::api).

mod availability;
mod engine_times;
mod janitor;
mod loading;
mod serverless;
mod start;
mod stop;
mod upload;
mod worker;

pub(crate) use janitor::renew_leases;
pub(crate) use loading::manage_loading;
pub(crate) use upload::{discard, is_image_key};
pub(crate) use worker::FreeSlot;
