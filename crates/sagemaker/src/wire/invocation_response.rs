//! Writes a response, for a server.

use tintype_core::picture::{Picture, Pixels};

use super::invocation::{EchoedPrompt, Invocation, ResponseShape};
use super::media::PictureEncoding;

/// A picture that was made for an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GeneratedPicture {
    /// A file or pixels, according to [`Invocation::picture_encoding`].
    pub picture: Picture,
    /// The seed of the picture.
    pub seed: u64,
}

/// The caller passed pictures that do not fit the invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPictures {
    /// The response has files, and the picture at this position is pixels.
    #[error("image {0} is raw pixels, not an encoded file")]
    NotAFile(usize),
    /// The response has pixels, and the picture at this position is a file.
    #[error("image {0} is an encoded file, not raw pixels")]
    NotPixels(usize),
    /// The response to `application/x-text` has one picture, and this number was passed.
    #[error("the response must contain one image, but there are {0}")]
    WrongCount(usize),
}

impl Invocation {
    /// Writes the response, of type [`JSON`](super::JSON). The pictures are in the order of the drafts and,
    /// within a draft, of their seeds.
    ///
    /// # Errors
    /// [`InvalidPictures`] if the pictures do not have the form of
    /// [`picture_encoding`](Self::picture_encoding).
    pub fn write_response(&self, pictures: &[GeneratedPicture]) -> Result<Vec<u8>, InvalidPictures> {
        let mut body = Vec::with_capacity(self.estimate_length(pictures));
        match &self.shape {
            ResponseShape::Images(echo) => {
                body.extend_from_slice(b"{\"generated_images\":[");
                for (index, generated) in pictures.iter().enumerate() {
                    write_comma(&mut body, index);
                    self.write_picture(&mut body, index, &generated.picture)?;
                }
                body.extend_from_slice(b"],\"prompt\":");
                match echo {
                    EchoedPrompt::One(prompt) => write_string(&mut body, prompt),
                    EchoedPrompt::Many(prompts) => {
                        body.push(b'[');
                        for (index, prompt) in prompts.iter().enumerate() {
                            write_comma(&mut body, index);
                            write_string(&mut body, prompt);
                        }
                        body.push(b']');
                    }
                }
            }
            ResponseShape::Image(prompt) => {
                let [generated] = pictures else { return Err(InvalidPictures::WrongCount(pictures.len())) };
                body.extend_from_slice(b"{\"generated_image\":");
                self.write_picture(&mut body, 0, &generated.picture)?;
                body.extend_from_slice(b",\"prompt\":");
                write_string(&mut body, prompt);
            }
            ResponseShape::Artifacts => {
                body.extend_from_slice(b"{\"result\":\"success\",\"artifacts\":[");
                for (index, generated) in pictures.iter().enumerate() {
                    write_comma(&mut body, index);
                    body.extend_from_slice(b"{\"base64\":");
                    self.write_picture(&mut body, index, &generated.picture)?;
                    let rest = format!(",\"finishReason\":\"SUCCESS\",\"seed\":{}}}", generated.seed);
                    body.extend_from_slice(rest.as_bytes());
                }
                body.push(b']');
            }
        }
        body.push(b'}');
        Ok(body)
    }

    fn write_picture(
        &self,
        body: &mut Vec<u8>,
        index: usize,
        picture: &Picture,
    ) -> Result<(), InvalidPictures> {
        match (self.picture_encoding(), picture) {
            (PictureEncoding::Files, Picture::Encoded(file)) => {
                body.push(b'"');
                base64_simd::STANDARD.encode_append(&file.bytes, body);
                body.push(b'"');
                Ok(())
            }
            (PictureEncoding::Pixels, Picture::Pixels(pixels)) => {
                write_pixels(body, pixels);
                Ok(())
            }
            (PictureEncoding::Files, Picture::Pixels(_)) => Err(InvalidPictures::NotAFile(index)),
            (PictureEncoding::Pixels, Picture::Encoded(_)) => Err(InvalidPictures::NotPixels(index)),
        }
    }

    /// The approximate length of the response in bytes.
    fn estimate_length(&self, pictures: &[GeneratedPicture]) -> usize {
        let each = pictures.iter().map(|generated| match &generated.picture {
            Picture::Encoded(file) => file.bytes.len() / 3 * 4 + 80,
            Picture::Pixels(pixels) => pixels.rgb().len() * 5,
        });
        each.sum::<usize>() + 4096
    }
}

/// Writes the comma before every item but the first.
fn write_comma(body: &mut Vec<u8>, index: usize) {
    if index > 0 {
        body.push(b',');
    }
}

fn write_string(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// Writes `[height][width][3]` numbers.
fn write_pixels(body: &mut Vec<u8>, pixels: &Pixels) {
    body.push(b'[');
    let row = pixels.width() as usize * 3;
    for (y, row) in pixels.rgb().chunks_exact(row.max(3)).enumerate() {
        write_comma(body, y);
        body.push(b'[');
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            write_comma(body, x);
            body.push(b'[');
            for (channel, sample) in pixel.iter().enumerate() {
                write_comma(body, channel);
                write_decimal(body, *sample);
            }
            body.push(b']');
        }
        body.push(b']');
    }
    body.push(b']');
}

fn write_decimal(body: &mut Vec<u8>, sample: u8) {
    if sample >= 100 {
        body.push(b'0' + sample / 100);
    }
    if sample >= 10 {
        body.push(b'0' + sample / 10 % 10);
    }
    body.push(b'0' + sample % 10);
}
