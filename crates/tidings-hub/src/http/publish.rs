//! Publishing: a form (Mercure, "publication"), a JSON object, or a line of JSON per update.

use std::fmt;
use std::time::Duration;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use tidings_core::journal::{AppendError, Appended, IdempotencyKey};
use tidings_core::model::{InvalidUpdate, Update};
use tidings_sse::{Event, EventId, EventType};

use super::body::read_body;
use super::body_format::BodyFormat;
use super::credentials::{Carrier, RequestCredentials, Requester};
use super::query::Pairs;
use super::refusal::Refusal;
use super::{admission, content};
use crate::access::Role;
use crate::budget::Standing;
use crate::clock;
use crate::hub::{Hub, PublishError};
use crate::limits::BATCH_UPDATES_MAX;
use crate::metrics::RefusalReason;

/// Characters of a wrong value that the answer repeats.
const SHOWN_CHARACTERS: usize = 100;

/// Publishes one update, or several of which all or none are published.
pub(super) async fn publish(hub: &Hub, request: Request) -> Response {
    let format = BodyFormat::of(&request);
    let trace = trace_parent(request.headers());
    let answer = match &format {
        Ok(format) => take(hub, *format, request, trace.as_deref()).await,
        Err(refusal) => Err(refusal.clone()),
    };
    let format = format.unwrap_or(BodyFormat::Form);
    match answer {
        Ok(appended) => {
            let mut answer = format.answer(&appended.ids);
            if appended.repeated {
                let name = HeaderName::from_static("idempotent-replayed");
                answer.headers_mut().insert(name, HeaderValue::from_static("true"));
            }
            answer
        }
        Err(refusal) => {
            let reason = match refusal.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RefusalReason::Forbidden,
                StatusCode::PAYLOAD_TOO_LARGE => RefusalReason::TooLarge,
                StatusCode::TOO_MANY_REQUESTS => RefusalReason::Rate,
                status if status.is_server_error() => RefusalReason::Unavailable,
                _ => RefusalReason::Invalid,
            };
            hub.metrics().publish_refused(reason);
            format.refuse(refusal.of_trace(trace))
        }
    }
}

async fn take(
    hub: &Hub,
    format: BodyFormat,
    request: Request,
    trace: Option<&str>,
) -> Result<Appended, Refusal> {
    let charset = content::check_coding_and_charset(request.headers())?;
    let (parts, body) = request.into_parts();
    let query = Pairs::read(parts.uri.query().unwrap_or_default().as_bytes());
    let credentials = RequestCredentials::new(hub, &parts, &query);
    let requester = credentials.requester(Role::Publish).await?;
    credentials.check_cookie(&requester)?;
    if requester.grants.publish.is_none() {
        return Err(if requester.carrier == Carrier::Service {
            Refusal::new(StatusCode::FORBIDDEN, "this request is not allowed to publish")
        } else if requester.grants.is_anonymous() {
            let detail = format!("publishing needs a token, but {}", credentials.no_token());
            credentials.unauthorized(None, detail)
        } else {
            credentials.forbidden("the token does not grant publishing")
        });
    }
    let key = idempotency_key(&parts.headers)?;
    // Held until the journal has answered: until then the updates are also in memory.
    let client = admission::client(hub, &parts.extensions, &parts.headers);
    let standing = match requester.grants.is_anonymous() {
        true => Standing::Anyone,
        false => Standing::Authorized,
    };
    let mut received =
        read_body(hub, client, standing, parts.version, &parts.extensions, body).await?;
    charset.check_body(&received.bytes)?;
    let updates = read_updates(format, &received.bytes)?;
    received.make_room(hub, updates.iter().map(Update::memory_bytes).sum::<u64>() as usize)?;
    let body = &received.bytes;
    check_topics_granted(&credentials, &requester, &updates, format, body)?;
    let key = key.map(|key| IdempotencyKey::new(&key, body)).transpose();
    let key = key.map_err(|error| Refusal::bad_request(error.to_string()))?;
    let begun = clock::now();
    let appended =
        hub.publish_once(updates, key).await.map_err(|error| refuse(format, body, error))?;
    hub.metrics().publish_acknowledged(clock::since(begun));
    if let Some(first) = appended.ids.first() {
        let (count, repeated) = (appended.ids.len(), appended.repeated);
        // A publisher's own id may be anything.
        let id = Some(first.as_str()).filter(|id| id.starts_with("tidings:"));
        tracing::debug!(id, count, repeated, trace, "updates accepted");
    }
    Ok(appended)
}

