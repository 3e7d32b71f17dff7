//! Listings of multipart uploads and of their parts.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use s3s::dto::*;
use s3s::{S3Request, S3Result, s3_error};

use super::outputs::{self, set_checksums};
use super::upload_checksum::UploadChecksum;
use super::uploads::{Manifest, all, find_blocking};
use super::{Api, blocking};
use crate::embedded::bucket::DiskError;
use crate::embedded::object_file::{self, Record};

/// Maximum number of entries of a page.
const MAX_ENTRIES: i32 = 1_000;

/// The parts in an upload's folder, ordered by number.
fn parts_in(folder: &Path) -> Result<Vec<(i32, Record)>, DiskError> {
    let mut parts = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) {
            match object_file::open(&entry.path()) {
                Ok((_, record)) => parts.push((number, record)),
                Err(error) => {
                    tracing::warn!(path = %entry.path().display(), %error, "skipped damaged part of multipart upload")
                }
            }
        }
    }
    parts.sort_by_key(|(number, _)| *number);
    Ok(parts)
}

pub(super) async fn list_parts(api: &Api, request: S3Request<ListPartsInput>) -> S3Result<ListPartsOutput> {
    let input = request.input;
    let (folder, upload) = find_blocking(api, &input.upload_id, &input.bucket, &input.key).await?;
    let after = input.part_number_marker.unwrap_or(0);
    let max_parts = input.max_parts.unwrap_or(MAX_ENTRIES).clamp(0, MAX_ENTRIES);
    let mut parts = blocking(move || parts_in(&folder)).await?;
    parts.retain(|(number, _)| *number > after);
    let truncated = parts.len() > usize::try_from(max_parts).unwrap_or_default();
    parts.truncate(usize::try_from(max_parts).unwrap_or_default());
    let next = parts.last().map(|(number, _)| *number);
    let part = |(number, record): (i32, Record)| {
        let mut part = Part {
            part_number: Some(number),
            size: Some(outputs::size(record.size)),
            e_tag: Some(outputs::etag(&record.etag)),
            last_modified: Some(outputs::timestamp(record.modified)),
            ..Default::default()
        };
        set_checksums!(part, &record.checksums);
        part
    };
    Ok(ListPartsOutput {
        bucket: Some(input.bucket),
        key: Some(outputs::xml_text(&input.key)),
        upload_id: Some(input.upload_id),
        max_parts: Some(max_parts),
        part_number_marker: Some(after),
        next_part_number_marker: next.filter(|_| truncated),
        is_truncated: Some(truncated),
        parts: Some(parts.into_iter().map(part).collect()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        owner: Some(outputs::owner()),
        initiator: Some(outputs::initiator()),
        checksum_algorithm: upload.checksum.map(UploadChecksum::algorithm_name),
        checksum_type: upload.checksum.map(UploadChecksum::kind_name),
        ..Default::default()
    })
}

/// An incomplete upload in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Listed {
    key: String,
    id: String,
    /// Start of the upload, in seconds since 1970.
    started_at: i64,
    checksum: Option<UploadChecksum>,
}

/// The uploads to list.
#[derive(Clone, Copy, Debug, Default)]
struct UploadQuery<'a> {
    prefix: &'a str,
    delimiter: Option<&'a str>,
    key_marker: &'a str,
    /// With a key marker: list also uploads of this key that follow the upload with this id.
    upload_id_marker: Option<&'a str>,
    limit: usize,
}

/// One page of a listing of uploads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct UploadPage {
    uploads: Vec<Listed>,
    common_prefixes: Vec<String>,
    /// The page's last key or common prefix, and the id of its last upload, if more follow.
    next: Option<(String, Option<String>)>,
}

/// Lists one page of uploads, which are ordered by key and start.
fn page(all: Vec<Listed>, query: UploadQuery<'_>) -> UploadPage {
    let UploadQuery { prefix, delimiter, key_marker, upload_id_marker, limit } = query;
    let delimiter = delimiter.filter(|delimiter| !delimiter.is_empty());
    let mut page = UploadPage::default();
    let (mut last, mut is_after_upload) = (None, false);
    for upload in all.into_iter().filter(|upload| upload.key.starts_with(prefix)) {
        let common_prefix = delimiter.and_then(|delimiter| {
            let at = upload.key[prefix.len()..].find(delimiter)?;
            Some(upload.key[..prefix.len() + at + delimiter.len()].to_owned())
        });
        let name = common_prefix.as_ref().unwrap_or(&upload.key);
        if name.as_str() < key_marker || page.common_prefixes.last() == Some(name) {
            continue;
        }
        if name.as_str() == key_marker && !key_marker.is_empty() {
            let skipped = common_prefix.is_some() || !is_after_upload;
            is_after_upload |= upload_id_marker == Some(upload.id.as_str());
            if skipped {
                continue;
            }
        }
        if page.uploads.len() + page.common_prefixes.len() == limit {
            page.next = last;
            break;
        }
        match common_prefix {
            Some(common_prefix) => {
                last = Some((common_prefix.clone(), None));
                page.common_prefixes.push(common_prefix);
            }
            None => {
                last = Some((upload.key.clone(), Some(upload.id.clone())));
                page.uploads.push(upload);
            }
        }
    }
    page
}

