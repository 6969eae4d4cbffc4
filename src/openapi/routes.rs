//! The paths and methods of a document that the gate generates.

use serde_json::{Map, Value, json};

use crate::gate::Core;
use crate::openapi::METHODS;

/// The methods under which a rule without a method is documented.
const USUAL: [&str; 5] = ["get", "put", "post", "delete", "patch"];

/// The patterns under which the routes that no rule names are documented. The first pattern that belongs to no rule is
/// taken.
const OTHERWISE: [&str; 2] = ["/{*rest}", "/{segment}/{*rest}"];

/// Returns all paths, with the operations of each.
pub(super) fn paths(core: &Core) -> Map<String, Value> {
    let mut paths = Map::new();
    for (method, pattern) in named(core) {
        add(&mut paths, method, &pattern, "");
    }
    for method in USUAL {
        let asked = method.to_ascii_uppercase();
        let is_free = |pattern: &&str| core.rules.find(&asked, &written(pattern)).0 == core.rules.otherwise();
        if let Some(pattern) = OTHERWISE.iter().find(|pattern| is_free(pattern)) {
            add(
                &mut paths,
                method,
                pattern,
                "All routes that no other operation of this document describes. ",
            );
        }
    }
    paths
}

/// Returns the routes that rules name and OpenAPI can express, and the routes that the gate answers itself.
fn named(core: &Core) -> Vec<(&'static str, String)> {
    let mounted = core.mounted.as_ref();
    let mut routes = Vec::new();
    for compiled in core.rules.named() {
        let (rule, pattern) = (&compiled.rule, compiled.rule.pattern());
        if pattern.contains("{{") || mounted.is_some_and(|own| own.takes(pattern)) {
            continue;
        }
        let named = rule
            .method()
            .and_then(|named| METHODS.into_iter().find(|method| named.as_str().eq_ignore_ascii_case(method)));
        match (rule.method(), named) {
            (None, _) => routes.extend(USUAL.map(|method| (method, pattern.to_owned()))),
            (Some(_), Some(method)) => routes.push((method, pattern.to_owned())),
            // An OpenAPI path item has no member for this method.
            (Some(_), None) => {}
        }
    }
    routes.extend(mounted.map(|own| own.routes()).unwrap_or_default());
    routes
}

fn add(paths: &mut Map<String, Value>, method: &str, pattern: &str, words: &str) {
    // OpenAPI treats paths that differ only in the names of their parameters as one path.
    let path = written(pattern);
    let path = paths.keys().find(|known| shape(known) == shape(&path)).cloned().unwrap_or(path);
    let parameters: Vec<Value> = parameters(&path).map(parameter).collect();
    let mut operation = json!({
        "parameters": parameters,
        "responses": { "default": { "description": "The response of the service." } },
    });
    if pattern.contains("{*") {
        let rest = &path[path.rfind('{').unwrap_or_default()..];
        let description = format!(
            "{words}`{rest}` matches all remaining segments of the path. The slashes in it are not encoded."
        );
        operation["description"] = description.into();
    }
    let item = paths.entry(path).or_insert_with(|| json!({}));
    if item.get(method).is_none() {
        item[method] = operation;
    }
}

/// Returns a pattern as an OpenAPI path. In OpenAPI, parameters contain no slashes, and no parameter matches the rest
/// of a path.
fn written(pattern: &str) -> String {
    pattern.replace("{*", "{")
}

/// Returns the parts of a path without the names of its parameters.
fn shape(path: &str) -> Vec<&str> {
    path.split('{').map(|piece| piece.split_once('}').map_or(piece, |(_, rest)| rest)).collect()
}

fn parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|piece| piece.split_once('}')).map(|(name, _)| name)
}

fn parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
}
