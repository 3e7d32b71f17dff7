//! Sizes, guidance and prompts that the model was not trained for: there is a picture all the same.

use anyhow::{Context, Result};
use candle_core::{DType, Device};
use serde::Serialize;
use tintype_diffusion::ModelFiles;
use tintype_diffusion::noise::Noise;
use tintype_diffusion::pipeline::Pipeline;

use crate::report::{ModelCard, Report, say};
use crate::sample::Sample;
use crate::sheet::{Album, Sheet};

const PROMPT: &str = "a tiger";
const GUIDANCE: [f64; 7] = [1.0, 2.0, 3.0, 5.0, 7.5, 10.0, 12.0];
/// Words that training has never seen: invented, in a script without a caption, none at all but punctuation.
const UNKNOWN: [&str; 3] = ["zorblax quinfel vrumpish", "тигр на луне", "…?!"];

/// The result.
#[derive(Serialize)]
pub(crate) struct Visited {
    corner: String,
    finite: bool,
}

/// Draws every corner and looks at its latents.
pub(crate) fn visit(files: &ModelFiles, report: &mut Report, album: &mut Album) -> Result<()> {
    say("sizes, guidance, unknown words …");
    let pipeline = Pipeline::load(files, &Device::Cpu, DType::F32)?;
    let mut sheet = Sheet::new("corners", "Sizes, guidance, unknown words", 128);
    for corner in corners(&report.model) {
        let Sample { prompt, negative_prompt, width, height, guidance, .. } = corner;
        let without =
            if negative_prompt.is_empty() { String::new() } else { format!(", not `{negative_prompt}`") };
        let caption = format!("`{prompt}`{without}, {width}×{height}, guidance {guidance}");
        let mut noise = Noise::new(0);
        let drawn = corner.draw(&pipeline, |shape| noise.normal(shape.clone(), &Device::Cpu));
        let (latents, picture) = drawn.with_context(|| caption.clone())?;
        let finite = latents.flatten_all()?.to_vec1::<f32>()?.into_iter().all(f32::is_finite);
        sheet.add(picture, &caption);
        report.corners.push(Visited { corner: caption, finite });
    }
    album.add(sheet, report.model.width.max(report.model.height))?;
    let (finite, all) =
        (report.corners.iter().filter(|visited| visited.finite).count(), report.corners.len());
    report.target(
        "finite latents: sizes, guidance, unknown words",
        format!("{finite} of {all}"),
        "all".to_owned(),
        Some(finite == all),
    );
    Ok(())
}

/// Every side from 3/4 to 5/4 of the model's own that may be asked for, as a square; the extremes also across; then
/// guidance and prompts at its own size.
fn corners(model: &ModelCard) -> Vec<Sample<'static>> {
    let (own_width, own_height) = (model.width as usize, model.height as usize);
    let own = Sample {
        prompt: PROMPT,
        negative_prompt: "",
        width: own_width,
        height: own_height,
        steps: model.steps as usize,
        guidance: model.guidance,
    };
    let unit = tintype_core::model::ModelCard::default().size_multiple as usize;
    let least = |own: usize| (own * 3 / 4).next_multiple_of(unit);
    let most = |own: usize| own * 5 / 4 / unit * unit;
    let sides = |own: usize| (least(own)..=most(own)).step_by(unit);
    let across = [
        (least(own_width), most(own_height)),
        (most(own_width), least(own_height)),
        (least(own_width), own_height),
        (own_width, most(own_height)),
    ];
    let sizes = sides(own_width).zip(sides(own_height)).chain(across);
    let mut corners: Vec<Sample> = sizes.map(|(width, height)| Sample { width, height, ..own }).collect();
    corners.extend(GUIDANCE.map(|guidance| Sample { guidance, ..own }));
    corners.extend(UNKNOWN.map(|prompt| Sample { prompt, ..own }));
    corners.push(Sample { negative_prompt: "blurry", ..own });
    corners
}
