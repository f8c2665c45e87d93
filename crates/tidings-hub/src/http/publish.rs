//! Publishing: a form (Mercure, "publication"), a JSON object, or a line of JSON per update.

use std::fmt;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::RawValue;
use tidings_sse::{Event, EventId, EventType};

use super::query::Pairs;
use super::refusal::Refusal;
use crate::hub::{Hub, PublishError};
use crate::limits::{BATCH_UPDATES_MAX, BODY_TIME};
use crate::metrics::Refusal as Reason;
use crate::update::Update;

/// How a publisher speaks, and so how it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Form,
    Json,
    NdJson,
}

impl Format {
    const NAMES: &str = "application/x-www-form-urlencoded, application/json, application/x-ndjson";

    /// Parameters of the content type are ignored; the charset of all three is UTF-8.
    pub(super) fn of(request: &Request) -> Result<Self, Refusal> {
        let given = request.headers().get(header::CONTENT_TYPE);
        let given = given.map_or("none", |value| value.to_str().unwrap_or("one that is no text"));
        let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        match essence.as_str() {
            "application/x-www-form-urlencoded" => Ok(Self::Form),
            "application/json" => Ok(Self::Json),
            "application/x-ndjson" => Ok(Self::NdJson),
            _ => Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                format!("the content type is {given:?}; allowed are: {}", Self::NAMES),
            )
            .with(
                header::HeaderName::from_static("accept-post"),
                HeaderValue::from_static(Self::NAMES),
            )),
        }
    }

    fn updates(self, body: &Bytes) -> Result<Vec<Update>, Refusal> {
        match self {
            Self::Form => Ok(vec![read_form(body)?]),
            Self::Json => Ok(vec![read_json(body).map_err(Refusal::bad_request)?]),
            Self::NdJson => read_ndjson(body),
        }
    }

    fn answer(self, ids: &[EventId]) -> Response {
        let object = |id: &EventId| format!("{}\n", json!({ "id": id.as_str() }));
        let (content_type, body) = match self {
            // No line break at the end: publishers take the whole body for the id.
            Self::Form => {
                ("text/plain; charset=utf-8", ids.iter().map(EventId::to_string).collect())
            }
            Self::Json => ("application/json", ids.iter().map(object).collect::<String>()),
            Self::NdJson => ("application/x-ndjson", ids.iter().map(object).collect()),
        };
        let headers = [(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, "no-store")];
        (headers, body).into_response()
    }

    pub(super) fn refuse(self, refusal: Refusal) -> Response {
        match self {
            Self::Form => refusal.into_response(),
            Self::Json | Self::NdJson => refusal.into_problem(),
        }
    }
}

/// Takes an update, or several that are taken all or none.
pub(super) async fn publish(State(hub): State<Hub>, request: Request) -> Response {
    let format = Format::of(&request);
    let answer = match &format {
        Ok(format) => take(&hub, *format, request).await,
        Err(refusal) => Err(refusal.clone()),
    };
    let format = format.unwrap_or(Format::Form);
    match answer {
        Ok(ids) => format.answer(&ids),
        Err(refusal) => {
            let reason = match refusal.status() {
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Reason::Forbidden,
                StatusCode::PAYLOAD_TOO_LARGE => Reason::TooLarge,
                status if status.is_server_error() => Reason::Unavailable,
                _ => Reason::Invalid,
            };
            hub.metrics().publish_refused(reason);
            tracing::debug!(status = refusal.status().as_u16(), ?reason, "publish refused");
            format.refuse(refusal)
        }
    }
}

async fn take(hub: &Hub, format: Format, request: Request) -> Result<Vec<EventId>, Refusal> {
    if !hub.access().anonymous_publish {
        return Err(Refusal::new(
            StatusCode::UNAUTHORIZED,
            "this hub allows no anonymous publishers; --anonymous-publish opens it",
        )
        .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
    }
    let trace = trace_parent(request.headers());
    let body = read_body(request.into_body(), hub.limits().body_bytes).await?;
    let updates = format.updates(&body)?;
    let begun = Instant::now();
    let ids = hub.publish_all(updates).await.map_err(|error| refuse(format, &body, error))?;
    hub.metrics().publish_ack.observe(begun.elapsed().as_secs_f64());
    if let Some(first) = ids.first() {
        let trace = trace.as_deref();
        tracing::debug!(id = first.as_str(), count = ids.len(), trace, "updates taken");
    }
    Ok(ids)
}

/// The trace that a publish is part of (W3C Trace Context), for the log. What is no such header
/// is passed over, as the standard demands.
fn trace_parent(headers: &HeaderMap) -> Option<String> {
    let value = headers.get("traceparent")?.to_str().ok()?;
    let is_hex = |text: &str| text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let parts: Vec<&str> = value.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    let is_one = lengths == [2, 32, 16, 2] && parts.iter().all(|part| is_hex(part));
    is_one.then(|| value.to_owned())
}

async fn read_body(body: Body, max: usize) -> Result<Bytes, Refusal> {
    let too_slow = |_| {
        Refusal::new(
            StatusCode::REQUEST_TIMEOUT,
            format!("the body did not come within {} s", BODY_TIME.as_secs()),
        )
    };
    let whole = tokio::time::timeout(BODY_TIME, Limited::new(body, max).collect());
    match whole.await.map_err(too_slow)? {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body has more than {max} bytes, which is what this hub allows"),
        )),
        Err(error) => Err(Refusal::bad_request(format!("the body could not be read: {error}"))),
    }
}

