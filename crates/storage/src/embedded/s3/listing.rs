//! Listings of objects, in both versions of S3's API.

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::versions::ONLY_VERSION;
use super::{Api, outputs};
use crate::embedded::index::{Entry, ListQuery, Page};

/// Maximum number of entries of a page.
const MAX_KEYS: i32 = 1_000;

fn limit(max_keys: Option<i32>) -> S3Result<usize> {
    let limit = max_keys.unwrap_or(MAX_KEYS).min(MAX_KEYS);
    usize::try_from(limit)
        .map_err(|_| s3_error!(InvalidArgument, "max-keys must be between 0 and 2,147,483,647."))
}

/// The encoding of a page.
fn encoding_of(
    page: &Page,
    requested: Option<EncodingType>,
    echoed: [Option<&String>; 2],
) -> Option<EncodingType> {
    let keys = page.objects.iter().map(|(key, _)| key);
    outputs::encoding(requested, keys.chain(&page.common_prefixes).chain(echoed.into_iter().flatten()))
}

fn contents(
    objects: Vec<(String, Entry)>,
    owner: Option<&Owner>,
    encoding: Option<&EncodingType>,
) -> Vec<Object> {
    let object = |(key, entry): (String, Entry)| Object {
        key: Some(outputs::encode_key(&key, encoding)),
        owner: owner.cloned(),
        size: Some(outputs::size(entry.size)),
        e_tag: Some(outputs::etag(&entry.etag)),
        last_modified: Some(outputs::timestamp(entry.modified)),
        storage_class: Some(ObjectStorageClass::from_static(ObjectStorageClass::STANDARD)),
        ..Default::default()
    };
    objects.into_iter().map(object).collect()
}

fn common_prefixes(common_prefixes: Vec<String>, encoding: Option<&EncodingType>) -> Vec<CommonPrefix> {
    common_prefixes
        .iter()
        .map(|group| CommonPrefix { prefix: Some(outputs::encode_key(group, encoding)) })
        .collect()
}

pub(super) async fn version_1(
    api: &Api,
    request: S3Request<ListObjectsInput>,
) -> S3Result<ListObjectsOutput> {
    let mut input = request.input;
    // As in S3, an empty delimiter is none.
    input.delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let limit = limit(input.max_keys)?;
    let prefix = input.prefix.unwrap_or_default();
    let query = ListQuery {
        prefix: &prefix,
        delimiter: input.delimiter.as_deref(),
        after: input.marker.as_deref(),
        limit,
    };
    let page = api.disk.bucket(&input.bucket)?.list(query);
    let encoding = encoding_of(&page, input.encoding_type, [Some(&prefix), input.marker.as_ref()]);
    let Page { objects, common_prefixes: found, next } = page;
    let listed = |text: &String| outputs::encode_key(text, encoding.as_ref());
    Ok(ListObjectsOutput {
        is_truncated: Some(next.is_some()),
        // Without a delimiter, clients continue from the last key, and S3 sends no marker.
        next_marker: next.filter(|_| input.delimiter.is_some()).as_ref().map(listed),
        prefix: Some(listed(&prefix)),
        marker: Some(input.marker.as_ref().map(listed).unwrap_or_default()),
        delimiter: input.delimiter.as_ref().map(listed),
        contents: Some(contents(objects, Some(&outputs::owner()), encoding.as_ref())),
        common_prefixes: Some(common_prefixes(found, encoding.as_ref())),
        max_keys: Some(input.max_keys.unwrap_or(MAX_KEYS)),
        name: Some(input.bucket),
        encoding_type: encoding,
        ..Default::default()
    })
}

