//! The OpenAPI document as a page for people: plain HTML, without scripts, fonts or pictures from elsewhere.

use std::fmt::Write as _;

use serde_json::Value;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}\
    code,pre{font:13px/1.4 ui-monospace,monospace}pre{background:#8881;padding:.7rem;overflow:auto}\
    h3{margin:1.6rem 0 .2rem}summary{cursor:pointer}b.m{display:inline-block;min-width:4.5rem}\
    @media(prefers-color-scheme:dark){body{background:#111;color:#ddd}a{color:#8bf}}";

/// The page of a document.
pub(crate) fn page(document: &Value) -> String {
    let title = text(&document["info"]["title"]);
    let mut html = String::new();
    // writing to a string cannot fail
    write!(
        html,
        "<!doctype html><html lang=en><meta charset=utf-8>\
         <meta name=viewport content='width=device-width'><title>{title}: API</title>\
         <style>{STYLE}</style><h1>{title} {}</h1><p>{}</p>\
         <p>The same for programs: <a href=openapi.json>openapi.json</a></p>",
        text(&document["info"]["version"]),
        text(&document["info"]["description"]),
    )
    .ok();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in methods.as_object().into_iter().flatten() {
            endpoint(&mut html, path, method, operation);
        }
    }
    html.push_str("<h2>Types</h2>");
    let schemas = document["components"]["schemas"].as_object();
    for (name, schema) in schemas.into_iter().flatten() {
        let name = escaped(name);
        write!(html, "<h3 id='{name}'>{name}</h3>{}", code(schema)).ok();
    }
    html
}

fn endpoint(html: &mut String, path: &str, method: &str, operation: &Value) {
    write!(
        html,
        "<h3><b class=m>{}</b> <code>{}</code></h3><p>{}</p>",
        escaped(&method.to_ascii_uppercase()),
        escaped(path),
        text(&operation["summary"]),
    )
    .ok();
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        let name = text(&parameter["name"]);
        let description = text(&parameter["description"]);
        write!(html, "<div><code>{name}</code>: {description}</div>").ok();
    }
    let body = &operation["requestBody"]["content"];
    let answer = &operation["responses"]["200"]["content"];
    for (what, content) in [("takes", body), ("answers", answer)] {
        for (media_type, content) in content.as_object().into_iter().flatten() {
            let media_type = escaped(media_type);
            write!(
                html,
                "<div>{what} {media_type}: {}</div>",
                kind(&content["schema"])
            )
            .ok();
        }
    }
}

/// A link to a type, or the schema itself.
fn kind(schema: &Value) -> String {
    let name = schema["$ref"]
        .as_str()
        .and_then(|path| path.rsplit('/').next());
    match name {
        Some(name) => {
            let name = escaped(name);
            format!("<a href='#{name}'>{name}</a>")
        }
        None => code(schema),
    }
}

fn code(schema: &Value) -> String {
    let pretty = serde_json::to_string_pretty(schema).unwrap_or_default();
    format!("<pre>{}</pre>", escaped(&pretty))
}

fn text(value: &Value) -> String {
    escaped(value.as_str().unwrap_or_default())
}

fn escaped(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
        .replace('\'', "&#39;")
        .replace('"', "&quot;")
}
