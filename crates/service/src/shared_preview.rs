//! A preview whose file all followers of a job share.

use std::sync::Arc;

use tintype_core::causes::causes;
use tintype_core::engine::Preview;
use tintype_core::picture::{Encoded, Format};
use tokio::sync::OnceCell;
use tokio::task::spawn_blocking;

/// A preview, and its file in each format that a follower has requested.
#[derive(Debug)]
pub(crate) struct SharedPreview {
    preview: Arc<Preview>,
    files: [OnceCell<Option<Encoded>>; Format::ALL.len()],
}

impl SharedPreview {
    pub(crate) fn new(preview: Preview) -> Self {
        Self { preview: Arc::new(preview), files: Default::default() }
    }

    /// The index of the image that the preview shows.
    pub(crate) fn picture(&self) -> u32 {
        self.preview.picture
    }

    /// The file in this format, encoded at the first call; `None` if it cannot be encoded.
    pub(crate) async fn file(&self, format: Format) -> Option<Encoded> {
        let index = Format::ALL.iter().position(|other| *other == format)?;
        self.files[index].get_or_init(|| encode(self.preview.clone(), format)).await.clone()
    }
}

async fn encode(preview: Arc<Preview>, format: Format) -> Option<Encoded> {
    let file = spawn_blocking(move || tintype_picture::encode_preview(&preview.pixels, format)).await.ok()?;
    file.inspect_err(|error| tracing::warn!(error = %causes(error), "failed to encode preview")).ok()
}

#[cfg(test)]
mod tests {
    use tintype_core::picture::Pixels;

    use super::*;

    #[tokio::test]
    async fn all_followers_get_the_same_file() {
        let pixels = Pixels::new(8, 8, vec![128; 8 * 8 * 3]).expect("an image");
        let preview = Arc::new(SharedPreview::new(Preview { picture: 3, pixels }));
        let followers = (0..20).map(|_| {
            let preview = preview.clone();
            tokio::spawn(async move { preview.file(Format::Jpeg).await.expect("a file") })
        });
        let mut addresses = Vec::new();
        for follower in followers {
            addresses.push(follower.await.expect("a file").bytes.as_ptr());
        }
        addresses.dedup();
        assert_eq!(addresses.len(), 1, "the preview was encoded more than once");
        assert_eq!(preview.file(Format::Png).await.expect("a file").format, Format::Png);
        assert_eq!(preview.picture(), 3);
    }
}
