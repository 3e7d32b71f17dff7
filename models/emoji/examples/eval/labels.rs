//! Whether a thing that is asked for by its name is what is drawn.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use serde::Serialize;
use tintype_core::picture::Pixels;
use webp::Encoder;

use crate::artist::Artist;
use crate::likeness::Known;
use crate::references::{Language, References};
use crate::report::{Report, percent, say};

/// The share of right pictures or subgroups that the model was made to reach in each language.
const WANTED: [(Language, f64); 2] = [(Language::English, 0.85), (Language::Chinese, 0.75)];

/// What was drawn for the labels in one language.
#[derive(Serialize)]
pub(crate) struct Drawn {
    language: &'static str,
    /// How many were nearest to the right training picture.
    right: usize,
    /// How many were nearest to one of the right subgroup.
    right_subgroup: usize,
    pictures: Vec<Judged>,
}

#[derive(Serialize)]
struct Judged {
    label: String,
    seed: u32,
    /// The English name of the training picture that it is most like.
    nearest: String,
}

/// Draws the first `count` labels, each from the seed that is its place in the list, and looks for their nearest training
/// pictures. Keeps what it drew in the folder `kept`, if there is one.
pub(crate) fn judge(
    artist: &Artist,
    count: Option<usize>,
    kept: Option<&Path>,
    report: &mut Report,
) -> Result<()> {
    let mut references = References::load()?;
    references.labels.truncate(count.unwrap_or(usize::MAX));
    let known = Known::new(&references.tiles)?;
    for (language, wanted) in WANTED {
        let drawn = Drawn::in_language(language, artist, (&references, &known), kept)?;
        let share = |of: usize| of as f64 / drawn.pictures.len().max(1) as f64;
        let (right, kin) = (share(drawn.right), share(drawn.right_subgroup));
        let of = format!("{} labels in {}", drawn.pictures.len(), drawn.language);
        report.figure(&format!("{of}: nearest to the right picture"), percent(right));
        report.target(
            &format!("{of}: or to one of its subgroup"),
            percent(kin),
            format!("≥ {}", percent(wanted)),
            Some(kin >= wanted),
        );
        report.labels.push(drawn);
    }
    Ok(())
}

impl Drawn {
    fn in_language(
        language: Language,
        artist: &Artist,
        (references, known): (&References, &Known),
        kept: Option<&Path>,
    ) -> Result<Self> {
        let code = language.code();
        let mut drawn = Self { language: code, right: 0, right_subgroup: 0, pictures: Vec::new() };
        for (seed, &label) in (0..).zip(&references.labels) {
            if seed % 50 == 0 {
                say(&format!("labels in {code}, from {seed} …"));
            }
            let thing = &references.things[label];
            let picture = artist.draw(thing.name(language), seed)?;
            if let Some(folder) = kept {
                fs::create_dir_all(folder)?;
                fs::write(folder.join(format!("{code}-{seed:03}.webp")), lossless(&picture)?)?;
            }
            let number = known.nearest(&picture)?;
            let nearest = &references.things[number];
            drawn.right += usize::from(number == label);
            drawn.right_subgroup += usize::from(nearest.subgroup == thing.subgroup);
            let label = thing.name(language).to_owned();
            drawn.pictures.push(Judged { label, seed, nearest: nearest.en.clone() });
        }
        Ok(drawn)
    }
}

fn lossless(picture: &Pixels) -> Result<Vec<u8>> {
    let encoder = Encoder::from_rgb(picture.rgb(), picture.width(), picture.height());
    let file = encoder.encode_simple(true, 50.0).map_err(|error| anyhow!("{error:?}"));
    Ok(file.context("a picture could not be written")?.to_vec())
}
