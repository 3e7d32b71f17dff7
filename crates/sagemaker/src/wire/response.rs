//! The answer as a server writes it.

use tintype_core::picture::{Picture, Pixels};

use super::invocation::{Echo, Invocation, Shape};
use super::media::Wanted;

/// A picture that was made for an invocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// As [`Invocation::wanted`] says: a file or pixels.
    pub picture: Picture,
    /// The seed it was made from.
    pub seed: u64,
}

/// Why pictures do not make an answer: a mistake of the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// The answer has files, and this is none.
    #[error("picture {0} is not a file")]
    NotAFile(usize),
    /// The answer has numbers, and this is a file.
    #[error("picture {0} is not pixels")]
    NotPixels(usize),
    /// The answer to `application/x-text` has one picture.
    #[error("one picture answers this request, not {0}")]
    NotOne(usize),
}

impl Invocation {
    /// Writes the answer, of type [`JSON`](super::JSON), from all pictures in the order of the drafts and, within one, of
    /// their seeds.
    ///
    /// # Errors
    /// [`AnswerError`] if the pictures are not as [`wanted`](Self::wanted) said.
    pub fn answer(&self, pictures: &[Made]) -> Result<Vec<u8>, AnswerError> {
        let mut body = Vec::with_capacity(self.expected(pictures));
        match &self.shape {
            Shape::Images(echo) => {
                body.extend_from_slice(b"{\"generated_images\":[");
                for (index, made) in pictures.iter().enumerate() {
                    separate(&mut body, index);
                    self.write(&mut body, index, &made.picture)?;
                }
                body.extend_from_slice(b"],\"prompt\":");
                match echo {
                    Echo::One(prompt) => quote(&mut body, prompt),
                    Echo::Many(prompts) => {
                        body.push(b'[');
                        for (index, prompt) in prompts.iter().enumerate() {
                            separate(&mut body, index);
                            quote(&mut body, prompt);
                        }
                        body.push(b']');
                    }
                }
            }
            Shape::Image(prompt) => {
                let [made] = pictures else { return Err(AnswerError::NotOne(pictures.len())) };
                body.extend_from_slice(b"{\"generated_image\":");
                self.write(&mut body, 0, &made.picture)?;
                body.extend_from_slice(b",\"prompt\":");
                quote(&mut body, prompt);
            }
            Shape::Artifacts => {
                body.extend_from_slice(b"{\"result\":\"success\",\"artifacts\":[");
                for (index, made) in pictures.iter().enumerate() {
                    separate(&mut body, index);
                    body.extend_from_slice(b"{\"base64\":");
                    self.write(&mut body, index, &made.picture)?;
                    let rest = format!(",\"finishReason\":\"SUCCESS\",\"seed\":{}}}", made.seed);
                    body.extend_from_slice(rest.as_bytes());
                }
                body.push(b']');
            }
        }
        body.push(b'}');
        Ok(body)
    }

    fn write(&self, body: &mut Vec<u8>, index: usize, picture: &Picture) -> Result<(), AnswerError> {
        match (self.wanted(), picture) {
            (Wanted::Files, Picture::Encoded(file)) => {
                body.push(b'"');
                base64_simd::STANDARD.encode_append(&file.bytes, body);
                body.push(b'"');
                Ok(())
            }
            (Wanted::Pixels, Picture::Pixels(pixels)) => {
                nest(body, pixels);
                Ok(())
            }
            (Wanted::Files, Picture::Pixels(_)) => Err(AnswerError::NotAFile(index)),
            (Wanted::Pixels, Picture::Encoded(_)) => Err(AnswerError::NotPixels(index)),
        }
    }

    /// About how long the answer will be.
    fn expected(&self, pictures: &[Made]) -> usize {
        let each = pictures.iter().map(|made| match &made.picture {
            Picture::Encoded(file) => file.bytes.len() / 3 * 4 + 80,
            Picture::Pixels(pixels) => pixels.rgb().len() * 5,
        });
        each.sum::<usize>() + 4096
    }
}

fn separate(body: &mut Vec<u8>, index: usize) {
    if index > 0 {
        body.push(b',');
    }
}

fn quote(body: &mut Vec<u8>, text: &str) {
    body.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// Writes `[height][width][3]` numbers.
fn nest(body: &mut Vec<u8>, pixels: &Pixels) {
    body.push(b'[');
    let row = pixels.width() as usize * 3;
    for (y, row) in pixels.rgb().chunks_exact(row.max(3)).enumerate() {
        separate(body, y);
        body.push(b'[');
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            separate(body, x);
            body.push(b'[');
            for (channel, sample) in pixel.iter().enumerate() {
                separate(body, channel);
                digits(body, *sample);
            }
            body.push(b']');
        }
        body.push(b']');
    }
    body.push(b']');
}

fn digits(body: &mut Vec<u8>, sample: u8) {
    if sample >= 100 {
        body.push(b'0' + sample / 100);
    }
    if sample >= 10 {
        body.push(b'0' + sample / 10 % 10);
    }
    body.push(b'0' + sample % 10);
}
