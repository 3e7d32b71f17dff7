//! Encodes images and writes them to the object store.

use std::sync::Arc;

use time::OffsetDateTime;
use tintype_core::engine::Generated;
use tintype_core::picture::{Encoded, Format, Picture};
use tintype_core::request::GenerateRequest;
use tintype_core::store::{Key, NewObject, ObjectStore, StoreError};
use tintype_ledger::job::{Reason, StoredImage};
use tintype_picture::{Parameters, PictureError};
use tokio::task::JoinError;
use tracing::{Instrument, trace_span};
use uuid::Uuid;

/// Images up to this number of pixels are encoded without a thread switch, which would take longer.
const MAX_INLINE_PIXELS: u32 = 64 * 64;

/// Why images were not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UploadError {
    #[error("failed to encode an image")]
    Encode(#[from] PictureError),
    #[error("failed to write an image to the object store")]
    Store(#[from] StoreError),
    #[error("the image encoder panicked")]
    Panicked(#[from] JoinError),
}

impl UploadError {
    /// The reason for which the job failed.
    pub(crate) fn reason(&self) -> Reason {
        match self {
            Self::Store(StoreError::Full(_)) => Reason::StoreFull,
            Self::Store(_) | Self::Encode(_) | Self::Panicked(_) => Reason::Store,
        }
    }
}

/// The generated images of a job.
pub(crate) struct Upload {
    /// The name of the model, for the metadata.
    pub(crate) model: String,
    /// The SHA-256 of the model's weights, for the metadata, if it is known.
    pub(crate) model_hash: Option<String>,
    /// The id of the first image, if no other writer can use it; otherwise a new id.
    pub(crate) first_id: Option<Uuid>,
    pub(crate) request: Arc<GenerateRequest>,
    pub(crate) generated: Generated,
}

/// Encodes and stores all images of a job and returns their records and files. On an error the images that
/// were already written are deleted.
pub(crate) async fn upload(
    store: Arc<dyn ObjectStore>,
    upload: Upload,
) -> Result<(Vec<StoredImage>, Vec<Encoded>), UploadError> {
    let Upload { model, model_hash, first_id, request, generated } = upload;
    let count = generated.pictures.len();
    let (mut images, mut files) = (Vec::with_capacity(count), Vec::with_capacity(count));
    for (index, picture) in (0..).zip(generated.pictures) {
        let parameters = Parameters::new(&request, index, &model).with_model_hash(model_hash.clone());
        let id = first_id.filter(|_| index == 0).unwrap_or_else(Uuid::now_v7);
        match upload_image(&*store, id, picture, request.format, parameters).await {
            Ok((image, file)) => {
                images.push(image);
                files.push(file);
            }
            Err(error) => {
                discard(&*store, &images).await;
                return Err(error);
            }
        }
    }
    Ok((images, files))
}

async fn upload_image(
    store: &dyn ObjectStore,
    id: Uuid,
    picture: Picture,
    format: Format,
    parameters: Parameters,
) -> Result<(StoredImage, Encoded), UploadError> {
    let seed = parameters.seed;
    let (width, height) = match &picture {
        Picture::Pixels(pixels) => (pixels.width(), pixels.height()),
        Picture::Encoded(_) => (parameters.width, parameters.height),
    };
    let encoding = trace_span!("encode_picture", format = format.extension());
    let encodes_inline = match &picture {
        Picture::Encoded(_) => tintype_picture::passthrough(&picture, format, &parameters).is_some(),
        Picture::Pixels(pixels) => pixels.width().saturating_mul(pixels.height()) <= MAX_INLINE_PIXELS,
    };
    let encode = move || encoding.in_scope(|| tintype_picture::encode(&picture, format, &parameters));
    let encoded = if encodes_inline { encode()? } else { tokio::task::spawn_blocking(encode).await?? };
    let key = key(id, encoded.format);
    let content_type = encoded.format.content_type().to_owned();
    let object = NewObject { bytes: encoded.bytes.clone(), content_type };
    store.put(&key, object).instrument(trace_span!("put", bytes = encoded.bytes.len() as i64)).await?;
    let image = StoredImage { key: key.as_str().to_owned(), seed, width, height, format: encoded.format };
    Ok((image, encoded))
}

/// Deletes images that no job refers to. An image that cannot be deleted is left to the store's life-cycle
/// rules.
pub(crate) async fn discard(store: &dyn ObjectStore, images: &[StoredImage]) {
    for image in images {
        let deleted = match Key::new(image.key.clone()) {
            Ok(key) => store.delete(&key).await.map_err(|error| error.to_string()),
            Err(error) => Err(error.to_string()),
        };
        if let Err(error) = deleted {
            tracing::warn!(key = image.key, error, "failed to delete unused image");
        }
    }
}

/// `images/<yyyy>/<mm>/<dd>/<id>.<ext>`, with the date in the id, so that the id determines the key.
fn key(id: Uuid, format: Format) -> Key {
    let seconds = id.get_timestamp().map_or(0, |timestamp| timestamp.to_unix().0);
    let day = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .date();
    let (year, month, day) = (day.year(), u8::from(day.month()), day.day());
    let text = format!("images/{year:04}/{month:02}/{day:02}/{id}.{}", format.extension());
    Key::new(text).expect("a date and a UUID are a valid key")
}

/// Whether this is the key of an image, as [`key`] writes it.
pub(crate) fn is_image_key(text: &str) -> bool {
    let name = text.rsplit('/').next().and_then(|name| name.split_once('.'));
    let parsed = name.and_then(|(id, extension)| Some((id.parse().ok()?, extension.parse().ok()?)));
    parsed.is_some_and(|(id, format)| key(id, format).as_str() == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_carries_the_day_of_its_id() {
        let id = Uuid::parse_str("019aaf60-ac00-7000-8000-000000000000").expect("a version 7 id");
        assert_eq!(
            key(id, Format::Jpeg).as_str(),
            "images/2025/11/23/019aaf60-ac00-7000-8000-000000000000.jpg"
        );
    }

    #[test]
    fn only_keys_of_images_are_recognized() {
        for valid in [
            "images/2025/11/23/019aaf60-ac00-7000-8000-000000000000.jpg",
            "images/2025/11/23/019aaf60-ac00-7000-8000-000000000000.webp",
        ] {
            assert!(is_image_key(valid), "{valid}");
        }
        for invalid in [
            "",
            "images/",
            "images/../secret",
            "images/2025/11/23/../../x/019aaf60-ac00-7000-8000-000000000000.jpg",
            "images//2025/11/23/019aaf60-ac00-7000-8000-000000000000.jpg",
            "images/2025/11/24/019aaf60-ac00-7000-8000-000000000000.jpg",
            "images/2025/11/23/019AAF60-ac00-7000-8000-000000000000.jpg",
            "images/2025/11/23/019aaf60-ac00-7000-8000-000000000000.jpeg",
            "images/2025/11/23/019aaf60-ac00-7000-8000-000000000000.jpg?x",
            "images/2025/11/23/019aaf60-ac00-7000-8000-000000000000",
            "async/2025/11/23/019aaf60-ac00-7000-8000-000000000000.jpg",
            "019aaf60-ac00-7000-8000-000000000000.jpg",
        ] {
            assert!(!is_image_key(invalid), "{invalid}");
        }
    }
}
