//! Reads `multipart/form-data` (RFC 7578) piece by piece, so that a file of any size needs little memory.

use bytes::{Buf, Bytes, BytesMut};
use futures::{Stream, StreamExt};
use memchr::memmem;
use percent_encoding::percent_decode_str;
use s3s::{Body, S3Error, S3Result, StdError, s3_error};

use super::super::disposition;
use crate::embedded::body_error::BodyError;

/// Maximum length in bytes of everything before the file: 20 kB in S3.
const MAX_BYTES_BEFORE_FILE: usize = 20 << 10;

/// The head of a part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Part {
    /// The field's name.
    pub(super) name: String,
    pub(super) file_name: Option<String>,
}

/// A reader of a form.
pub(super) struct FormReader {
    body: Body,
    buffer: BytesMut,
    /// The line break and the boundary between two parts.
    delimiter: Vec<u8>,
    /// The length of what was read before the current part.
    read: usize,
}

/// The boundary in a form's `Content-Type`, if the media type is `multipart/form-data`.
pub(super) fn boundary(content_type: &str) -> Option<String> {
    let mut parts = disposition::split(content_type).into_iter();
    if !parts.next()?.eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameter(parts, "boundary").filter(|boundary| !boundary.is_empty() && boundary.len() <= 70)
}

fn parameter<'a>(mut parts: impl Iterator<Item = &'a str>, name: &str) -> Option<String> {
    let found = parts.find(|part| disposition::is_parameter(part, name))?;
    Some(disposition::unquote(found.split_once('=')?.1))
}

fn malformed(message: &str) -> S3Error {
    s3_error!(MalformedPOSTRequest, "The body is not valid multipart/form-data: {message}.")
}

impl FormReader {
    pub(super) fn new(body: Body, boundary: &str) -> Self {
        // The first delimiter has no line break before it.
        let buffer = BytesMut::from(&b"\r\n"[..]);
        Self { body, buffer, delimiter: format!("\r\n--{boundary}").into_bytes(), read: 0 }
    }

    /// Reads a piece of the body.
    ///
    /// # Errors
    /// `IncompleteBody` at its end.
    async fn fill(&mut self) -> S3Result<()> {
        match self.body.next().await {
            Some(Ok(chunk)) => self.buffer.extend_from_slice(&chunk),
            Some(Err(error)) => return Err(BodyError::of(error)),
            None => {
                return Err(s3_error!(IncompleteBody, "The form ends before its closing boundary."));
            }
        }
        Ok(())
    }

    /// The next piece of the current part. `None` after its end; the delimiter is then read.
    async fn chunk(&mut self) -> S3Result<Option<Bytes>> {
        loop {
            if let Some(at) = memmem::find(&self.buffer, &self.delimiter) {
                if at > 0 {
                    return Ok(Some(self.buffer.split_to(at).freeze()));
                }
                self.buffer.advance(self.delimiter.len());
                return Ok(None);
            }
            let certain = self.buffer.len().saturating_sub(self.delimiter.len() - 1);
            if certain > 0 {
                return Ok(Some(self.buffer.split_to(certain).freeze()));
            }
            self.fill().await?;
        }
    }

    fn count(&mut self, bytes: usize) -> S3Result<()> {
        self.read += bytes;
        if self.read > MAX_BYTES_BEFORE_FILE {
            return Err(s3_error!(
                MaxPostPreDataLengthExceededError,
                "The form has more than {MAX_BYTES_BEFORE_FILE} bytes before the file. The file must be the last field."
            ));
        }
        Ok(())
    }

    /// The current part as text.
    pub(super) async fn text(&mut self) -> S3Result<String> {
        let mut text = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            self.count(chunk.len())?;
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text).map_err(|_| malformed("a field is not in UTF-8"))
    }

    /// Everything before the next line break.
    async fn line(&mut self) -> S3Result<Bytes> {
        loop {
            if let Some(at) = memmem::find(&self.buffer, b"\r\n") {
                let line = self.buffer.split_to(at).freeze();
                self.buffer.advance(2);
                self.count(at + 2)?;
                return Ok(line);
            }
            if self.read + self.buffer.len() > MAX_BYTES_BEFORE_FILE {
                self.count(self.buffer.len())?;
            }
            self.fill().await?;
        }
    }

    /// Reads the text before the first part.
    pub(super) async fn skip_preamble(&mut self) -> S3Result<()> {
        self.text().await.map(drop)
    }

    /// Reads the head of the next part. `None` after the last part.
    pub(super) async fn part(&mut self) -> S3Result<Option<Part>> {
        while self.buffer.len() < 2 {
            self.fill().await?;
        }
        if self.buffer.starts_with(b"--") {
            return Ok(None);
        }
        if !self.line().await?.iter().all(u8::is_ascii_whitespace) {
            return Err(malformed("a boundary is followed by text"));
        }
        let mut part = None;
        loop {
            let line = self.line().await?;
            if line.is_empty() {
                break;
            }
            let line = String::from_utf8(line.to_vec()).map_err(|_| malformed("a header is not in UTF-8"))?;
            let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header has no colon"))?;
            if name.trim().eq_ignore_ascii_case("content-disposition") {
                part = Some(head(value));
            }
        }
        part.filter(|part| !part.name.is_empty())
            .map(Some)
            .ok_or_else(|| malformed("a part has no Content-Disposition with a name"))
    }

    /// The content of the current part. What follows it is not read.
    pub(super) fn content(self) -> impl Stream<Item = Result<Bytes, StdError>> + Send {
        futures::stream::try_unfold(self, |mut reader| async move {
            match reader.chunk().await {
                Ok(chunk) => Ok(chunk.map(|chunk| (chunk, reader))),
                Err(error) => Err(Box::new(BodyError::from(error)).into()),
            }
        })
    }
}

