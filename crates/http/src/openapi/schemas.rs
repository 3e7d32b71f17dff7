//! The schemas of responses, generated from the response types.

use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value};

use super::types;
use crate::{events, generate, health, image_resource, images, keys, openai, problem, usage};

/// The place of the schemas in the OpenAPI document.
const DEFINITIONS_PATH: &str = "/components/schemas";

/// All schemas by name.
pub(super) fn components() -> Map<String, Value> {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = DEFINITIONS_PATH.into();
    let mut generator = settings.into_generator();
    register(&mut generator);
    let mut schemas = generator.take_definitions(true);
    schemas.values_mut().for_each(remove_null);
    schemas
}

fn register(generator: &mut SchemaGenerator) {
    generator.subschema_for::<image_resource::ImageResource>();
    generator.subschema_for::<images::ImagePage>();
    generator.subschema_for::<generate::GenerateResponse>();
    generator.subschema_for::<health::Health>();
    generator.subschema_for::<health::ReadinessState>();
    generator.subschema_for::<keys::CreatedKey>();
    generator.subschema_for::<keys::KeyResource>();
    generator.subschema_for::<keys::KeyList>();
    generator.subschema_for::<usage::Usage>();
    generator.subschema_for::<events::QueuedEvent>();
    generator.subschema_for::<events::StepEvent>();
    generator.subschema_for::<problem::Document<'static>>();
    generator.subschema_for::<problem::OpenAiError>();
    generator.subschema_for::<openai::ModelList>();
    generator.subschema_for::<types::Generations>();
    generator.subschema_for::<types::Event>();
}

/// Removes `null` from the types of optional members: absent members are omitted, never `null`.
fn remove_null(schema: &mut Value) {
    let Value::Object(schema) = schema else { return };
    let required = schema.get("required").cloned().unwrap_or_default();
    let required = required.as_array().cloned().unwrap_or_default();
    if let Some(Value::Object(members)) = schema.get_mut("properties") {
        for (name, member) in members {
            if !required.contains(&Value::from(name.as_str())) {
                remove_null_of_member(member);
            }
        }
    }
    for part in ["allOf", "anyOf", "oneOf"] {
        if let Some(Value::Array(parts)) = schema.get_mut(part) {
            parts.iter_mut().for_each(remove_null);
        }
    }
}

fn remove_null_of_member(member: &mut Value) {
    let null = Value::from("null");
    let Value::Object(schema) = member else { return };
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| *kind != null);
        if let [only] = &types[..] {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&null));
        if let [only] = &choices[..] {
            let only = only.clone();
            schema.remove("anyOf");
            if let Value::Object(only) = only {
                schema.extend(only);
            }
        }
    }
}
