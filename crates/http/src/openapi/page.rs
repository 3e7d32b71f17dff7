//! The OpenAPI document as an HTML page, without scripts and external resources.

use serde_json::Value;

use super::native;

const STYLE: &str = "\
:root{color-scheme:light dark}\
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
code,pre{font:.875em/1.45 ui-monospace,monospace}\
pre{overflow:auto;padding:.75rem;border-radius:.5rem;background:#8881}\
details{border:1px solid #8885;border-radius:.5rem;margin:.5rem 0;padding:.25rem .75rem}\
summary{cursor:pointer;padding:.25rem 0}summary b{display:inline-block;min-width:4.5em;text-transform:uppercase}\
table{border-collapse:collapse;width:100%}td{border-top:1px solid #8883;padding:.35rem .5rem;vertical-align:top}\
td:first-child{white-space:nowrap}small{opacity:.7}";

/// The HTML page.
pub(super) fn page(description: &Value) -> String {
    let mut page = String::with_capacity(256 << 10);
    let info = &description["info"];
    let title = format!("{} {}", text(&info["title"]), text(&info["version"]));
    page.push_str(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\">",
    );
    put(&mut page, &format!("<title>{title}</title><style>{STYLE}</style><h1>{title}</h1>"));
    put(&mut page, &format!("<p>{}</p>", prose(&info["description"])));
    page.push_str(
        "<p>The machine-readable version is <a href=\"openapi.json\">openapi.json</a>. Send an API key as \
         <code>Authorization: Bearer KEY</code> or <code>x-api-key: KEY</code>.</p>",
    );
    for tag in tags(description) {
        put(&mut page, &format!("<h2>{}</h2>", escaped(&tag)));
        for (path, method, call) in calls(description).filter(|(_, _, call)| text(&call["tags"][0]) == tag) {
            operation(&mut page, path, method, call);
        }
    }
    page.push_str("<h2>Schemas</h2>");
    for (name, schema) in description["components"]["schemas"].as_object().into_iter().flatten() {
        put(
            &mut page,
            &format!(
                "<details id=\"{0}\"><summary><code>{0}</code></summary>{1}</details>",
                escaped(name),
                json(schema)
            ),
        );
    }
    page
}

fn operation(page: &mut String, path: &str, method: &str, call: &Value) {
    let summary =
        format!("<b>{method}</b> <code>{}</code> <small>{}</small>", escaped(path), prose(&call["summary"]));
    put(page, &format!("<details><summary>{summary}</summary>"));
    put(page, &format!("<p>{}</p>", prose(&call["description"])));
    let parameters = call["parameters"].as_array().into_iter().flatten();
    let mut rows: Vec<_> = parameters
        .map(|parameter| {
            (
                text(&parameter["name"]),
                text(&parameter["in"]),
                prose(&parameter["description"]),
                &parameter["schema"],
            )
        })
        .collect();
    let body = &call["requestBody"]["content"]["application/json"];
    let members = body["schema"]["properties"].as_object().into_iter().flatten();
    rows.extend(
        members
            .map(|(name, schema)| (name.clone(), "body".to_owned(), prose(&schema["description"]), schema)),
    );
    if !rows.is_empty() {
        page.push_str("<table>");
        for (name, location, description, schema) in rows {
            let bounds = bounds(schema);
            put(
                page,
                &format!(
                    "<tr><td><code>{}</code><br><small>{location}</small><td>{description} <small>{bounds}</small>",
                    escaped(&name)
                ),
            );
        }
        page.push_str("</table>");
    }
    examples(page, "Request", &body["examples"]);
    for (status, response) in call["responses"].as_object().into_iter().flatten() {
        put(page, &format!("<p><b>{status}</b> {}</p>", prose(&response["description"])));
        for media in response["content"].as_object().into_iter().flat_map(|content| content.values()) {
            let reference = text(&media["schema"]["$ref"]);
            if let Some(name) = reference.rsplit('/').next().filter(|name| !name.is_empty()) {
                put(page, &format!("<p><a href=\"#{0}\">{0}</a></p>", escaped(name)));
            }
            examples(page, "Example", &media["examples"]);
        }
    }
    page.push_str("</details>");
}

fn examples(page: &mut String, label: &str, examples: &Value) {
    for (name, example) in examples.as_object().into_iter().flatten() {
        let shown = json(&example["value"]);
        put(
            page,
            &format!("<details><summary>{label}: <code>{}</code></summary>{shown}</details>", escaped(name)),
        );
    }
}

/// The constraints of a schema in one line.
fn bounds(schema: &Value) -> String {
    let keywords = ["type", "enum", "minimum", "maximum", "multipleOf", "maxLength", "pattern", "format"];
    let constraints = keywords.iter().filter(|name| !schema[**name].is_null());
    let constraints =
        constraints.map(|name| format!("{name} <code>{}</code>", escaped(&schema[*name].to_string())));
    constraints.collect::<Vec<_>>().join(", ")
}

fn calls(description: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = description["paths"].as_object().into_iter().flatten();
    paths.flat_map(|(path, calls)| {
        let calls = calls.as_object().into_iter().flatten();
        calls.map(move |(method, call)| (path.as_str(), method.as_str(), call))
    })
}

/// The tags in the order of the page.
fn tags(description: &Value) -> Vec<String> {
    let mut tags = vec![native::TAG.to_owned()];
    for (_, _, call) in calls(description) {
        let tag = text(&call["tags"][0]);
        if !tags.contains(&tag) {
            tags.push(tag);
        }
    }
    tags
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A description as HTML; text between backticks becomes code.
fn prose(value: &Value) -> String {
    let parts = text(value);
    let parts = parts.split('`').enumerate();
    parts
        .map(|(at, part)| if at % 2 == 1 { format!("<code>{}</code>", escaped(part)) } else { escaped(part) })
        .collect()
}

fn json(value: &Value) -> String {
    let shown = match value {
        Value::String(text) => text.clone(),
        value => serde_json::to_string_pretty(value).unwrap_or_default(),
    };
    format!("<pre>{}</pre>", escaped(&shown))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn put(page: &mut String, html: &str) {
    page.push_str(html);
}
