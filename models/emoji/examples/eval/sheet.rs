//! Contact sheets: pictures with their numbers, and one page that says what each number shows.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use tintype_core::picture::Pixels;
use webp::Encoder;

use crate::resize::resize;

/// The beginning of the page.
const TITLE: &str = "# Contact sheets of the built-in model\n\n\
    `cargo xtask model eval` draws these sheets and writes this page. \
    The number above an image is its number in the list of its sheet.\n";
const COLUMNS: usize = 8;
/// Pixels between two pictures.
const GAP: usize = 4;
/// Pixels a side of a digit's dot.
const DOT: usize = 3;
/// Pixels above each picture, for its number.
const HEAD: usize = DIGIT_ROWS * DOT + 4;
/// Of lossy WebP: a sheet is for eyes, and stays in the repository.
const QUALITY: f32 = 85.0;

/// Not white, which most pictures are.
const PAPER: [u8; 3] = [222; 3];
const INK: [u8; 3] = [60; 3];

const DIGIT_ROWS: usize = 5;
const DIGIT_COLUMNS: usize = 3;
/// The digits 0 to 9, row by row from the top, the leftmost dot in the highest of three bits.
const DIGITS: [[u8; DIGIT_ROWS]; 10] = [
    [0b111, 0b101, 0b101, 0b101, 0b111],
    [0b010, 0b110, 0b010, 0b010, 0b111],
    [0b111, 0b001, 0b111, 0b100, 0b111],
    [0b111, 0b001, 0b111, 0b001, 0b111],
    [0b101, 0b101, 0b111, 0b001, 0b001],
    [0b111, 0b100, 0b111, 0b001, 0b111],
    [0b111, 0b100, 0b111, 0b101, 0b111],
    [0b111, 0b001, 0b010, 0b010, 0b010],
    [0b111, 0b101, 0b111, 0b101, 0b111],
    [0b111, 0b101, 0b111, 0b001, 0b111],
];

/// One sheet.
pub(crate) struct Sheet {
    name: &'static str,
    title: &'static str,
    /// Pixels a side that a picture of the model's own size gets.
    side: u32,
    pictures: Vec<Pixels>,
    captions: Vec<String>,
}

impl Sheet {
    pub(crate) fn new(name: &'static str, title: &'static str, side: u32) -> Self {
        Self { name, title, side, pictures: Vec::new(), captions: Vec::new() }
    }

    /// Adds a picture; its number is its place, from 1.
    pub(crate) fn add(&mut self, picture: Pixels, caption: &str) {
        self.pictures.push(picture);
        self.captions.push(caption.to_owned());
    }

    /// The pictures in rows, all scaled alike, so that one of twice the size looks twice as large.
    fn compose(&self, own_side: u32) -> Result<Pixels> {
        let scaled = |length: u32| (length * self.side / own_side).max(1);
        let resized = |picture: &Pixels| resize(picture, scaled(picture.width()), scaled(picture.height()));
        let pictures = self.pictures.iter().map(resized).collect::<Result<Vec<_>>>()?;
        let longest = |length: fn(&Pixels) -> u32| pictures.iter().map(length).max().unwrap_or(1) as usize;
        let (width, height) = (longest(Pixels::width) + GAP, longest(Pixels::height) + GAP + HEAD);
        let mut canvas = Canvas::new(COLUMNS * width, pictures.len().div_ceil(COLUMNS) * height);
        for (place, picture) in pictures.iter().enumerate() {
            let (left, top) = (place % COLUMNS * width, place / COLUMNS * height);
            canvas.number(place + 1, left, top + GAP / 2);
            canvas.paste(picture, left, top + HEAD);
        }
        canvas.into_pixels()
    }
}

/// The sheets of one run, in one folder.
pub(crate) struct Album {
    folder: PathBuf,
    sheets: Vec<PathBuf>,
    page: String,
}

impl Album {
    pub(crate) fn create(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(Self { folder: folder.to_owned(), sheets: Vec::new(), page: TITLE.to_owned() })
    }

    /// Writes a sheet; `own_side` is the longer side of the model's own size.
    pub(crate) fn add(&mut self, sheet: Sheet, own_side: u32) -> Result<()> {
        let composed = sheet.compose(own_side)?;
        let encoder = Encoder::from_rgb(composed.rgb(), composed.width(), composed.height());
        let file = encoder.encode_simple(false, QUALITY).map_err(|error| anyhow!("{error:?}"));
        let path = self.folder.join(format!("{}.webp", sheet.name));
        fs::write(&path, &*file.with_context(|| format!("cannot encode {}", path.display()))?)?;
        write!(self.page, "\n## {0}\n\n![{0}]({1}.webp)\n\n", sheet.title, sheet.name)?;
        for (number, caption) in (1..).zip(&sheet.captions) {
            writeln!(self.page, "{number}. {caption}")?;
        }
        self.sheets.push(path);
        Ok(())
    }

    /// Writes the page that says what the numbers show.
    pub(crate) fn finish(&self) -> Result<()> {
        Ok(fs::write(self.folder.join("README.md"), &self.page)?)
    }

    /// Where the sheets are.
    pub(crate) fn sheets(&self) -> &[PathBuf] {
        &self.sheets
    }
}

/// Paper at first.
struct Canvas {
    width: usize,
    rgb: Vec<[u8; 3]>,
}

impl Canvas {
    fn new(width: usize, height: usize) -> Self {
        Self { width, rgb: vec![PAPER; width * height] }
    }

    fn paste(&mut self, picture: &Pixels, left: usize, top: usize) {
        let width = picture.width() as usize;
        let (pixels, _) = picture.rgb().as_chunks::<3>();
        for (y, row) in pixels.chunks_exact(width).enumerate() {
            self.rgb[(top + y) * self.width + left..][..width].copy_from_slice(row);
        }
    }

    fn number(&mut self, number: usize, left: usize, top: usize) {
        for (place, digit) in number.to_string().bytes().enumerate() {
            let left = left + place * (DIGIT_COLUMNS + 1) * DOT;
            for (y, row) in DIGITS[usize::from(digit - b'0')].iter().enumerate() {
                for x in (0..DIGIT_COLUMNS).filter(|x| row >> (DIGIT_COLUMNS - 1 - x) & 1 == 1) {
                    self.dot(left + x * DOT, top + y * DOT);
                }
            }
        }
    }

    fn dot(&mut self, left: usize, top: usize) {
        for y in top..top + DOT {
            self.rgb[y * self.width + left..][..DOT].fill(INK);
        }
    }

    fn into_pixels(self) -> Result<Pixels> {
        let height = self.rgb.len() / self.width.max(1);
        let rgb = self.rgb.into_flattened();
        Pixels::new(self.width as u32, height as u32, rgb).context("an empty sheet")
    }
}