fn refuse(format: Format, body: &[u8], error: PublishError) -> Refusal {
    let unavailable = |detail: String| {
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, detail)
            .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
    };
    match error {
        PublishError::Invalid { index, cause } if format == Format::NdJson => {
            let line = lines(body).nth(index).map_or(index, |(line, _)| line);
            bad_line(line, cause)
        }
        PublishError::Invalid { cause, .. } => Refusal::bad_request(cause.to_string()),
        error => unavailable(error.to_string()),
    }
}

/// An update as it was sent, before anything is checked.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    topics: Vec<String>,
    #[serde(default, deserialize_with = "read_data")]
    data: String,
    #[serde(default, rename = "type")]
    event_type: Option<String>,
    #[serde(default)]
    id: Option<String>,
    /// Milliseconds.
    #[serde(default)]
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

impl Sent {
    fn into_update(self) -> Result<Update, String> {
        let mut event = Event::new(self.data);
        // What a form leaves empty was not given.
        if let Some(text) = self.event_type.filter(|text| !text.is_empty()) {
            event = event.with_event_type(EventType::new(&text).map_err(|e| e.to_string())?);
        }
        if let Some(text) = self.id.filter(|text| !text.is_empty()) {
            event = event.with_event_id(EventId::new(&text).map_err(|e| e.to_string())?);
        }
        if let Some(milliseconds) = self.retry {
            event = event.with_retry(Duration::from_millis(milliseconds));
        }
        let mut topics = self.topics.into_iter();
        let canonical = topics.next().ok_or("the update has no topic; at least one is needed")?;
        let update = Update::new(canonical, event).about_all(topics);
        Ok(if self.private { update.private() } else { update })
    }
}

fn read_form(body: &[u8]) -> Result<Update, Refusal> {
    let pairs = Pairs::read(body)?;
    let retry = match pairs.one("retry")?.filter(|text| !text.is_empty()) {
        None => None,
        // The standard's field is ASCII digits; `parse` alone would take "+5" too.
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Some(text.parse().unwrap_or(u64::MAX))
        }
        Some(text) => {
            return Err(Refusal::bad_request(format!(
                "retry is {text:?}; it has to be a whole number of milliseconds"
            )));
        }
    };
    let owned = |value: Option<&str>| value.map(str::to_owned);
    let sent = Sent {
        topics: pairs.all("topic").map(str::to_owned).collect(),
        data: pairs.one("data")?.unwrap_or_default().to_owned(),
        event_type: owned(pairs.one("type")?),
        id: owned(pairs.one("id")?),
        retry,
        // Its presence alone says it, whatever its value.
        private: pairs.has("private"),
    };
    sent.into_update().map_err(Refusal::bad_request)
}

fn read_json(bytes: &[u8]) -> Result<Update, String> {
    let sent: Sent = serde_json::from_slice(bytes)
        .map_err(|error| format!("the body is no update in JSON: {error}"))?;
    sent.into_update()
}

fn read_ndjson(body: &[u8]) -> Result<Vec<Update>, Refusal> {
    let updates = lines(body)
        .map(|(line, text)| read_json(text).map_err(|error| bad_line(line, error)))
        .take(BATCH_UPDATES_MAX + 1)
        .collect::<Result<Vec<_>, _>>()?;
    match updates.len() {
        0 => Err(Refusal::bad_request("the body has no update; each line is to be one")),
        1..=BATCH_UPDATES_MAX => Ok(updates),
        _ => Err(Refusal::bad_request(format!(
            "the body has more than {BATCH_UPDATES_MAX} updates; nothing was published"
        ))),
    }
}

/// The lines that are to be updates, each with its number in the body, counted from 1. Blank
/// ones are none.
fn lines(body: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let is_blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
    (1..).zip(body.split(|byte| *byte == b'\n')).filter(move |(_, line)| !is_blank(line))
}

fn bad_line(line: usize, error: impl fmt::Display) -> Refusal {
    Refusal::bad_request(format!("line {line}: {error}; nothing was published"))
}
