//! The requests of the simulation's clients, as bytes.

use serde_json::json;

use crate::http::escape;
use crate::script::Form;
use crate::truth::Sent;

const PATH: &str = "/.well-known/mercure";

/// A request to publish.
pub(crate) fn publish(
    form: Form,
    updates: &[Sent],
    token: Option<&str>,
    key: Option<&str>,
) -> Vec<u8> {
    let (kind, body) = match form {
        Form::Fields => ("application/x-www-form-urlencoded", as_form(&updates[0])),
        Form::Json => ("application/json", as_json(&updates[0])),
        Form::Lines(_) => {
            let lines: Vec<_> = updates.iter().map(as_json).collect();
            ("application/x-ndjson", lines.join("\n"))
        }
    };
    let mut head = format!("POST {PATH} HTTP/1.1\r\nHost: hub.test\r\nContent-Type: {kind}\r\n");
    if let Some(token) = token {
        head.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    if let Some(key) = key {
        head.push_str(&format!("Idempotency-Key: \"{key}\"\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len()));
    head.into_bytes()
}

fn as_form(update: &Sent) -> String {
    let mut form = String::new();
    for topic in &update.topics {
        form.push_str(&format!("topic={}&", escape(topic)));
    }
    form.push_str(&format!("data={}", escape(&update.data)));
    if update.private {
        form.push_str("&private=on");
    }
    if !update.kind.is_empty() {
        form.push_str(&format!("&type={}", update.kind));
    }
    if let Some(id) = &update.own_id {
        form.push_str(&format!("&id={}", escape(id)));
    }
    form
}

fn as_json(update: &Sent) -> String {
    let mut value = json!({ "topics": update.topics, "data": update.data });
    if update.private {
        value["private"] = true.into();
    }
    if !update.kind.is_empty() {
        value["type"] = update.kind.as_str().into();
    }
    if let Some(id) = &update.own_id {
        value["id"] = id.as_str().into();
    }
    value.to_string()
}

/// What a request for a stream has besides its selectors.
#[derive(Clone, Debug)]
pub(crate) struct StreamRequest {
    /// The parameters of the selectors.
    pub(crate) selectors: String,
    pub(crate) options: Vec<&'static str>,
    pub(crate) cursor: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) is_query_method: bool,
    pub(crate) is_old_http: bool,
}

/// A request for a stream.
pub(crate) fn subscribe(request: &StreamRequest) -> Vec<u8> {
    let mut parameters = request.selectors.clone();
    if !request.options.is_empty() {
        parameters.push_str(&format!("&tidings={}", request.options.join(",")));
    }
    let version = if request.is_old_http { "HTTP/1.0" } else { "HTTP/1.1" };
    let mut head = match request.is_query_method {
        true => format!("QUERY {PATH} {version}\r\n"),
        false => format!("GET {PATH}?{parameters} {version}\r\n"),
    };
    head.push_str("Host: hub.test\r\nAccept: text/event-stream\r\n");
    if let Some(token) = &request.token {
        head.push_str(&format!("Authorization: Bearer {token}\r\n"));
    }
    if let Some(cursor) = &request.cursor {
        head.push_str(&format!("Last-Event-ID: {cursor}\r\n"));
    }
    if request.is_query_method {
        head.push_str(&format!(
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{parameters}",
            parameters.len()
        ));
    } else {
        head.push_str("\r\n");
    }
    head.into_bytes()
}

/// A request without a body.
pub(crate) fn plain(method: &str, path: &str, token: Option<&str>) -> Vec<u8> {
    let token = token.map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
    format!("{method} {PATH}{path} HTTP/1.1\r\nHost: hub.test\r\n{token}\r\n").into_bytes()
}