/// Reads the value of a part's `Content-Disposition`.
fn head(value: &str) -> Part {
    let parameter = |name| parameter(disposition::split(value).into_iter(), name);
    let extended = parameter("filename*").and_then(|value| {
        let encoded = value.get(..7).filter(|charset| charset.eq_ignore_ascii_case("utf-8''"))?;
        Some(percent_decode_str(&value[encoded.len()..]).decode_utf8_lossy().into_owned())
    });
    // Browsers encode quotation marks and line breaks in names (HTML, section 4.10.21.8).
    let decoded = |text: String| text.replace("%22", "\"").replace("%0D", "\r").replace("%0A", "\n");
    Part {
        name: parameter("name").map(decoded).unwrap_or_default(),
        file_name: extended.or_else(|| parameter("filename").map(decoded)),
    }
}

#[cfg(test)]
mod tests {
    use futures::TryStreamExt;
    use http_body_util::StreamBody;

    use super::*;

    /// A body that arrives in pieces of this length.
    fn body(text: &str, piece: usize) -> Body {
        let pieces: Vec<_> = text.as_bytes().chunks(piece).map(Bytes::copy_from_slice).collect();
        let frames = pieces.into_iter().map(|piece| Ok::<_, std::io::Error>(http_body::Frame::data(piece)));
        Body::http_body_unsync(StreamBody::new(futures::stream::iter(frames)))
    }

    /// The fields before the file, and the file.
    async fn read(text: &str, piece: usize) -> S3Result<(Vec<(String, String)>, Vec<u8>)> {
        let mut reader = FormReader::new(body(text, piece), "b");
        reader.skip_preamble().await?;
        let mut fields = Vec::new();
        while let Some(part) = reader.part().await? {
            if part.name == "file" {
                let chunks: Vec<Bytes> = reader.content().try_collect().await.map_err(BodyError::of)?;
                return Ok((fields, chunks.concat()));
            }
            fields.push((part.name, reader.text().await?));
        }
        Ok((fields, Vec::new()))
    }

    fn part(disposition: &str, content: &str) -> String {
        format!("--b\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{content}\r\n")
    }

    #[tokio::test]
    async fn forms_in_pieces() {
        let file = "line\r\n--\r\n--c\r\n-\r\r\n-";
        let text = format!(
            "preamble\r\n{}{}{}--b--\r\nepilogue",
            part("name=\"key\"", "虎/a"),
            part("name=acl; filename=\"acl\"\r\ncontent-type: text/plain", ""),
            part("name=\"file\"; filename=\"x.png\"", file)
        );
        for piece in 1..text.len() {
            let (fields, found) = read(&text, piece).await.expect("a form");
            assert_eq!(fields, [("key".into(), "虎/a".into()), ("acl".into(), String::new())], "{piece}");
            assert_eq!(found, file.as_bytes(), "{piece}");
        }
    }

    #[tokio::test]
    async fn invalid_forms() {
        let code =
            async |text: &str| read(text, 64).await.err().map(|error| error.code().as_str().to_owned());
        let file = part("name=\"file\"", "x");
        assert_eq!(code(&format!("{file}--b--")).await, None);
        assert_eq!(code(&file).await.as_deref(), Some("IncompleteBody"));
        for length in 0..file.len() {
            assert_eq!(code(&file[..length]).await.as_deref(), Some("IncompleteBody"), "{length}");
        }
        for text in ["--bx\r\n\r\n", "--b\r\nno colon\r\n\r\n", "--b\r\nX-A: 1\r\n\r\nx\r\n--b--"] {
            assert_eq!(code(text).await.as_deref(), Some("MalformedPOSTRequest"), "{text:?}");
        }
        let long = "x".repeat(MAX_BYTES_BEFORE_FILE + 100);
        for text in [part("name=\"key\"", &long), long.clone(), format!("--b\r\nX: {long}")] {
            assert_eq!(code(&text).await.as_deref(), Some("MaxPostPreDataLengthExceededError"));
        }
        // The limit does not apply to the file.
        assert_eq!(code(&format!("{}--b--", part("name=\"file\"", &long))).await, None);
    }

    #[test]
    fn boundaries() {
        for (content_type, expected) in [
            ("multipart/form-data; boundary=x", Some("x")),
            ("Multipart/Form-Data;Boundary=\"a b\"; charset=utf-8", Some("a b")),
            ("multipart/form-data", None),
            ("multipart/form-data; boundary=", None),
            ("multipart/mixed; boundary=x", None),
            ("text/plain", None),
        ] {
            assert_eq!(boundary(content_type).as_deref(), expected, "{content_type}");
        }
    }

    #[test]
    fn names() {
        for (value, name, file_name) in [
            (" form-data; name=\"a\"", "a", None),
            (" form-data; name=a; filename=\"x; y.png\"", "a", Some("x; y.png")),
            (" form-data; name=\"a\"; filename=\"say %22hi%22.png\"", "a", Some("say \"hi\".png")),
            (" form-data; name=\"a\"; filename*=UTF-8''%E8%99%8E.png; filename=\"_\"", "a", Some("虎.png")),
        ] {
            let part = head(value);
            assert_eq!((part.name.as_str(), part.file_name.as_deref()), (name, file_name), "{value}");
        }
    }
}
