//! All jobs of some keys at the end of a run, and what the server has charged for them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::chaos::is_final;
use crate::client::{ApiRequest, Client};

/// Interval between checks whether all jobs have finished.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// A job as reported by the server.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) status: String,
    pub(crate) prompt: String,
    /// Its cost in milliseconds of engine time.
    pub(crate) engine_ms: i128,
    /// Object keys of its images in the store.
    pub(crate) images: Vec<String>,
}

/// All jobs of some keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct JobTotals {
    pub(crate) jobs: HashMap<String, Job>,
    /// Charges above the sum of the jobs' costs, in milliseconds of engine time, summed over keys.
    pub(crate) overcharged_ms: i128,
    /// Charges below the sum of the jobs' costs, in milliseconds of engine time, summed over keys.
    pub(crate) undercharged_ms: i128,
    /// Open reservations, in milliseconds of engine time.
    pub(crate) reserved_ms: i128,
    /// Time until all jobs had finished.
    pub(crate) settled_in: Duration,
}

impl JobTotals {
    /// Waits up to `timeout` until every job has finished, and reads all jobs. Unfinished jobs are included.
    pub(crate) async fn read(client: &Client, keys: &[String], timeout: Duration) -> Result<Self> {
        let began = Instant::now();
        let mut totals = Self::default();
        for key in keys {
            let jobs = loop {
                let jobs = list(client, key).await?;
                if jobs.values().all(|job| is_final(&job.status)) || began.elapsed() > timeout {
                    break jobs;
                }
                tokio::time::sleep(POLL_INTERVAL).await;
            };
            let usage = client.send(ApiRequest::get("/v1/usage").key(key)).await?.json();
            let days = usage["data"].as_array().context("the usage has no data")?;
            let sum = |name: &str| days.iter().map(|day| millis(&day[name])).sum::<i128>();
            let costs: i128 = jobs.values().map(|job| job.engine_ms).sum();
            let difference = sum("engine_seconds") - costs;
            totals.overcharged_ms += difference.max(0);
            totals.undercharged_ms += (-difference).max(0);
            totals.reserved_ms += sum("reserved_engine_seconds");
            totals.jobs.extend(jobs);
        }
        totals.settled_in = began.elapsed();
        Ok(totals)
    }

    pub(crate) fn count(&self, status: &str) -> usize {
        self.jobs.values().filter(|job| job.status == status).count()
    }
}

async fn list(client: &Client, key: &str) -> Result<HashMap<String, Job>> {
    let (mut jobs, mut path) = (HashMap::new(), "/v1/images?limit=100".to_owned());
    loop {
        let response = client.send(ApiRequest::get(path).key(key)).await?;
        let page = response.json();
        let Some(data) = page["data"].as_array() else { bail!("{}: {page}", response.status) };
        jobs.extend(data.iter().map(|job| (job["id"].as_str().unwrap_or_default().to_owned(), read(job))));
        match page["next_cursor"].as_str() {
            Some(next) => path = format!("/v1/images?limit=100&cursor={next}"),
            None => return Ok(jobs),
        }
    }
}

fn read(job: &Value) -> Job {
    let text = |name: &str| job[name].as_str().unwrap_or_default().to_owned();
    let links = job["images"].as_array().into_iter().flatten().filter_map(|image| image["url"].as_str());
    let key = |link: &str| {
        let path = link.split('?').next().unwrap_or_default();
        path.split_once("/images/").map_or_else(String::new, |(_, rest)| format!("images/{rest}"))
    };
    Job {
        status: text("status"),
        prompt: text("prompt"),
        engine_ms: millis(&job["cost"]["engine_seconds"]),
        images: links.map(key).collect(),
    }
}

/// Converts seconds to whole milliseconds; 0 if the value is not a number.
fn millis(seconds: &Value) -> i128 {
    (seconds.as_f64().unwrap_or_default() * 1e3).round() as i128
}
