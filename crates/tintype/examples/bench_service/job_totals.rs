//! What a server says in the end of all jobs of some keys, and what it has charged for them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::chaos::is_final;
use crate::client::{Ask, Client};

/// How often is looked whether all jobs have ended.
const LOOK: Duration = Duration::from_millis(500);

/// A job as the server has it.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) status: String,
    pub(crate) prompt: String,
    /// What it cost, in milliseconds of engine time.
    pub(crate) engine_ms: i128,
    /// Keys of its pictures in the store.
    pub(crate) pictures: Vec<String>,
}

/// All jobs of some keys.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    pub(crate) jobs: HashMap<String, Job>,
    /// Charged less the sum of the jobs' costs, in milliseconds of engine time, added up over keys; both ways.
    pub(crate) charged_beyond: i128,
    pub(crate) charged_short: i128,
    /// Still reserved, in milliseconds of engine time.
    pub(crate) reserved: i128,
    /// How long it took until all had ended.
    pub(crate) settled_in: Duration,
}

impl Books {
    /// Waits until every job has ended, and reads everything. Those that have not ended by `patience` are in it as they are.
    pub(crate) async fn read(client: &Client, keys: &[String], patience: Duration) -> Result<Self> {
        let began = Instant::now();
        let mut books = Self::default();
        for key in keys {
            let jobs = loop {
                let jobs = list(client, key).await?;
                if jobs.values().all(|job| is_final(&job.status)) || began.elapsed() > patience {
                    break jobs;
                }
                tokio::time::sleep(LOOK).await;
            };
            let usage = client.send(Ask::get("/v1/usage").key(key)).await?.json();
            let days = usage["data"].as_array().context("days")?;
            let sum = |name: &str| days.iter().map(|day| millis(&day[name])).sum::<i128>();
            let costs: i128 = jobs.values().map(|job| job.engine_ms).sum();
            let difference = sum("engine_seconds") - costs;
            books.charged_beyond += difference.max(0);
            books.charged_short += (-difference).max(0);
            books.reserved += sum("reserved_engine_seconds");
            books.jobs.extend(jobs);
        }
        books.settled_in = began.elapsed();
        Ok(books)
    }

    pub(crate) fn count(&self, status: &str) -> usize {
        self.jobs.values().filter(|job| job.status == status).count()
    }
}

async fn list(client: &Client, key: &str) -> Result<HashMap<String, Job>> {
    let (mut jobs, mut path) = (HashMap::new(), "/v1/images?limit=100".to_owned());
    loop {
        let answer = client.send(Ask::get(path).key(key)).await?;
        let page = answer.json();
        let Some(data) = page["data"].as_array() else { bail!("{}: {page}", answer.status) };
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
        pictures: links.map(key).collect(),
    }
}

/// Seconds, written with three decimals, as milliseconds; nothing if there are none.
fn millis(seconds: &Value) -> i128 {
    (seconds.as_f64().unwrap_or_default() * 1e3).round() as i128
}
