//! Reads a response, for a client.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use tintype_core::picture::{Encoded, Picture};
use tintype_core::request::MAX_PICTURES;

use super::response_picture::ResponsePicture;
use super::sniff::sniff_format;

/// Why a response has no usable pictures.
#[derive(Debug, thiserror::Error)]
pub enum ResponseError {
    /// The response is not JSON of a known form, or a picture in it is damaged. The source says where.
    #[error("the response is not that of a text-to-image model")]
    Malformed(#[source] serde_json::Error),
    /// The response has another number of pictures than the request asked for.
    #[error("the request asked for {expected} images, and the response has {actual}")]
    Count {
        /// The number in the request.
        expected: u32,
        /// The number in the response.
        actual: usize,
    },
    /// The model withheld a picture, for example because of its content filter.
    #[error("the model withheld image {index}: {reason}")]
    Withheld {
        /// The picture's position, from 0.
        index: usize,
        /// Its `finishReason`, for example `CONTENT_FILTERED`.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    generated_images: Option<BoundedList<ResponsePicture>>,
    #[serde(default)]
    generated_image: Option<ResponsePicture>,
    #[serde(default)]
    artifacts: Option<BoundedList<Artifact>>,
}

#[derive(Deserialize)]
struct Artifact {
    base64: ResponsePicture,
    #[serde(rename = "finishReason", default)]
    finish_reason: Option<String>,
}

/// A list that stops parsing when it has more items than a request can ask for.
struct BoundedList<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for BoundedList<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(Vec<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of images")
            }

            fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Vec<T>, A::Error> {
                while let Some(item) = items.next_element()? {
                    if self.0.len() == MAX_PICTURES as usize {
                        return Err(A::Error::custom(format_args!("more than {MAX_PICTURES} images")));
                    }
                    self.0.push(item);
                }
                Ok(self.0)
            }
        }
        deserializer.deserialize_seq(ListVisitor(Vec::new())).map(Self)
    }
}

/// Reads the pictures of a response in any of the dialects: `generated_images`, `generated_image` or
/// `artifacts`, each picture a file in base64 or nested arrays of numbers. If `n` is 1, the body may also be
/// one picture file. Files are not re-encoded.
///
/// # Errors
/// [`ResponseError`] if the body has none of these forms, or another number of pictures than `n`.
pub fn read_response(body: &[u8], n: u32) -> Result<Vec<Picture>, ResponseError> {
    if let Some(format) = sniff_format(body) {
        let pictures = vec![Picture::Encoded(Encoded { format, bytes: body.to_vec().into() })];
        return check_count(pictures, n);
    }
    let response: Response = serde_json::from_slice(body).map_err(ResponseError::Malformed)?;
    let mut pictures = Vec::new();
    pictures.extend(response.generated_images.into_iter().flat_map(|list| list.0).map(|item| item.0));
    pictures.extend(response.generated_image.map(|item| item.0));
    for (index, artifact) in response.artifacts.into_iter().flat_map(|list| list.0).enumerate() {
        if let Some(reason) = artifact.finish_reason.filter(|reason| reason != "SUCCESS") {
            return Err(ResponseError::Withheld { index, reason });
        }
        pictures.push(artifact.base64.0);
    }
    check_count(pictures, n)
}

fn check_count(pictures: Vec<Picture>, expected: u32) -> Result<Vec<Picture>, ResponseError> {
    if pictures.len() == expected as usize {
        Ok(pictures)
    } else {
        Err(ResponseError::Count { expected, actual: pictures.len() })
    }
}
