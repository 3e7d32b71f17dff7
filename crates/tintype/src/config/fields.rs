//! Functions for serde that read one field of a settings struct from its text:
//! `#[serde(deserialize_with = "fields::timeout")]`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};
use tintype_http::CorsPolicy;
use tintype_ledger::money::Price;
use tintype_ledger_sqlite::Synchronous;
use tintype_sagemaker::wire::Dialect;
use tintype_service::Alias;
use tracing_subscriber::filter::Targets;

use super::models::{LoadTime, ModelChoice, parse_load_time};
use super::units::{self, or_keyword};
use super::values::{self, Device, LambdaResponse, LedgerChoice, LogFormat, StoreChoice};

/// Reads a text and parses it. The error of `parse` completes the sentence "it must be …".
fn parsed<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    parse(&String::deserialize(from)?).map_err(D::Error::custom)
}

/// As [`parsed`]; an empty text means "not set".
fn optional<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<Option<T>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.map(|text| parse(&text)).transpose().map_err(D::Error::custom)
}

/// A list whose elements are parsed.
fn list<'de, D: Deserializer<'de>, T>(
    from: D,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Vec<T>, D::Error> {
    let texts = Vec::<String>::deserialize(from)?;
    texts.iter().map(|text| parse(text)).collect::<Result<_, _>>().map_err(D::Error::custom)
}

/// Defines functions that read a field with one of the functions above and a parser.
macro_rules! fields {
    ($($name:ident: $type:ty = $read:ident($parse:expr);)+) => {$(
        pub(super) fn $name<'de, D: Deserializer<'de>>(from: D) -> Result<$type, D::Error> {
            $read(from, $parse)
        }
    )+};
}

fields! {
    address: SocketAddr = parsed(values::address);
    aliases: Vec<Alias> = list(values::alias);
    auto_count: Option<u64> = parsed(or_keyword("auto", units::count));
    auto_size: Option<u64> = parsed(or_keyword("auto", units::size));
    count: usize = parsed(|text| units::count(text).map(|count| count as usize));
    count_u32: u32 = parsed(|text| units::count(text).map(|count| u32::try_from(count).unwrap_or(u32::MAX)));
    device: Device = parsed(values::device);
    dialect: Dialect = parsed(values::dialect);
    duration: Duration = parsed(units::duration);
    duration_or_forever: Option<Duration> = parsed(or_keyword("forever", units::duration));
    folder: PathBuf = parsed(values::folder);
    lambda_response: LambdaResponse = parsed(values::response);
    ledger: LedgerChoice = parsed(values::ledger);
    load_time: LoadTime = parsed(parse_load_time);
    log_filter: Targets = parsed(values::log_filter);
    log_format: LogFormat = parsed(values::log_format);
    model: ModelChoice = parsed(ModelChoice::parse);
    optional_dialect: Option<Dialect> = optional(values::dialect);
    optional_duration: Option<Duration> = optional(units::duration);
    optional_guidance: Option<f64> = optional(values::guidance);
    optional_origin: Option<String> = optional(values::origin);
    optional_price: Option<Price> = optional(values::price);
    optional_side: Option<u32> = optional(values::side);
    optional_slots: Option<usize> = optional(values::slots);
    optional_steps: Option<u32> = optional(values::steps);
    positive_count: usize = parsed(|text| units::positive_count(text).map(|count| count as usize));
    side: u32 = parsed(values::side);
    size: u64 = parsed(units::size);
    size_or_unlimited: Option<u64> = parsed(or_keyword("unlimited", units::size));
    slots: usize = parsed(values::slots);
    steps: u32 = parsed(values::steps);
    store: StoreChoice = parsed(values::store);
    synchronous: Synchronous = parsed(values::synchronous);
    threads: Option<usize> = parsed(|text| Ok(Some(units::count(text)? as usize).filter(|&threads| threads > 0)));
    timeout: Duration = parsed(units::timeout);
}

/// Origins of web pages, or `*`; none if the list is empty.
pub(super) fn cors_origins<'de, D: Deserializer<'de>>(from: D) -> Result<CorsPolicy, D::Error> {
    let origins = Vec::<String>::deserialize(from)?;
    match origins.as_slice() {
        [] => Ok(CorsPolicy::default()),
        origins => values::cors_origins(&origins.join(",")).map_err(D::Error::custom),
    }
}

/// The value of a key that may be absent, where "not set" differs from absent.
pub(super) fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

/// As [`auto_count`], for a key that may be absent.
pub(super) fn given_auto_count<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    auto_count(from).map(Some)
}

/// As [`optional_price`], for a key that may be absent.
pub(super) fn given_price<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<Price>>, D::Error> {
    optional_price(from).map(Some)
}