pub(super) async fn version_2(
    api: &Api,
    request: S3Request<ListObjectsV2Input>,
) -> S3Result<ListObjectsV2Output> {
    let mut input = request.input;
    // As in S3, an empty delimiter is none.
    input.delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let limit = limit(input.max_keys)?;
    let prefix = input.prefix.unwrap_or_default();
    let continued = input.continuation_token.as_deref().map(outputs::read_token).transpose()?;
    let after = continued.as_deref().or(input.start_after.as_deref());
    let query = ListQuery { prefix: &prefix, delimiter: input.delimiter.as_deref(), after, limit };
    let page = api.disk.bucket(&input.bucket)?.list(query);
    let encoding = encoding_of(&page, input.encoding_type, [Some(&prefix), input.start_after.as_ref()]);
    let Page { objects, common_prefixes: found, next } = page;
    let listed = |text: &String| outputs::encode_key(text, encoding.as_ref());
    let owner = (input.fetch_owner == Some(true)).then(outputs::owner);
    Ok(ListObjectsV2Output {
        is_truncated: Some(next.is_some()),
        next_continuation_token: next.map(hex::encode),
        continuation_token: input.continuation_token,
        key_count: Some(i32::try_from(objects.len() + found.len()).unwrap_or(MAX_KEYS)),
        prefix: Some(listed(&prefix)),
        start_after: input.start_after.as_ref().map(listed),
        delimiter: input.delimiter.as_ref().map(listed),
        contents: Some(contents(objects, owner.as_ref(), encoding.as_ref())),
        common_prefixes: Some(common_prefixes(found, encoding.as_ref())),
        max_keys: Some(input.max_keys.unwrap_or(MAX_KEYS)),
        name: Some(input.bucket),
        encoding_type: encoding,
        ..Default::default()
    })
}

/// Lists every object as its only version.
pub(super) async fn versions(
    api: &Api,
    request: S3Request<ListObjectVersionsInput>,
) -> S3Result<ListObjectVersionsOutput> {
    let mut input = request.input;
    // As in S3, an empty delimiter is none.
    input.delimiter = input.delimiter.filter(|delimiter| !delimiter.is_empty());
    let limit = limit(input.max_keys)?;
    let prefix = input.prefix.unwrap_or_default();
    let query = ListQuery {
        prefix: &prefix,
        delimiter: input.delimiter.as_deref(),
        after: input.key_marker.as_deref().filter(|marker| !marker.is_empty()),
        limit,
    };
    let page = api.disk.bucket(&input.bucket)?.list(query);
    let encoding = encoding_of(&page, input.encoding_type, [Some(&prefix), input.key_marker.as_ref()]);
    let Page { objects, common_prefixes: found, next } = page;
    let listed = |text: &String| outputs::encode_key(text, encoding.as_ref());
    let version = |(key, entry): (String, Entry)| ObjectVersion {
        key: Some(listed(&key)),
        version_id: Some(ONLY_VERSION.to_owned()),
        is_latest: Some(true),
        size: Some(outputs::size(entry.size)),
        e_tag: Some(outputs::etag(&entry.etag)),
        last_modified: Some(outputs::timestamp(entry.modified)),
        owner: Some(outputs::owner()),
        storage_class: Some(ObjectVersionStorageClass::from_static(ObjectVersionStorageClass::STANDARD)),
        ..Default::default()
    };
    // A common prefix has no version.
    let next_version = next.as_ref().filter(|next| objects.last().is_some_and(|(key, _)| key == *next));
    Ok(ListObjectVersionsOutput {
        is_truncated: Some(next.is_some()),
        next_version_id_marker: next_version.map(|_| ONLY_VERSION.to_owned()),
        next_key_marker: next.as_ref().map(listed),
        versions: Some(objects.into_iter().map(version).collect()),
        common_prefixes: Some(common_prefixes(found, encoding.as_ref())),
        prefix: Some(listed(&prefix)),
        key_marker: Some(input.key_marker.as_ref().map(listed).unwrap_or_default()),
        version_id_marker: input.version_id_marker,
        delimiter: input.delimiter.as_ref().map(listed),
        max_keys: Some(input.max_keys.unwrap_or(MAX_KEYS)),
        name: Some(input.bucket),
        encoding_type: encoding,
        ..Default::default()
    })
}
