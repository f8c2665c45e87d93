//! Subscribing: the parameters of a stream, and the head of its response.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::DateTime;
use parking_lot::Mutex;
use tidings_server::LastEventId;

use super::credentials::{Asking, Carrier};
use super::gate::Gate;
use super::query::Pairs;
use super::refusal::Refusal;
use super::{LAST_EVENT_ID, MERCURE_LAST_EVENT_ID};
use crate::access::{Dialect, Role};
use crate::feed::StreamOptions;
use crate::hub::{Cursor, EARLIEST, Hub, LAST, within};
use crate::limits::{ID_BYTES_MAX, Limits, PUBLISH_WAIT, SELECTORS_MAX};
use crate::notice::Notice;
use crate::selector::{InvalidSelectors, Selector, Selectors};
use crate::shard::run::Opening;

/// What an id begins with that names a time.
const SINCE: &str = "tidings:since:";

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
pub(super) async fn subscribe(hub: &Hub, request: Request) -> Result<Response, Refusal> {
    let (parts, _) = request.into_parts();
    let gate = Gate::of(hub, &parts);
    let method = parts.method.clone();
    let pairs = Pairs::read(parts.uri.query().unwrap_or_default().as_bytes())?;
    let asking = Asking::new(hub, &parts, &pairs);
    let visitor = match asking.visitor(Role::Subscribe).await {
        // What is not to be had now is worth coming back for, and a browser's `EventSource`
        // would take any other answer for the end.
        Err(refusal) if refusal.status() == StatusCode::SERVICE_UNAVAILABLE => {
            return Ok(come_back(hub, &method));
        }
        visitor => visitor?,
    };
    let is_anonymous = visitor.grants.is_anonymous();
    let by_service = visitor.carrier == Carrier::Service;
    if by_service && !visitor.may_subscribe {
        return Err(Refusal::new(StatusCode::FORBIDDEN, "this request may not subscribe"));
    }
    if !visitor.may_subscribe {
        let detail = "this hub allows no anonymous subscribers, and no token came; \
                      --anonymous-subscribe opens it";
        return Err(asking.unauthorized(None, detail));
    }
    let asked = Asked::read(&asking)?;
    check_limits(&asked.selectors, &hub.limits())?;
    if is_anonymous && asked.authorized && !by_service {
        let detail = "the stream option \"authorized\" needs a token, and none came";
        return Err(asking.unauthorized(None, detail));
    }
    let Asked { selectors, options, cursor, .. } = asked;
    let named = asked.named_cursor;
    // A stream that only says when to come back loses nothing: it goes on from where it was.
    let unmoved = named.then(|| cursor.to_string());
    let rights = visitor.grants.subscribe.clone();
    let is_let_in = gate.is_open() && within(PUBLISH_WAIT, hub.presence().room()).await.is_ok();
    let opened = match is_let_in {
        true => hub.open(selectors, rights, options, cursor).await,
        false => Ok(None),
    };
    let granted = opened.unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a stream was not opened");
        None
    });
    let (mut response, cursor) = match granted {
        Some(mut granted) => {
            gate.count(&mut granted.opening);
            if is_anonymous && !by_service && named && asking.access().tokens.has_keys() {
                // Whoever comes back without the token that it had would see private events
                // stop, and not know why.
                Notice::Anonymous.encode(None, None, &mut granted.opening.bytes);
            }
            granted.opening.grants = Some(visitor.grants);
            (stream(&method, granted.opening), granted.cursor)
        }
        None => (come_back(hub, &method), unmoved),
    };
    // Where a stream begins that waits for the journal it is told in the stream.
    let cursor = cursor.filter(|_| named);
    if let Some(Ok(value)) = cursor.map(|cursor| HeaderValue::try_from(cursor.as_bytes())) {
        let headers = response.headers_mut();
        if asking.access().dialects.has(Dialect::Deployed) {
            headers.insert(LAST_EVENT_ID, value.clone());
        }
        if asking.access().dialects.has(Dialect::Coming) {
            headers.insert(MERCURE_LAST_EVENT_ID, value);
        }
    }
    if visitor.carrier == Carrier::Query {
        // The URL is a secret, and what it names is one person's.
        let private = HeaderValue::from_static("private, no-cache, no-transform");
        response.headers_mut().insert(header::CACHE_CONTROL, private);
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
    fn read(asking: &Asking<'_>) -> Result<Self, Refusal> {
        let mut options = StreamOptions::default();
        let mut authorized = false;
        for word in asking.query.all("tidings").flat_map(|value| value.split(',')) {
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
        let (cursor, named_cursor) = cursor(asking.query, &asking.parts.headers)?;
        Ok(Self { selectors: selectors(asking)?, options, authorized, cursor, named_cursor })
    }
}

/// The selectors: `topic` in the words of Mercure 0.x; `match`, `match_exact` and
/// `match_urlpattern` in those of 1.0, which demands that all other names of that beginning are
/// refused. A stream may use the words of both.
fn selectors(asking: &Asking<'_>) -> Result<Selectors, Refusal> {
    let dialects = asking.access().dialects;
    let coming = dialects.has(Dialect::Coming);
    let refused = |error: InvalidSelectors| Refusal::bad_request(error.to_string());
    let mut selectors = Vec::new();
    for (name, value) in asking.query.iter() {
        let selector = match name {
            "topic" if dialects.has(Dialect::Deployed) => Selector::template(value),
            "topic" => {
                return Err(Refusal::bad_request(
                    "\"topic\" is a word of Mercure 0.x, which this hub does not speak; use match, \
                     match_exact or match_urlpattern",
                ));
            }
            "match" | "match_exact" if coming => Selector::new(value),
            "match_urlpattern" if coming => Selector::pattern(value, &asking.base()),
            _ if coming && is_like_match(name) => {
                return Err(Refusal::bad_request(format!(
                    "{name:?} is no way to match topics here; known are: match, match_exact, \
                     match_urlpattern"
                )));
            }
            _ => continue,
        };
        selectors.push(selector.map_err(refused)?);
        // Refused before all of them are compiled.
        if selectors.len() > SELECTORS_MAX {
            return Err(refused(InvalidSelectors::TooMany { count: selectors.len() }));
        }
    }
    if selectors.is_empty() {
        return Err(Refusal::bad_request(
            "a stream needs at least one topic, as in ?topic=https%3A%2F%2Fexample.com%2Fbooks%2F1",
        ));
    }
    Selectors::new(selectors).map_err(refused)
}

fn is_like_match(name: &str) -> bool {
    name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("match"))
}

/// The cursor, and whether one was named at all. The header wins over the query, which an
/// `EventSource` cannot change when it reconnects.
fn cursor(pairs: &Pairs<'_>, headers: &HeaderMap) -> Result<(Cursor, bool), Refusal> {
    let header = LastEventId::of(headers);
    let coming = pairs.one("last_event_id")?;
    let deployed = pairs.one("lastEventID")?.filter(|id| !id.is_empty());
    let asked = header.as_deref().or(coming.filter(|id| !id.is_empty())).or(deployed);
    let cursor = match asked {
        None => Cursor::Now,
        Some(EARLIEST) => Cursor::Earliest,
        Some(LAST) => Cursor::Last,
        Some(id) if id.starts_with(SINCE) => {
            let text = id.strip_prefix(SINCE).unwrap_or_default();
            let time = DateTime::parse_from_rfc3339(text).map_err(|_| {
                Refusal::bad_request(format!(
                    "{text:?} is no time; write it as in {SINCE}2026-01-31T12:00:00Z (RFC 3339)"
                ))
            })?;
            Cursor::Since(time.into(), id.to_owned())
        }
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
