//! Pictures: pixels as an engine makes them, and the formats they are sent in.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// The file formats a picture can be asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JPEG, the default.
    #[default]
    Jpeg,
    /// PNG, without loss.
    Png,
    /// WebP.
    Webp,
}

impl Format {
    /// Every format, in the order in which messages list them.
    pub const ALL: [Self; 3] = [Self::Jpeg, Self::Png, Self::Webp];

    /// The name as the API writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Webp => "webp",
        }
    }

    /// The file name's ending, without the dot.
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

/// The text names no format that we write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not one of jpeg, png, webp")]
pub struct UnknownFormat(pub String);

impl FromStr for Format {
    type Err = UnknownFormat;

    /// Reads `jpeg` (or `jpg`), `png` and `webp`.
    fn from_str(text: &str) -> Result<Self, UnknownFormat> {
        match text {
            "jpeg" | "jpg" => Ok(Self::Jpeg),
            "png" => Ok(Self::Png),
            "webp" => Ok(Self::Webp),
            _ => Err(UnknownFormat(text.to_owned())),
        }
    }
}

/// Pixels, 8 bits per channel, sRGB, rows from the top, no padding.
#[derive(Clone, PartialEq, Eq)]
pub struct Pixels {
    width: u32,
    height: u32,
    rgb: Vec<u8>,
}

impl Pixels {
    /// Takes `rgb` of shape `[height, width, 3]`. `None` if the length does not fit the size.
    pub fn new(width: u32, height: u32, rgb: Vec<u8>) -> Option<Self> {
        let expected = width as usize * height as usize * 3;
        (rgb.len() == expected).then_some(Self { width, height, rgb })
    }

    /// Pixels per row.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Rows.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// The samples, `[height, width, 3]`.
    pub fn rgb(&self) -> &[u8] {
        &self.rgb
    }
}

impl fmt::Debug for Pixels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pixels({}×{})", self.width, self.height)
    }
}

/// A picture that is already a file in some format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// The format of `bytes`.
    pub format: Format,
    /// The file.
    pub bytes: Bytes,
}

/// What an engine hands over: a local one makes pixels, a remote one sends files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Picture {
    /// Raw pixels.
    Pixels(Pixels),
    /// A finished file, kept byte for byte unless another format was asked for.
    Encoded(Encoded),
}
