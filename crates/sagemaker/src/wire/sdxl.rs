//! Reads a request in SDXL's dialect.

use serde_json::Value;
use tintype_core::picture::Format;
use tintype_core::request::Draft;
use tintype_core::violation::{Violation, ViolationKind};

use super::fields::Fields;

/// Reads a request. A [`Draft`] has no weights: texts of positive weight are joined to the prompt, texts of
/// negative weight to the negative prompt, and texts of weight 0 are left out. A style becomes part of the
/// prompt. The seed 0 means a random seed.
pub(super) fn read_draft(fields: &Fields, format: Format) -> Result<Draft, Violation> {
    let (mut positive, negative) = weighted_texts(fields)?;
    if let Some(style) = fields.string("style_preset")?
        && !positive.is_empty()
        && !style.is_empty()
    {
        positive.push(format!("{} style", style.replace('-', " ")));
    }
    let join = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(", "));
    Ok(Draft {
        prompt: join(positive),
        negative_prompt: join(negative),
        width: fields.integer("width")?,
        height: fields.integer("height")?,
        steps: fields.integer("steps")?,
        guidance: fields.number("cfg_scale")?.map(|guidance| guidance.max(0.0)),
        seed: fields.integer("seed")?.filter(|seed| *seed != 0),
        n: fields.integer("samples")?,
        format: Some(format),
        ..Draft::default()
    })
}

/// The texts of positive weight, and those of negative weight.
fn weighted_texts(fields: &Fields) -> Result<(Vec<String>, Vec<String>), Violation> {
    const NAME: &str = "text_prompts";
    let malformed =
        || Violation::malformed(NAME, "a list of objects with a string `text` and a number `weight`");
    let Some(Value::Array(items)) = fields.get(NAME) else { return Err(malformed()) };
    let (mut positive, mut negative) = (Vec::new(), Vec::new());
    for item in items {
        let text = item.get("text").and_then(Value::as_str).ok_or_else(malformed)?;
        let weight = match item.get("weight") {
            None | Some(Value::Null) => 1.0,
            Some(weight) => weight.as_f64().ok_or_else(malformed)?,
        };
        if weight > 0.0 {
            positive.push(text.to_owned());
        } else if weight < 0.0 {
            negative.push(text.to_owned());
        }
    }
    if items.is_empty() {
        return Err(Violation::new(NAME, ViolationKind::Empty));
    }
    Ok((positive, negative))
}
