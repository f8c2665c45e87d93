//! Subscribing: the parameters of a stream, and the head of its response.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use parking_lot::Mutex;
use tidings_server::LastEventId;

use super::gate::Gate;
use super::query::Pairs;
use super::refusal::Refusal;
use super::{LAST_EVENT_ID, MERCURE_LAST_EVENT_ID};
use crate::access::Rights;
use crate::feed::StreamOptions;
use crate::hub::{Cursor, Hub};
use crate::limits::{ID_BYTES_MAX, Limits};
use crate::selector::{Selector, Selectors};
use crate::shard::run::Opening;

/// What a response carries that is to be a stream, until its lane takes it out.
#[derive(Clone, Debug)]
pub(super) struct Stream(Arc<Mutex<Option<Opening>>>);

impl Stream {
    pub(super) fn take(response: &mut Response) -> Option<Opening> {
        let stream: Self = response.extensions_mut().remove()?;
        stream.0.lock().take()
    }
}

/// Opens a stream (Mercure, "subscription").
pub(super) async fn subscribe(
    State(hub): State<Hub>,
    method: Method,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    gate: Gate,
) -> Result<Response, Refusal> {
    let pairs = Pairs::read(query.unwrap_or_default().as_bytes())?;
    let asked = Asked::read(&pairs, &headers)?;
    check_limits(&asked.selectors, &hub.limits())?;
    if asked.authorized || !hub.access().anonymous_subscribe {
        let detail = if asked.authorized {
            "the stream option \"authorized\" needs a token, and none came"
        } else {
            "this hub allows no anonymous subscribers; --anonymous-subscribe opens it"
        };
        return Err(Refusal::new(StatusCode::UNAUTHORIZED, detail)
            .with(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
    }
    let Asked { selectors, options, cursor, .. } = asked;
    let named = asked.named_cursor;
    // A stream that only says when to come back loses nothing: it goes on from where it was.
    let unmoved = cursor.to_string();
    let opened = match gate.is_open() {
        true => hub.open(selectors, Rights::Public, options, cursor).await,
        false => Ok(None),
    };
    let granted = opened.unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a stream was not opened");
        None
    });
    let (mut response, cursor) = match granted {
        Some(mut granted) => {
            gate.count(&mut granted.opening);
            (stream(&method, granted.opening), granted.cursor)
        }
        None => (come_back(&hub, &method), unmoved),
    };
    if named && let Ok(value) = HeaderValue::from_bytes(cursor.as_bytes()) {
        response.headers_mut().insert(LAST_EVENT_ID, value.clone());
        response.headers_mut().insert(MERCURE_LAST_EVENT_ID, value);
    }
    Ok(response)
}

fn check_limits(selectors: &Selectors, limits: &Limits) -> Result<(), Refusal> {
    let (count, max) = (selectors.iter().count(), limits.topics);
    if count > max {
        return Err(Refusal::bad_request(format!(
            "the stream asks for {count} topics; at most {max} are allowed"
        )));
    }
    let (bytes, max) = (selectors.bytes_max(), limits.topic_bytes);
    if bytes > max {
        return Err(Refusal::bad_request(format!(
            "a selector has {bytes} bytes; at most {max} are allowed"
        )));
    }
    Ok(())
}

/// What a subscriber asks for.
struct Asked {
    selectors: Selectors,
    options: StreamOptions,
    authorized: bool,
    cursor: Cursor,
    /// Whether the cursor headers are to be sent.
    named_cursor: bool,
}

impl Asked {
    fn read(pairs: &Pairs, headers: &HeaderMap) -> Result<Self, Refusal> {
        let mut options = StreamOptions::default();
        let mut authorized = false;
        for word in pairs.all("tidings").flat_map(|value| value.split(',')) {
            match word.trim() {
                "topics" => options.topics = true,
                "notices" => options.notices = true,
                "authorized" => authorized = true,
                "" => {}
                unknown => {
                    return Err(Refusal::bad_request(format!(
                        "{unknown:?} is no option of a stream; known are: topics, notices, authorized"
                    )));
                }
            }
        }
        let (cursor, named_cursor) = cursor(pairs, headers)?;
        Ok(Self { selectors: selectors(pairs)?, options, authorized, cursor, named_cursor })
    }
}

/// The selectors: `topic` in the words of Mercure 0.x, `match` and `match_exact` in those of
/// 1.0, which demands that all other names of that beginning are refused.
fn selectors(pairs: &Pairs) -> Result<Selectors, Refusal> {
    let mut selectors = Vec::new();
    for (name, value) in pairs.iter() {
        match name {
            "topic" | "match" | "match_exact" => selectors.push(
                Selector::new(value).map_err(|error| Refusal::bad_request(error.to_string()))?,
            ),
            _ if name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("match")) => {
                return Err(Refusal::bad_request(format!(
                    "{name:?} is no way to match topics here; known are: match, match_exact"
                )));
            }
            _ => {}
        }
    }
    if selectors.is_empty() {
        return Err(Refusal::bad_request(
            "a stream needs at least one topic, as in ?topic=https%3A%2F%2Fexample.com%2Fbooks%2F1",
        ));
    }
    Selectors::new(selectors).map_err(|error| Refusal::bad_request(error.to_string()))
}

/// The cursor, and whether one was named at all. The header wins over the query, which an
/// `EventSource` cannot change when it reconnects.
fn cursor(pairs: &Pairs, headers: &HeaderMap) -> Result<(Cursor, bool), Refusal> {
    let header = LastEventId::of(headers);
    let coming = pairs.one("last_event_id")?;
    let deployed = pairs.one("lastEventID")?.filter(|id| !id.is_empty());
    let asked = header.as_deref().or(coming.filter(|id| !id.is_empty())).or(deployed);
    let cursor = match asked {
        None => Cursor::Now,
        Some("earliest") => Cursor::Earliest,
        // A longer one is nobody's, and is not to be repeated at length in a notice.
        Some(id) => Cursor::After(id.chars().take(ID_BYTES_MAX + 1).collect()),
    };
    // In 1.0 an empty one counts as sent, in 0.x it does not.
    Ok((cursor, asked.is_some() || coming.is_some()))
}

/// The response that becomes a stream.
pub(super) fn stream(method: &Method, opening: Opening) -> Response {
    let mut response = head();
    if *method != Method::HEAD {
        response.extensions_mut().insert(Stream(Arc::new(Mutex::new(Some(opening)))));
    }
    response
}

/// A stream that only says when to come back. Any other status, as 503, would end a browser's
/// `EventSource` for good.
pub(super) fn come_back(hub: &Hub, method: &Method) -> Response {
    let mut response = head();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    if *method != Method::HEAD {
        *response.body_mut() = Body::from(hub.opening_bytes());
    }
    response
}

fn head() -> Response {
    let mut response = Body::new(OfNoLength).into_response();
    tidings_server::head::insert(response.headers_mut());
    response
}

/// What stands in a stream's response until its lane takes over. It promises no length, so
/// that nobody on the way writes one into the head.
struct OfNoLength;

impl http_body::Body for OfNoLength {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }
}

/// Gives a stream its body: the body lane.
pub(super) async fn into_body(hub: Hub, mut response: Response) -> Response {
    let Some(opening) = Stream::take(&mut response) else { return response };
    match hub.attach(opening).await {
        Some(body) => *response.body_mut() = Body::new(body),
        None => return come_back(&hub, &Method::GET),
    }
    response
}
