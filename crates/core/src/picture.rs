//! Images: raw pixels, encoded files and file formats.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// An image's file format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JPEG, the default.
    #[default]
    Jpeg,
    /// PNG, lossless.
    Png,
    /// WebP, lossy.
    Webp,
}

impl Format {
    /// Every format, in the order in which messages list them.
    pub const ALL: [Self; 3] = [Self::Jpeg, Self::Png, Self::Webp];

    /// The format's name in the API.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }

    /// The file name extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }

    /// The media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The text is not the name of a supported format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown image format `{0}`; it must be jpeg, png or webp")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Parses `jpeg` (or `jpg`), `png` and `webp`.
    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "jpeg" | "jpg" => Ok(Self::Jpeg),
            "png" => Ok(Self::Png),
            "webp" => Ok(Self::Webp),
            _ => Err(UnknownFormat(text.to_owned())),
        }
    }
}

/// RGB pixels: 8 bits per channel, sRGB, rows from the top, without padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Pixels {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Pixels {
    /// Wraps `rgb` of shape `[height, width, 3]`. `None` if its length is not `height × width × 3`.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        let expected = width as usize * height as usize * 3;
        (rgb.len() == expected).then_some(Self { width, height, rgb })
    }

    /// Width in pixels.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The samples, shape `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pixels({}×{})", self.width, self.height)
    }
}

/// An image file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The format of `bytes`.
    pub format: Format,
    /// The file's content.
    pub bytes: Bytes,
}

/// An image as an engine returns it: a local engine returns pixels, a remote engine a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// Pixels.
    Pixels(Pixels),
    /// A file. It is stored unchanged unless the request has another format or a `compression`.
    Encoded(Encoded),
}