/// The key under which a publish is accepted once. The draft has it as a string in quotation marks;
/// most senders omit them.
fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::bad_request("the header Idempotency-Key occurs more than once"));
    }
    let text = value
        .to_str()
        .map_err(|_| Refusal::bad_request("the header Idempotency-Key must be printable ASCII"))?;
    let text = text.trim();
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    Ok(Some(bare.to_owned()))
}

/// Every topic of every update must be granted. An invalid update is reported first.
fn check_topics_granted(
    credentials: &RequestCredentials<'_>,
    requester: &Requester,
    updates: &[Update],
    format: BodyFormat,
    body: &[u8],
) -> Result<(), Refusal> {
    for (index, update) in updates.iter().enumerate() {
        if requester.grants.may_publish(update.topics()) {
            continue;
        }
        let invalid = |cause| refuse(format, body, PublishError::Invalid { index, cause });
        update.check().map_err(invalid)?;
        let what = match updates {
            [_] => "the update",
            _ => "every update; nothing was published",
        };
        return Err(match requester.carrier {
            Carrier::Service => Refusal::new(
                StatusCode::FORBIDDEN,
                format!("this request is not allowed to publish to every topic of {what}"),
            ),
            _ => credentials
                .forbidden(format!("the token does not grant publishing to every topic of {what}")),
        });
    }
    Ok(())
}

/// The updates in a body of this format.
fn read_updates(format: BodyFormat, body: &Bytes) -> Result<Vec<Update>, Refusal> {
    match format {
        BodyFormat::Form => Ok(vec![read_form(body)?]),
        BodyFormat::Json => Ok(vec![read_json(body).map_err(Refusal::bad_request)?]),
        BodyFormat::NdJson => read_ndjson(body),
    }
}

/// The trace that a publish is part of (W3C Trace Context), for the log. An invalid header is
/// ignored, as the standard demands.
fn trace_parent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = value.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let is_one = lengths == [2, 32, 16, 2] && parts.iter().all(|part| is_hex(part));
    is_one.then(|| value.to_owned())
}

fn refuse(format: BodyFormat, body: &[u8], error: PublishError) -> Refusal {
    let unavailable = |detail: String| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    };
    match error {
        PublishError::Invalid { index, cause } => {
            let line = lines(body).nth(index).filter(|_| format == BodyFormat::NdJson);
            match line {
                Some((line, _)) => bad_line(line, &cause).with_status(status_of(&cause)),
                None => Refusal::new(status_of(&cause), cause.to_string()),
            }
        }
        PublishError::Journal(AppendError::KeyReused) => {
            Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, error.to_string())
        }
        PublishError::Journal(AppendError::TooLarge { index, .. }) => {
            let line = lines(body).nth(index).filter(|_| format == BodyFormat::NdJson);
            let line = line.map(|(line, _)| format!("line {line}: ")).unwrap_or_default();
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, format!("{line}{error}"))
        }
        PublishError::TooMany { .. } => {
            Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, error.to_string())
        }
        error => unavailable(error.to_string()),
    }
}

/// 413 for a broken limit, 400 for all else (Mercure 1.0, "publication").
fn status_of(cause: &InvalidUpdate) -> StatusCode {
    match cause {
        InvalidUpdate::TooLong { .. } | InvalidUpdate::TooManyTopics { .. } => {
            StatusCode::PAYLOAD_TOO_LARGE
        }
        _ => StatusCode::BAD_REQUEST,
    }
}

/// An update as it was sent, before anything is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    #[serde(default)]
    topics: Vec<String>,
    /// The only topic. Most publishers have one, and the form has this name.
    #[serde(default)]
    topic: Option<String>,
    #[serde(default, deserialize_with = "read_data")]
    data: String,
    #[serde(default, rename = "type")]
    event_type: Option<String>,
    #[serde(default)]
    id: Option<String>,
    /// Milliseconds.
    #[serde(default, deserialize_with = "read_retry")]
    retry: Option<u64>,
    #[serde(default)]
    private: bool,
}

/// A string's text, or the text of any other value as the publisher wrote it: reading it as a
/// value would reorder its names and round its numbers.
fn read_data<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    match Option::<&RawValue>::deserialize(deserializer)?.map(RawValue::get) {
        None => Ok(String::new()),
        Some(text) if text.starts_with('"') => {
            serde_json::from_str(text).map_err(serde::de::Error::custom)
        }
        Some(text) => Ok(text.to_owned()),
    }
}

