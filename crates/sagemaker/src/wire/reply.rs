//! The answer as a client reads it.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, SeqAccess, Visitor};
use tintype_core::picture::{Encoded, Picture};
use tintype_core::request::MAX_PICTURES;

use super::rows::Item;
use super::sniff::format_of;

/// Why an answer holds no pictures that we could use.
#[derive(Debug, thiserror::Error)]
pub enum ReplyError {
    /// It is not JSON of any shape that we know, or a picture in it is broken. The source says where.
    #[error("the answer is not one of a text-to-image model")]
    Malformed(#[source] serde_json::Error),
    /// Another number of pictures than was asked for.
    #[error("{asked} pictures were asked for, and the answer has {got}")]
    Count {
        /// How many there should be.
        asked: u32,
        /// How many there are.
        got: usize,
    },
    /// The model made a picture and kept it back.
    #[error("the model kept picture {index} back: {reason}")]
    Withheld {
        /// Which, from 0.
        index: usize,
        /// Its `finishReason`, for example `CONTENT_FILTERED`.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Reply {
    #[serde(default)]
    generated_images: Option<List<Item>>,
    #[serde(default)]
    generated_image: Option<Item>,
    #[serde(default)]
    artifacts: Option<List<Artifact>>,
}

#[derive(Deserialize)]
struct Artifact {
    base64: Item,
    #[serde(rename = "finishReason", default)]
    finish_reason: Option<String>,
}

/// A list that ends the reading when it has more items than any request asks for.
struct List<T>(Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for List<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(Vec<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = Vec<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of pictures")
            }

            fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Vec<T>, A::Error> {
                while let Some(item) = items.next_element()? {
                    if self.0.len() == MAX_PICTURES as usize {
                        return Err(A::Error::custom("more pictures than any request asks for"));
                    }
                    self.0.push(item);
                }
                Ok(self.0)
            }
        }
        deserializer.deserialize_seq(ListVisitor(Vec::new())).map(Self)
    }
}

/// Reads the pictures of an answer in any of the dialects: `generated_images`, `generated_image` or `artifacts`, each
/// picture a file in base64 or nested arrays of numbers; or, if `n` is 1, a file and nothing else. Files are kept
/// as they are.
///
/// # Errors
/// [`ReplyError`] if it is none of that, or holds another number of pictures than `n`.
pub fn read_reply(body: &[u8], n: u32) -> Result<Vec<Picture>, ReplyError> {
    if let Some(format) = format_of(body) {
        let pictures = vec![Picture::Encoded(Encoded { format, bytes: body.to_vec().into() })];
        return counted(pictures, n);
    }
    let reply: Reply = serde_json::from_slice(body).map_err(ReplyError::Malformed)?;
    let mut pictures = Vec::new();
    pictures.extend(reply.generated_images.into_iter().flat_map(|list| list.0).map(|item| item.0));
    pictures.extend(reply.generated_image.map(|item| item.0));
    for (index, artifact) in reply.artifacts.into_iter().flat_map(|list| list.0).enumerate() {
        if let Some(reason) = artifact.finish_reason.filter(|reason| reason != "SUCCESS") {
            return Err(ReplyError::Withheld { index, reason });
        }
        pictures.push(artifact.base64.0);
    }
    counted(pictures, n)
}

fn counted(pictures: Vec<Picture>, asked: u32) -> Result<Vec<Picture>, ReplyError> {
    if pictures.len() == asked as usize {
        Ok(pictures)
    } else {
        Err(ReplyError::Count { asked, got: pictures.len() })
    }
}
