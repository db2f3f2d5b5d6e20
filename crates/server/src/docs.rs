//! `/docs`: the OpenAPI document as a page to read. One page without outside parts and without a script: it is written here, once, from what `openapi.rs` says.
//!
//! It tells what a server can do, so it stands where metrics stand: at the administration's address, and for admin keys at the clients'.

use std::sync::OnceLock;

use axum::extract::{Request, State};
use axum::response::Response;
use bytes::Bytes;
use http::HeaderValue;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use serde_json::{Map, Value};

use crate::app::Server;
use crate::door::Caller;
use crate::{error, openapi, ui};

const STYLE: &str = "body { max-width: 60rem; margin: 2rem auto; padding: 0 1rem; font: 16px/1.5 system-ui, sans-serif; } \
    h2 { margin-top: 2.5rem; } h3 { font: 600 1rem ui-monospace, monospace; margin: 1.5rem 0 .2rem; } \
    pre { padding: .75rem; overflow-x: auto; border: 1px solid #8886; font-size: .85rem; } p { margin: .2rem 0; } small { opacity: .7; }";

/// `GET /docs` at the administration's address.
pub(crate) async fn page() -> Response {
    static PAGE: OnceLock<(Bytes, HeaderValue)> = OnceLock::new();
    let (page, policy) = PAGE.get_or_init(|| {
        let policy = format!(
            "default-src 'none'; style-src {}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            ui::digest_of(STYLE)
        );
        let policy = HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("sandbox"));
        (Bytes::from(write(&openapi::write())), policy)
    });
    let mut response = Response::new(page.clone().into());
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

/// `GET /docs` at the clients' address: for a key with `admin = true`.
pub(crate) async fn for_admins(State(server): State<Server>, request: Request) -> Response {
    let caller = request.extensions().get::<Caller>().cloned().unwrap_or_default();
    match server.0.door.check_admin(&caller) {
        Ok(()) => page().await,
        Err(error) => error::at_path("/docs", &error, None),
    }
}

/// The page of a document.
fn write(document: &Value) -> String {
    let text = |value: &Value| escape(value.as_str().unwrap_or_default());
    let info = &document["info"];
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title>\n<style>{STYLE}</style>\n<h1>{title} <small>{}</small></h1>\n<p>{}</p>\n\
         <p>The same for programs: <a href=\"/openapi.json\">/openapi.json</a></p>\n",
        text(&info["version"]),
        text(&info["description"]),
        title = text(&info["title"]),
    );
    let nothing = Map::new();
    let fields = |value: &Value| value.as_object().unwrap_or(&nothing).clone();
    let mut tag = String::new();
    for (path, methods) in fields(&document["paths"]) {
        for (method, operation) in fields(&methods) {
            let of = text(&operation["tags"][0]);
            if of != tag {
                out.push_str(&format!("<h2>{of}</h2>\n"));
                tag = of;
            }
            out.push_str(&format!("<h3>{} {}</h3>\n", method.to_ascii_uppercase(), escape(&path)));
            out.push_str(&format!("<p>{}</p>\n", text(&operation["summary"])));
            let takes = &operation["requestBody"]["content"]["application/json"]["schema"];
            shown("Takes", takes, &mut out);
            for (media, gives) in fields(&operation["responses"]["200"]["content"]) {
                shown(&format!("Gives {media}"), &gives["schema"], &mut out);
            }
        }
    }
    out.push_str("<h2>Shapes</h2>\n");
    for (name, shape) in fields(&document["components"]["schemas"]) {
        out.push_str(&format!("<h3 id=\"{name}\">{name}</h3>\n", name = escape(&name)));
        shown("", &shape, &mut out);
    }
    out.push_str("</html>\n");
    out
}

/// A schema: the name of a shape, or its JSON.
fn shown(what: &str, schema: &Value, out: &mut String) {
    let what = escape(what);
    match schema["$ref"].as_str().and_then(|path| path.rsplit('/').next()).map(escape) {
        Some(name) => out.push_str(&format!("<p>{what}: <a href=\"#{name}\">{name}</a></p>\n")),
        None if schema.is_null() => {}
        None => {
            let json = escape(&serde_json::to_string_pretty(schema).unwrap_or_default());
            if !what.is_empty() {
                out.push_str(&format!("<p>{what}:</p>\n"));
            }
            out.push_str(&format!("<pre>{json}</pre>\n"));
        }
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_every_operation_and_shape_and_no_outside_parts() {
        let document = openapi::write();
        let page = write(&document);
        let names = |value: &Value| value.as_object().map(|fields| fields.keys().cloned().collect::<Vec<_>>());
        for path in names(&document["paths"]).unwrap_or_default() {
            assert!(page.contains(&format!(" {}</h3>", escape(&path))), "{path}");
        }
        for name in names(&document["components"]["schemas"]).unwrap_or_default() {
            assert!(page.contains(&format!("id=\"{name}\"")), "{name}");
        }
        for word in ["<script", "http://", "src=", "onclick", "@import", "url("] {
            assert!(!page.contains(word), "{word}");
        }
    }

    #[test]
    fn what_a_document_says_is_text_and_no_markup() {
        let document = serde_json::json!({
            "info": {"title": "<b>", "version": "\"1\"", "description": "a & b"},
            "paths": {"/<x>": {"get": {"summary": "<script>", "responses": {"200": {"content": {"a/b": {"schema": {"const": "</pre>"}}}}}}}},
        });
        let page = write(&document);
        assert!(!page.contains("<b>") && !page.contains("<script>") && !page.contains("\"</pre>\""), "{page}");
        assert!(page.contains("a &amp; b") && page.contains("/&lt;x&gt;"));
    }
}