fn read_retry<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    match Option::<&RawValue>::deserialize(deserializer)?.map(RawValue::get) {
        None => Ok(None),
        Some(text) => parse_retry(text).map(Some).map_err(serde::de::Error::custom),
    }
}

/// Whole milliseconds; a number that is too large becomes the largest.
fn parse_retry(text: &str) -> Result<u64, String> {
    // The standard's field is ASCII digits; `parse` alone would take "+5" too.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        let shown: String = text.chars().take(SHOWN_CHARACTERS).collect();
        return Err(format!("retry is {shown:?}; it must be a whole number of milliseconds"));
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

impl Sent {
    fn into_update(self) -> Result<Update, String> {
        let mut event = Event::new(self.data);
        // An empty field of a form counts as missing.
        if let Some(text) = self.event_type.filter(|text| !text.is_empty()) {
            event = event.with_event_type(EventType::new(&text).map_err(|e| e.to_string())?);
        }
        if let Some(text) = self.id.filter(|text| !text.is_empty()) {
            event = event.with_event_id(EventId::new(&text).map_err(|e| e.to_string())?);
        }
        if let Some(milliseconds) = self.retry {
            event = event.with_retry(Duration::from_millis(milliseconds));
        }
        let mut topics = match (self.topic, self.topics) {
            (Some(_), several) if !several.is_empty() => {
                return Err(
                    "the update has both \"topic\" and \"topics\"; it needs one of them".to_owned()
                );
            }
            (Some(topic), _) => vec![topic],
            (None, several) => several,
        }
        .into_iter();
        let canonical = topics.next().ok_or("the update has no topic; it needs at least one")?;
        let update = Update::new(canonical, event).about_all(topics);
        Ok(if self.private { update.private() } else { update })
    }
}

fn read_form(body: &[u8]) -> Result<Update, Refusal> {
    let pairs = Pairs::of_body(body)?;
    pairs.check_text(|name| matches!(name, "topic" | "data" | "type" | "id" | "retry"))?;
    let retry = pairs.one("retry")?.filter(|text| !text.is_empty()).map(parse_retry);
    let retry = retry.transpose().map_err(Refusal::bad_request)?;
    let owned = |value: Option<&str>| value.map(str::to_owned);
    let sent = Sent {
        topics: pairs.all("topic").map(str::to_owned).collect(),
        topic: None,
        data: pairs.one("data")?.unwrap_or_default().to_owned(),
        event_type: owned(pairs.one("type")?),
        id: owned(pairs.one("id")?),
        retry,
        // Its presence counts, not its value.
        private: pairs.has("private"),
    };
    sent.into_update().map_err(Refusal::bad_request)
}

fn read_json(bytes: &[u8]) -> Result<Update, String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| "the body is not valid UTF-8, which JSON requires")?;
    // serde would also accept a list of the members' values.
    if !text.trim_start().starts_with('{') {
        return Err(
            r#"the body is not a JSON object such as {"topics":["…"],"data":"…"}"#.to_owned()
        );
    }
    let sent: Sent = serde_json::from_str(text)
        .map_err(|error| format!("the body is not an update in JSON: {error}"))?;
    if sent.topic.is_none() && sent.topics.is_empty() {
        return Err(
            "the update has no topic; set \"topic\", or \"topics\" to a list of them".to_owned()
        );
    }
    sent.into_update()
}

fn read_ndjson(body: &[u8]) -> Result<Vec<Update>, Refusal> {
    let updates = lines(body)
        .map(|(line, text)| read_json(text).map_err(|error| bad_line(line, error)))
        .take(BATCH_UPDATES_MAX + 1)
        .collect::<Result<Vec<_>, _>>()?;
    match updates.len() {
        0 => Err(Refusal::bad_request("the body is empty; each line must be an update")),
        1..=BATCH_UPDATES_MAX => Ok(updates),
        _ => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has more than {BATCH_UPDATES_MAX} updates; nothing was published"),
        )),
    }
}

/// The lines that hold updates, each with its number in the body, counted from 1. Blank lines are
/// skipped.
fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let is_blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
    (1..).zip(body.split(|byte| *byte == b'\n')).filter(move |(_, line)| !is_blank(line))
}

fn bad_line(line: usize, error: impl fmt::Display) -> Refusal {
    Refusal::bad_request(format!("line {line}: {error}; nothing was published"))
}

#[cfg(test)]
mod fuzz;