pub(super) async fn list(
    api: &Api,
    request: S3Request<ListMultipartUploadsInput>,
) -> S3Result<ListMultipartUploadsOutput> {
    let input = request.input;
    api.disk.bucket(&input.bucket)?;
    let max_uploads = input.max_uploads.unwrap_or(MAX_ENTRIES).min(MAX_ENTRIES);
    let limit = usize::try_from(max_uploads)
        .map_err(|_| s3_error!(InvalidArgument, "max-uploads must be between 0 and 2,147,483,647."))?;
    let disk = Arc::clone(&api.disk);
    let found = blocking(move || all(&disk)).await?;
    let of_bucket = found.into_iter().filter(|(_, upload)| upload.bucket == input.bucket);
    let of_bucket = of_bucket
        .map(|(id, upload)| {
            let Manifest { key, started_at, checksum, .. } = upload;
            Listed { key, id, started_at, checksum }
        })
        .collect();
    let query = UploadQuery {
        prefix: input.prefix.as_deref().unwrap_or_default(),
        delimiter: input.delimiter.as_deref(),
        key_marker: input.key_marker.as_deref().unwrap_or_default(),
        upload_id_marker: input.upload_id_marker.as_deref(),
        limit,
    };
    let UploadPage { uploads, common_prefixes, next } = page(of_bucket, query);
    let texts = uploads.iter().map(|upload| &upload.key).chain(&common_prefixes);
    let encoding =
        outputs::encoding(input.encoding_type, texts.chain(&input.prefix).chain(&input.key_marker));
    let listed = |text: &String| outputs::encode_key(text, encoding.as_ref());
    let upload = |upload: &Listed| MultipartUpload {
        key: Some(listed(&upload.key)),
        upload_id: Some(upload.id.clone()),
        initiated: Some(outputs::timestamp(upload.started_at)),
        owner: Some(outputs::owner()),
        initiator: Some(outputs::initiator()),
        storage_class: Some(StorageClass::from_static(StorageClass::STANDARD)),
        checksum_algorithm: upload.checksum.map(UploadChecksum::algorithm_name),
        checksum_type: upload.checksum.map(UploadChecksum::kind_name),
    };
    let (next_key, next_id) = next.unzip();
    Ok(ListMultipartUploadsOutput {
        uploads: Some(uploads.iter().map(upload).collect()),
        common_prefixes: Some(
            common_prefixes.iter().map(|prefix| CommonPrefix { prefix: Some(listed(prefix)) }).collect(),
        ),
        is_truncated: Some(next_key.is_some()),
        next_key_marker: next_key.as_ref().map(listed),
        next_upload_id_marker: next_id.flatten(),
        bucket: Some(input.bucket),
        prefix: input.prefix.as_ref().map(listed),
        delimiter: input.delimiter.as_ref().map(listed),
        key_marker: input.key_marker.as_ref().map(listed),
        upload_id_marker: input.upload_id_marker,
        max_uploads: Some(max_uploads),
        encoding_type: encoding,
        ..Default::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uploads(names: &[&str]) -> Vec<Listed> {
        let upload = |name: &&str| {
            let (key, id) = name.split_once(' ').expect("a key and an id");
            Listed { key: key.into(), id: id.into(), started_at: 0, checksum: None }
        };
        names.iter().map(upload).collect()
    }

    /// Lists all pages.
    fn pages(all: &[Listed], query: UploadQuery<'_>) -> Vec<String> {
        let (mut names, mut next) = (Vec::new(), (String::new(), None));
        for _ in 0..100 {
            let found = page(
                all.to_vec(),
                UploadQuery { key_marker: &next.0, upload_id_marker: next.1.as_deref(), ..query },
            );
            names.extend(found.uploads.iter().map(|upload| format!("{} {}", upload.key, upload.id)));
            names.extend(found.common_prefixes);
            match found.next {
                Some(marker) => next = marker,
                None => return names,
            }
        }
        panic!("the listing does not end");
    }

    #[test]
    fn pages_have_every_upload_once() {
        let names = ["a 1", "a 2", "b/x 3", "b/y 4", "b/y 5", "c 6"];
        let all = uploads(&names);
        for limit in 1..8 {
            assert_eq!(pages(&all, UploadQuery { limit, ..UploadQuery::default() }), names);
            let by_folder = UploadQuery { limit, delimiter: Some("/"), ..UploadQuery::default() };
            let mut found = pages(&all, by_folder);
            found.sort_unstable();
            assert_eq!(found, ["a 1", "a 2", "b/", "c 6"]);
            let in_folder = UploadQuery { prefix: "b/", limit, ..by_folder };
            assert_eq!(pages(&all, in_folder), names[2..5]);
        }
        assert_eq!(
            page(all.clone(), UploadQuery { key_marker: "a", limit: 9, ..Default::default() }).uploads,
            all[2..]
        );
        assert_eq!(page(all, UploadQuery::default()), UploadPage::default());
    }
}
