//! Pictures into files, files into the store.

use std::sync::Arc;

use time::OffsetDateTime;
use tintype_core::engine::Generated;
use tintype_core::picture::{Format, Picture};
use tintype_core::store::{Key, NewObject, ObjectStore};
use tintype_picture::Parameters;
use uuid::Uuid;

use crate::error::ServiceError;
use crate::job::{Job, Made, StoredImage};

/// Encodes and stores every picture of a job. Either all of them are in the store afterwards, or the error says why not
/// and those already written are deleted again.
pub(crate) async fn keep(
    store: Arc<dyn ObjectStore>,
    model: String,
    job: Arc<Job>,
    generated: Generated,
) -> Result<Made, ServiceError> {
    let mut images = Vec::with_capacity(generated.pictures.len());
    for (index, picture) in (0..).zip(generated.pictures) {
        let parameters = Parameters::new(&job.request, index, &model);
        // The first picture is named like its job.
        let id = if index == 0 { job.id } else { Uuid::now_v7() };
        match keep_one(&*store, id, picture, (job.request.format, parameters)).await {
            Ok(image) => images.push(image),
            Err(error) => {
                discard(&*store, &images).await;
                return Err(error);
            }
        }
    }
    Ok(Made { images, engine_seconds: generated.engine_seconds, warnings: generated.warnings })
}

async fn keep_one(
    store: &dyn ObjectStore,
    id: Uuid,
    picture: Picture,
    (format, parameters): (Format, Parameters),
) -> Result<StoredImage, ServiceError> {
    let seed = parameters.seed;
    let (width, height) = match &picture {
        Picture::Pixels(pixels) => (pixels.width(), pixels.height()),
        Picture::Encoded(_) => (parameters.width, parameters.height),
    };
    let encoded =
        tokio::task::spawn_blocking(move || tintype_picture::encode(&picture, format, &parameters)).await??;
    let key = key(id, encoded.format);
    let content_type = encoded.format.content_type().to_owned();
    store.put(&key, NewObject { bytes: encoded.bytes, content_type }).await?;
    Ok(StoredImage { key, seed, width, height, format: encoded.format })
}

async fn discard(store: &dyn ObjectStore, images: &[StoredImage]) {
    for image in images {
        if let Err(error) = store.delete(&image.key).await {
            tracing::warn!(key = %image.key, %error, "a picture of a failed job stays in the store");
        }
    }
}

/// `images/<yyyy>/<mm>/<dd>/<id>.<ext>`, with the day that the id itself carries: so an id leads to its key.
fn key(id: Uuid, format: Format) -> Key {
    let seconds = id.get_timestamp().map_or(0, |timestamp| timestamp.to_unix().0);
    let day = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok())
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .date();
    let (year, month, day) = (day.year(), u8::from(day.month()), day.day());
    let text = format!("images/{year:04}/{month:02}/{day:02}/{id}.{}", format.extension());
    Key::new(text).expect("about 60 bytes")
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
}
