//! SDXL's dialect of a request.

use serde_json::Value;
use tintype_core::picture::Format;
use tintype_core::request::Draft;
use tintype_core::violation::{Violation, ViolationKind};

use super::fields::Fields;

/// Reads a request. Our models know a prompt and a negative prompt, no weights: texts of positive weight are joined to
/// the one, those of negative weight to the other, and those of weight 0 are left out. A style becomes part of the
/// prompt. The seed 0 means that any will do.
pub(super) fn draft(fields: &Fields, format: Format) -> Result<Draft, Violation> {
    let (mut wanted, unwanted) = texts(fields)?;
    if let Some(style) = fields.text("style_preset")?
        && !wanted.is_empty()
        && !style.is_empty()
    {
        wanted.push(format!("{} style", style.replace('-', " ")));
    }
    let joined = |texts: Vec<String>| (!texts.is_empty()).then(|| texts.join(", "));
    Ok(Draft {
        prompt: joined(wanted),
        negative_prompt: joined(unwanted),
        width: fields.whole("width")?,
        height: fields.whole("height")?,
        steps: fields.whole("steps")?,
        guidance: fields.number("cfg_scale")?.map(|guidance| guidance.max(0.0)),
        seed: fields.whole("seed")?.filter(|seed| *seed != 0),
        n: fields.whole("samples")?,
        format: Some(format),
        ..Draft::default()
    })
}

fn texts(fields: &Fields) -> Result<(Vec<String>, Vec<String>), Violation> {
    const NAME: &str = "text_prompts";
    let wrong = || Violation::malformed(NAME, "a list of objects with a string `text` and a number `weight`");
    let Some(Value::Array(items)) = fields.get(NAME) else { return Err(wrong()) };
    let (mut wanted, mut unwanted) = (Vec::new(), Vec::new());
    for item in items {
        let text = item.get("text").and_then(Value::as_str).ok_or_else(wrong)?;
        let weight = match item.get("weight") {
            None | Some(Value::Null) => 1.0,
            Some(weight) => weight.as_f64().ok_or_else(wrong)?,
        };
        if weight > 0.0 {
            wanted.push(text.to_owned());
        } else if weight < 0.0 {
            unwanted.push(text.to_owned());
        }
    }
    if items.is_empty() {
        return Err(Violation::new(NAME, ViolationKind::Empty));
    }
    Ok((wanted, unwanted))
}
