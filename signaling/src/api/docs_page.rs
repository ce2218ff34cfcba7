//! The page for people under `/docs`, made from the OpenAPI document. It is all there is to load: no script, and a
//! style that the page's own policy names by its hash.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, digest};
use serde_json::Value;

use super::openapi;

const STYLE: &str = include_str!("docs.css");

/// The page and its Content-Security-Policy.
pub(super) fn render() -> (String, String) {
    let document: Value = serde_json::from_str(&openapi::json()).unwrap_or_default();
    let hash = STANDARD.encode(digest(&SHA256, STYLE.as_bytes()));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    (page(&document), policy)
}

struct Operation<'a> {
    method: &'a str,
    path: &'a str,
    spec: &'a Value,
}

impl Operation<'_> {
    fn anchor(&self) -> String {
        text(&self.spec["operationId"])
    }
}

fn page(document: &Value) -> String {
    let info = &document["info"];
    let operations = operations(document);
    let mut html = String::from("<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
    html.push_str("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
    let title = text(&info["title"]);
    let _ =
        write!(html, "<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<header>\n");
    let _ = write!(html, "<h1>{title}</h1>\n<p>{}</p>\n", prose(&info["description"]));
    let _ = write!(
        html,
        "<p class=\"quiet\">Version {} · <a href=\"/v1/openapi.json\">OpenAPI document</a></p>\n</header>\n",
        text(&info["version"])
    );
    html.push_str("<nav aria-label=\"Operations\">\n<ul>\n");
    for operation in &operations {
        let Operation { method, path, .. } = operation;
        let anchor = operation.anchor();
        let _ = writeln!(
            html,
            "<li><a href=\"#{anchor}\"><span class=\"method {method}\">{}</span> <span class=\"path\">{}</span></a></li>",
            method.to_uppercase(),
            escape(path)
        );
    }
    html.push_str("</ul>\n</nav>\n");
    for tag in document["tags"].as_array().into_iter().flatten() {
        let _ = write!(
            html,
            "<section>\n<h2>{}</h2>\n<p class=\"quiet\">{}</p>\n",
            text(&tag["name"]),
            prose(&tag["description"])
        );
        for operation in operations.iter().filter(|operation| operation.spec["tags"][0] == tag["name"]) {
            write_operation(&mut html, operation);
        }
        html.push_str("</section>\n");
    }
    html.push_str("<section>\n<h2>Types</h2>\n<p class=\"quiet\">Objects in JSON. Identifiers are lower-case hex; keys, hashes, nonces and signatures unpadded base64url.</p>\n");
    for (name, schema) in document["components"]["schemas"].as_object().into_iter().flatten() {
        write_type(&mut html, name, schema);
    }
    html.push_str("</section>\n</main>\n</body>\n</html>\n");
    html
}

fn operations(document: &Value) -> Vec<Operation<'_>> {
    let mut operations = Vec::new();
    for tag in document["tags"].as_array().into_iter().flatten() {
        for (path, methods) in document["paths"].as_object().into_iter().flatten() {
            for (method, spec) in methods.as_object().into_iter().flatten() {
                if spec["tags"][0] == tag["name"] {
                    operations.push(Operation { method, path, spec });
                }
            }
        }
    }
    operations
}

fn write_operation(html: &mut String, operation: &Operation<'_>) {
    let Operation { method, path, spec } = operation;
    let _ = write!(
        html,
        "<article id=\"{}\">\n<div class=\"head\"><span class=\"method {method}\">{}</span> <code class=\"path\">{}</code>",
        operation.anchor(),
        method.to_uppercase(),
        escape(path)
    );
    if spec["security"].is_array() {
        html.push_str(" <span class=\"lock\">needs a session</span>");
    }
    let _ = write!(html, "</div>\n<h3>{}</h3>\n", text(&spec["summary"]));
    if spec["description"].is_string() {
        let _ = writeln!(html, "<p>{}</p>", prose(&spec["description"]));
    }
    let mut rows = Vec::new();
    for parameter in spec["parameters"].as_array().into_iter().flatten() {
        rows.push([
            format!("<code>{}</code>", text(&parameter["name"])),
            "path".into(),
            prose(&parameter["description"]),
        ]);
    }
    let body = &spec["requestBody"]["content"]["application/json"]["schema"];
    if body.is_object() {
        rows.push(["body".into(), kind(body), String::new()]);
    }
    for (status, response) in spec["responses"].as_object().into_iter().flatten() {
        let schema = &response["content"];
        let schema =
            schema.as_object().and_then(|content| content.values().next()).map(|media| &media["schema"]);
        rows.push([escape(status), schema.map(kind).unwrap_or_default(), prose(&response["description"])]);
    }
    write_table(html, ["", "type", ""], &rows);
    html.push_str("</article>\n");
}

fn write_type(html: &mut String, name: &str, schema: &Value) {
    let _ = write!(html, "<article id=\"type-{0}\">\n<h3><code>{0}</code></h3>\n", escape(name));
    if schema["description"].is_string() {
        let _ = writeln!(html, "<p>{}</p>", prose(&schema["description"]));
    }
    let required: Vec<&Value> = schema["required"].as_array().into_iter().flatten().collect();
    let mut rows = Vec::new();
    for (field, value) in schema["properties"].as_object().into_iter().flatten() {
        let optional = if required.iter().any(|name| *name == field) {
            ""
        } else {
            " <span class=\"quiet\">optional</span>"
        };
        rows.push([
            format!("<code>{}</code>{optional}", escape(field)),
            kind(value),
            prose(&value["description"]),
        ]);
    }
    for option in schema["enum"].as_array().into_iter().flatten() {
        rows.push([format!("<code>{}</code>", text(option)), String::new(), String::new()]);
    }
    if !rows.is_empty() {
        write_table(html, ["field", "type", ""], &rows);
    }
    html.push_str("</article>\n");
}

fn write_table(html: &mut String, heads: [&str; 3], rows: &[[String; 3]]) {
    html.push_str("<div class=\"wide\"><table>\n");
    if !heads[0].is_empty() {
        let _ = writeln!(
            html,
            "<thead><tr><th>{}</th><th>{}</th><th>{}</th></tr></thead>",
            heads[0], heads[1], heads[2]
        );
    }
    html.push_str("<tbody>\n");
    for [first, second, third] in rows {
        let _ = writeln!(html, "<tr><td>{first}</td><td>{second}</td><td>{third}</td></tr>");
    }
    html.push_str("</tbody>\n</table></div>\n");
}

/// A schema in a few words, linked where it has a name.
fn kind(schema: &Value) -> String {
    if let Some(name) = schema["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()) {
        let name = escape(name);
        return format!("<a href=\"#type-{name}\"><code>{name}</code></a>");
    }
    match &schema["type"] {
        Value::String(name) if name == "array" => format!("list of {}", kind(&schema["items"])),
        Value::String(name) => escape(name),
        Value::Array(names) => {
            names.iter().filter(|name| *name != "null").map(text).collect::<Vec<_>>().join(" or ")
        }
        _ => String::new(),
    }
}

/// Text with `code` in it.
fn prose(value: &Value) -> String {
    let mut html = String::new();
    for (index, part) in text(value).split('`').enumerate() {
        match index % 2 {
            1 => _ = write!(html, "<code>{part}</code>"),
            _ => html.push_str(part),
        }
    }
    html
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
