//! `etc/openapi.json`: the OpenAPI document of the socket, made from the types of its bodies and from the table that
//! requests are read by, so that it says what is so. Only for the test that compares it.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use nix::sys::signal::Signal;
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::api;
use super::route::{ALWAYS, Content, Parameter, RESOURCES, Resource, Values};
use crate::config::spec::WatchName;
use crate::record::events;

const ABOUT: &str = "Over the socket `control.sock` in the daemon's run folder, as with `curl --unix-socket`. Times \
                     are RFC 3339, and what is not known is null. Fields and kinds of events may be added; none \
                     changes its meaning.";

/// The document, as the text of `etc/openapi.json`.
fn text() -> String {
    format!("{:#}\n", document())
}

fn document() -> Value {
    let mut generator = generator();
    let mut paths: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for resource in RESOURCES {
        let at_path = paths.entry(resource.path).or_default();
        at_path.insert(resource.method.to_lowercase(), operation(resource, &mut generator));
    }
    generator.subschema_for::<api::Problem>();
    let always: BTreeMap<String, Value> = problems_always()
        .into_iter()
        .map(|(status, titles)| (status.to_string(), problem_answer(status, &titles)))
        .collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "The control socket of twitcher",
            "description": ABOUT,
            "version": "1",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "http://localhost", "description": "Any host will do: the socket is the daemon" }],
        "paths": paths,
        "components": { "schemas": generator.take_definitions(true), "responses": always },
    })
}

fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    settings.into_generator()
}

fn operation(resource: &Resource, generator: &mut SchemaGenerator) -> Value {
    let of_path = resource.path.split(['{', '}']).nth(1).map(|name| path_parameter(name, generator));
    let of_query: Vec<Value> =
        resource.parameters.iter().map(|parameter| query_parameter(parameter, generator)).collect();
    let mut problems = problems_always();
    for (status, title) in resource.problems {
        problems.entry(*status).or_default().insert(*title);
    }
    let mut answers = Map::new();
    answers.insert(
        "200".into(),
        json!({ "description": "It is so, or it is done", "content": content(resource.content, generator) }),
    );
    let always = problems_always();
    for (status, titles) in problems {
        let answer = match always.get(&status) {
            Some(known) if *known == titles => json!({ "$ref": format!("#/components/responses/{status}") }),
            Some(_) | None => problem_answer(status, &titles),
        };
        answers.insert(status.to_string(), answer);
    }
    let parameters: Vec<Value> = of_path.into_iter().chain(of_query).collect();
    json!({
        "operationId": resource.id,
        "summary": resource.summary,
        "parameters": parameters,
        "responses": answers,
    })
}

/// The problems that any request may be answered with, by status.
fn problems_always() -> BTreeMap<u16, BTreeSet<&'static str>> {
    let mut problems: BTreeMap<u16, BTreeSet<&str>> = BTreeMap::new();
    for (status, title) in ALWAYS {
        problems.entry(*status).or_default().insert(title);
    }
    problems
}

fn problem_answer(status: u16, titles: &BTreeSet<&str>) -> Value {
    let problem = json!({
        "allOf": [{ "$ref": "#/components/schemas/Problem" }],
        "properties": { "status": { "const": status }, "title": { "enum": titles } },
    });
    let description = titles.iter().copied().collect::<Vec<_>>().join(", or ");
    json!({ "description": description, "content": { "application/problem+json": { "schema": problem } } })
}

fn path_parameter(name: &str, generator: &mut SchemaGenerator) -> Value {
    let (description, schema) = match name {
        "name" => ("The name of a watch", generator.subschema_for::<WatchName>().to_value()),
        "run" => ("The id of a run", json!({ "type": "string", "pattern": "^[0-9a-f]{1,16}$" })),
        other => panic!("{other}"),
    };
    json!({ "name": name, "in": "path", "required": true, "description": description, "schema": schema })
}

fn query_parameter(
    Parameter { name, summary, values }: &Parameter,
    generator: &mut SchemaGenerator,
) -> Value {
    let schema = match values {
        Values::Flag => json!({ "type": "string", "enum": ["", "true", "1", "false", "0"] }),
        Values::Words(words) => json!({ "type": "string", "enum": words }),
        Values::Number => json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX }),
        Values::Signal => signal(),
        Values::Watches => {
            json!({ "type": "array", "items": generator.subschema_for::<WatchName>().to_value() })
        }
    };
    let may_be_bare =
        matches!(values, Values::Flag) || matches!(values, Values::Words(words) if words.contains(&""));
    let mut parameter = json!({ "name": name, "in": "query", "description": summary, "schema": schema });
    if may_be_bare {
        parameter["allowEmptyValue"] = true.into();
    }
    parameter
}

/// A signal as most write it. It is taken in small letters as well.
fn signal() -> Value {
    let names: Vec<&str> = Signal::iterator().map(Signal::as_str).collect();
    let short: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix("SIG")).collect();
    let numbers: Vec<String> = Signal::iterator().map(|signal| (signal as i32).to_string()).collect();
    json!({ "type": "string", "anyOf": [{ "enum": short }, { "enum": names }, { "enum": numbers }] })
}

fn content(content: Content, generator: &mut SchemaGenerator) -> Value {
    match content {
        Content::Text => json!({ "text/plain": { "schema": { "type": "string" } } }),
        Content::Events => {
            // What is in the data of each; the stream as a whole is text.
            generator.subschema_for::<events::Event>();
            let schema = json!({ "type": "string", "contentMediaType": "text/event-stream" });
            json!({ "text/event-stream": { "schema": schema } })
        }
        Content::Json(name) => json!({ "application/json": { "schema": schema(name, generator) } }),
        Content::JsonList(name) => {
            let schema = json!({ "type": "array", "items": schema(name, generator) });
            json!({ "application/json": { "schema": schema } })
        }
    }
}

fn schema(name: &str, generator: &mut SchemaGenerator) -> Value {
    let schema = match name {
        "Status" => generator.subschema_for::<api::Status>(),
        "Watch" => generator.subschema_for::<api::Watch>(),
        "Runs" => generator.subschema_for::<api::Runs>(),
        "Fired" => generator.subschema_for::<api::Fired>(),
        "Steered" => generator.subschema_for::<api::Steered>(),
        "Killed" => generator.subschema_for::<api::Killed>(),
        "Reloaded" => generator.subschema_for::<api::Reloaded>(),
        other => panic!("{other}"),
    };
    let schema = schema.to_value();
    assert_eq!(schema["$ref"], format!("#/components/schemas/{name}"));
    schema
}

#[test]
fn the_document_under_etc_is_the_one_that_is_made() {
    // SNAPSHOTS=overwrite writes it.
    snapbox::assert_data_eq!(text(), snapbox::file!["../../etc/openapi.json"].raw());
}

#[test]
fn every_reference_in_the_document_leads_somewhere() {
    let document = document();
    let text = document.to_string();
    let references: BTreeSet<&str> =
        text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    assert!(references.len() > 10, "{references:?}");
    for reference in references {
        assert!(document.pointer(reference).is_some(), "{reference}");
    }
    // A body whose type changes is told by its schema, not by a line here.
    for schema in document["components"]["schemas"].as_object().unwrap().values() {
        assert!(schema["description"].is_string(), "{schema}");
    }
}
