//! The training pictures with their names, as `models/emoji/run references` wrote them.

use std::fs;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tintype_core::picture::{Encoded, Format, Pixels};

use crate::committed;

/// Pixels a side of a tile.
pub(crate) const SIDE: u32 = 32;

/// A language that things are named in.
#[derive(Clone, Copy)]
pub(crate) enum Language {
    English,
    Chinese,
}

impl Language {
    /// As ISO 639 writes it.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh",
        }
    }
}

/// What one training picture shows.
#[derive(Deserialize)]
pub(crate) struct Thing {
    /// Its English name.
    pub(crate) en: String,
    zh: String,
    /// Its subgroup in Unicode CLDR, for example `animal-mammal`.
    pub(crate) subgroup: String,
}

impl Thing {
    pub(crate) fn name(&self, language: Language) -> &str {
        match language {
            Language::English => &self.en,
            Language::Chinese => &self.zh,
        }
    }
}

/// Every training picture, and which of them are asked for.
#[derive(Deserialize)]
pub(crate) struct References {
    /// In the order of their tiles.
    pub(crate) things: Vec<Thing>,
    /// Numbers of those that the evaluation asks for by name, in its order.
    pub(crate) labels: Vec<usize>,
    /// The pictures on white, [`SIDE`] pixels a side.
    #[serde(skip)]
    pub(crate) tiles: Vec<Pixels>,
}

impl References {
    pub(crate) fn load() -> Result<Self> {
        let mut references: Self = json("things.json")?;
        let count = references.things.len();
        ensure!(references.labels.iter().all(|&label| label < count), "a label without a thing");
        let bytes = read("tiles.webp")?.into();
        references.tiles = tiles(&tintype_picture::decode(&Encoded { format: Format::Webp, bytes })?);
        ensure!(references.tiles.len() >= count, "fewer tiles than things");
        references.tiles.truncate(count);
        Ok(references)
    }
}

/// One of the files, parsed.
pub(crate) fn json<T: DeserializeOwned>(name: &str) -> Result<T> {
    serde_json::from_slice(&read(name)?).with_context(|| format!("references/{name} is malformed"))
}

fn read(name: &str) -> Result<Vec<u8>> {
    let path = committed("references").join(name);
    fs::read(&path).with_context(|| format!("cannot read {}: `models/emoji/run references`", path.display()))
}

/// Cuts the atlas, row by row.
fn tiles(atlas: &Pixels) -> Vec<Pixels> {
    let (side, columns, rows) = (SIDE as usize, atlas.width() / SIDE, atlas.height() / SIDE);
    let line = atlas.width() as usize * 3;
    let tile = |number: u32| {
        let (top, left) = ((number / columns) as usize * side, (number % columns) as usize * side * 3);
        let rgb = (top..top + side).flat_map(|y| &atlas.rgb()[y * line + left..][..side * 3]).copied();
        Pixels::new(SIDE, SIDE, rgb.collect())
    };
    (0..columns * rows).filter_map(tile).collect()
}
