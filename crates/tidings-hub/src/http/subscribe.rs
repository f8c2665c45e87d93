//! Subscribing: the parameters of a stream, and the head of its response.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::DateTime;
use parking_lot::Mutex;
use tidings_core::model::{
    Cursor, EARLIEST, InvalidSelectors, LAST, Selectors, Spelled, StreamOptions,
};
use tidings_core::stream::notice::Notice;
use tidings_server::{LastEventId, place};

use super::accept_header::{self, MediaType};
use super::admission::ClientAdmission;
use super::body::{Unreceived, read_body};
use super::content;
use super::credentials::{Carrier, RequestCredentials};
use super::query::Pairs;
use super::refusal::Refusal;
use crate::access::{Dialect, Role};
use crate::admission::{Client, TurnedAway};
use crate::budget::Standing;
use crate::compile::NotCompiled;
use crate::hub::{Begin, Hub, within};
use crate::limits::{CUT_PAUSE, ID_BYTES_MAX, Limits, PUBLISH_WAIT, SELECTORS_MAX};
use crate::shard::{DelayedCut, NewStream, StreamCut};

/// The prefix of an id that names a time.
const SINCE: &str = "tidings:since:";

/// The id after which a stream continues, in Mercure 1.0; 0.x uses `Last-Event-ID`.
pub(super) const MERCURE_LAST_EVENT_ID: HeaderName =
    HeaderName::from_static("mercure-last-event-id");
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// A stream inside the response that becomes it, until its lane takes it out.
#[derive(Clone, Debug)]
pub(crate) struct PendingStream(Arc<Mutex<Option<NewStream>>>);

impl PendingStream {
    pub(crate) fn take(response: &mut Response) -> Option<NewStream> {
        let stream: Self = response.extensions_mut().remove()?;
        stream.0.lock().take()
    }
}

/// Names [`FORM`], the media type of QUERY, in every answer to a subscriber (RFC 10008 3).
pub(super) const ACCEPT_QUERY: HeaderName = HeaderName::from_static("accept-query");
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// Opens a stream (Mercure, "subscription").
pub(super) async fn subscribe(hub: &Hub, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let is_query = parts.method == Method::QUERY;
    if is_query {
        check_content(&parts.headers)?;
    }
    let admission = ClientAdmission::of(hub, &parts);
    let method = parts.method.clone();
    let pairs = Pairs::read(parts.uri.query().unwrap_or_default().as_bytes());
    let credentials = RequestCredentials::new(hub, &parts, &pairs);
    let requester = match credentials.requester(Role::Subscribe).await {
        // The cause is temporary, and any other answer would end a browser's `EventSource` for
        // good.
        Err(refusal) if refusal.status() == StatusCode::SERVICE_UNAVAILABLE => {
            return Ok(reconnect_response(hub, &method));
        }
        requester => requester?,
    };
    let is_anonymous = requester.grants.is_anonymous();
    let by_service = requester.carrier == Carrier::Service;
    if by_service && !requester.may_subscribe {
        return Err(Refusal::new(
            StatusCode::FORBIDDEN,
            "this request is not allowed to subscribe",
        ));
    }
    if !requester.may_subscribe {
        let detail = format!("subscribing needs a token, but {}", credentials.no_token());
        return Err(credentials.unauthorized(None, detail));
    }
    let mut is_open = None;
    let form = if is_query {
        credentials.check_cookie(&requester)?;
        // A client that is told to reconnect sends its body again, so it is not read now.
        if !*is_open.insert(admission.may_open_stream()) {
            return turned_away(hub, &credentials, requester.carrier);
        }
        // In a box, so that the future of a stream without a body does not reserve memory for it.
        let extensions = &parts.extensions;
        let read =
            read_body(hub, admission.client(), Standing::Anyone, parts.version, extensions, body);
        match Box::pin(read).await {
            Ok(received) => Some(received),
            Err(Unreceived::NoRoom(_)) => return turned_away(hub, &credentials, requester.carrier),
            Err(Unreceived::Refused(refusal)) => return Err(refusal),
        }
    } else {
        None
    };
    let asked = {
        let text = form.as_ref().map(|received| &received.bytes[..]).unwrap_or_default();
        StreamRequest::read(&credentials, &Pairs::of_body(text)?)?
    };
    // The body's room is free for other requests while this one waits.
    drop(form);
    check_limits(&asked.selectors, &hub.limits())?;
    if is_anonymous && asked.authorized && !by_service {
        let detail = "the stream option \"authorized\" needs a token, but the request has none";
        return Err(credentials.unauthorized(None, detail));
    }
    let StreamRequest { selectors, options, cursor, .. } = asked;
    let tell_place = place::form(&parts.headers, asked.place);
    let named = asked.named_cursor;
    let is_empty = cursor == Cursor::Now;
    // A stream that only says when to reconnect loses nothing: it continues from the same cursor.
    let unmoved = named.then(|| cursor.to_string());
    let rights = requester.grants.subscribe.clone();
    let is_open = is_open.unwrap_or_else(|| admission.may_open_stream());
    let standing =
        if is_anonymous && !by_service { Standing::Anyone } else { Standing::Authorized };
    // Only for a stream that may be opened, as it may take time.
    let selectors = match is_open {
        true => compiled(hub, selectors, admission.client(), standing).await?,
        false => None,
    };
    let opened = match selectors {
        Some(selectors) if within(PUBLISH_WAIT, hub.presence().room()).await.is_ok() => {
            hub.open(selectors, rights, options, Begin { cursor, tell_place }).await
        }
        Some(_) => {
            hub.metrics().turned_away(TurnedAway::Presence);
            Ok(None)
        }
        None => Ok(None),
    };
    let granted = opened.unwrap_or_else(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "cannot open a stream");
        None
    });
    let granted = granted
        .and_then(|mut granted| admission.count_stream(&mut granted.opening).then_some(granted));
    let (mut response, cursor) = match granted {
        Some(mut granted) => {
            let told = options.notices && named;
            if is_anonymous && !by_service && told && credentials.access().has_token_keys() {
                // A client that reconnects without its token would no longer receive private
                // events, and not know why.
                granted.opening.add_notice(&Notice::Anonymous);
            }
            granted.opening.authorize(requester.grants);
            (stream(&method, granted.opening), granted.cursor)
        }
        None => (reconnect_response(hub, &method), unmoved),
    };
    // A stream that waits for the journal is told in the stream where it begins.
    let cursor = cursor.filter(|_| named);
    // An empty id is an unknown id, though nothing was missed (Mercure 1.0).
    let cursor = cursor.map(|cursor| if is_empty { EARLIEST.to_owned() } else { cursor });
    complete(&mut response, &credentials, requester.carrier, cursor);
    Ok(response)
}

/// The selectors of a stream, `None` if there is no room for them now.
async fn compiled(
    hub: &Hub,
    spelled: Vec<Spelled>,
    client: Option<Client>,
    standing: Standing,
) -> Result<Option<Selectors>, Refusal> {
    match hub.compiler().compile(spelled, client, standing).await {
        Ok(selectors) => Ok(Some(selectors)),
        Err(NotCompiled::Invalid(error)) => Err(Refusal::bad_request(error.to_string())),
        Err(NotCompiled::Full) => {
            hub.metrics().turned_away(TurnedAway::Selectors);
            tracing::debug!("refused a stream: no memory for its selectors");
            Ok(None)
        }
    }
}

/// The answer to a QUERY whose body was not read: the client is told to reconnect, with the cursor
/// that it had.
fn turned_away(
    hub: &Hub,
    credentials: &RequestCredentials<'_>,
    carrier: Carrier,
) -> Result<Response, Refusal> {
    let parts = credentials.parts;
    let (cursor, named) = cursor([credentials.query, &Pairs::default()], &parts.headers)?;
    let mut response = reconnect_response(hub, &parts.method);
    complete(&mut response, credentials, carrier, named.then(|| cursor.to_string()));
    Ok(response)
}

/// Completes the head of a stream: the cursor headers and `Cache-Control`.
fn complete(
    response: &mut Response,
    credentials: &RequestCredentials<'_>,
    carrier: Carrier,
    cursor: Option<String>,
) {
    if let Some(Ok(value)) = cursor.map(|cursor| HeaderValue::try_from(cursor.as_bytes())) {
        let headers = response.headers_mut();
        if credentials.access().dialects.has(Dialect::Deployed) {
            headers.insert(LAST_EVENT_ID, value.clone());
        }
        if credentials.access().dialects.has(Dialect::Coming) {
            headers.insert(MERCURE_LAST_EVENT_ID, value);
        }
    }
    if let Some(value) = cache_control(&credentials.parts.method, carrier) {
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static(value));
    }
}

/// The `Cache-Control` of a stream that needs a stricter one than the usual.
fn cache_control(method: &Method, carrier: Carrier) -> Option<&'static str> {
    match (method == Method::QUERY, carrier == Carrier::Query) {
        (false, false) => None,
        // The URL contains a token, so the answer belongs to one client.
        (false, true) => Some("private, no-cache, no-transform"),
        // Answers to QUERY may be kept by URL and body unless they say otherwise (RFC 10008).
        (true, false) => Some("no-store, no-cache, no-transform"),
        (true, true) => Some("private, no-store, no-cache, no-transform"),
    }
}

/// Refuses the body of a QUERY that is no form, or compressed (RFC 10008 2.3). The parameters of its
/// media type do not matter (Mercure 1.0, "subscription").
fn check_content(headers: &HeaderMap) -> Result<(), Refusal> {
    match content::media_type(headers)?.as_deref() {
        None => {
            let detail = format!("QUERY needs a content type; allowed is: {FORM}");
            Err(Refusal::bad_request(detail))
        }
        Some(FORM) => content::check_coding(headers),
        Some(given) => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the content type is {given:?}; allowed is: {FORM}"),
        )),
    }
}

const EVENT_STREAM: MediaType = MediaType { kind: "text", subtype: "event-stream", versions: &[] };

/// Whether a client accepts event streams. One without a preference does.
fn accepts_streams(headers: &HeaderMap) -> bool {
    accept_header::quality(headers, &EVENT_STREAM) != Some(0)
}

fn check_limits(selectors: &[Spelled], limits: &Limits) -> Result<(), Refusal> {
    let different: BTreeSet<_> = selectors.iter().collect();
    let (count, max) = (different.len(), limits.topics);
    if count > max {
        return Err(Refusal::bad_request(format!(
            "the stream asks for {count} topics; at most {max} are allowed"
        )));
    }
    let bytes = selectors.iter().map(|one| one.text().len()).max().unwrap_or(0);
    let max = limits.topic_bytes;
    if bytes > max {
        return Err(Refusal::bad_request(format!(
            "a selector has {bytes} bytes; at most {max} are allowed"
        )));
    }
    Ok(())
}

/// The parameters of a stream.
struct StreamRequest {
    selectors: Vec<Spelled>,
    options: StreamOptions,
    authorized: bool,
    place: bool,
    cursor: Cursor,
    /// Whether the answer has the cursor headers.
    named_cursor: bool,
}

impl StreamRequest {
    /// Reads the parameters of the query, and after them those of a body.
    fn read(credentials: &RequestCredentials<'_>, form: &Pairs<'_>) -> Result<Self, Refusal> {
        let is_read = |name: &str| matches!(name, "topic" | "tidings") || is_like_match(name);
        credentials.query.check_text(is_read)?;
        form.check_text(is_read)?;
        let all = || credentials.query.iter().chain(form.iter());
        // Hubs of 0.x ignore the header, and clients of those hubs must work here.
        let is_deployed =
            credentials.parts.method != Method::QUERY && credentials.query.has("topic");
        if !is_deployed && !accepts_streams(&credentials.parts.headers) {
            return Err(Refusal::new(
                StatusCode::NOT_ACCEPTABLE,
                "the header Accept excludes text/event-stream, the only content type here",
            ));
        }
        let mut options = StreamOptions::default();
        let mut authorized = false;
        let mut place = false;
        let words =
            all().filter(|(name, _)| *name == "tidings").flat_map(|(_, value)| value.split(','));
        for word in words {
            match word.trim() {
                "topics" => options.topics = true,
                "notices" => options.notices = true,
                "authorized" => authorized = true,
                "place" => place = true,
                "" => {}
                unknown => {
                    return Err(Refusal::bad_request(format!(
                        "{unknown:?} is not an option of a stream; it must be one of: topics, notices, place, authorized"
                    )));
                }
            }
        }
        let (cursor, named_cursor) = cursor([credentials.query, form], &credentials.parts.headers)?;
        let selectors = selectors(credentials, all())?;
        Ok(Self { selectors, options, authorized, place, cursor, named_cursor })
    }
}

/// The selectors: `topic` in the words of Mercure 0.x; `match`, `match_exact` and
/// `match_urlpattern` in those of 1.0, which demands that all other names of that beginning are
/// refused. A stream may use the words of both.
fn selectors<'a>(
    credentials: &RequestCredentials<'_>,
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<Spelled>, Refusal> {
    let dialects = credentials.access().dialects;
    let coming = dialects.has(Dialect::Coming);
    let mut selectors = Vec::new();
    for (name, value) in pairs {
        let selector = match name {
            "topic" if dialects.has(Dialect::Deployed) => Spelled::Template(value.to_owned()),
            "topic" => {
                return Err(Refusal::bad_request(
                    "\"topic\" belongs to Mercure 0.x, which this hub does not speak; use match, \
                     match_exact or match_urlpattern",
                ));
            }
            "match" | "match_exact" if coming => Spelled::Exact(value.to_owned()),
            "match_urlpattern" if coming => Spelled::Pattern(value.to_owned(), credentials.base()),
            _ if coming && is_like_match(name) => {
                return Err(Refusal::bad_request(format!(
                    "{name:?} is not a way to match topics; use one of: match, match_exact, \
                     match_urlpattern"
                )));
            }
            _ => continue,
        };
        selectors.push(selector);
        if selectors.len() > SELECTORS_MAX {
            let error = InvalidSelectors::TooMany { count: selectors.len() };
            return Err(Refusal::bad_request(error.to_string()));
        }
    }
    if selectors.is_empty() {
        return Err(Refusal::bad_request(
            "a stream needs at least one topic, as in ?topic=https%3A%2F%2Fexample.com%2Fbooks%2F1",
        ));
    }
    Ok(selectors)
}

fn is_like_match(name: &str) -> bool {
    name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("match"))
}

/// The cursor, and whether one was named at all. The header wins over the query, which an
/// `EventSource` cannot change when it reconnects, and that over the body. In each the last one
/// that is not empty counts: polyfills append theirs to a URL that may have one.
fn cursor(places: [&Pairs<'_>; 2], headers: &HeaderMap) -> Result<(Cursor, bool), Refusal> {
    let is_cursor = |(name, _): &(&str, &str)| LastEventId::QUERY_NAMES.contains(name);
    let header = LastEventId::of(headers);
    let last = |pairs: &'_ Pairs<'_>| {
        let mut ids = pairs.iter().rev().filter(is_cursor).map(|(_, id)| id);
        ids.find(|id| !id.is_empty()).map(str::to_owned)
    };
    let asked = header.into_inner().or_else(|| places.into_iter().find_map(last));
    // An empty one counts as sent (Mercure 1.0). It names no event, and nothing is replayed.
    let is_sent = headers.contains_key(LAST_EVENT_ID)
        || places.into_iter().any(|pairs| pairs.iter().any(|pair| is_cursor(&pair)));
    let asked = asked.as_deref();
    let cursor = match asked {
        None => Cursor::Now,
        Some(EARLIEST) => Cursor::Earliest,
        Some(LAST) => Cursor::Last,
        Some(id) if id.starts_with(SINCE) => {
            let text = id.strip_prefix(SINCE).unwrap_or_default();
            let time = DateTime::parse_from_rfc3339(text).map_err(|_| {
                Refusal::bad_request(format!(
                    "{text:?} is not a time; write it as in {SINCE}2026-01-31T12:00:00Z (RFC 3339)"
                ))
            })?;
            Cursor::Since(time.into(), id.to_owned())
        }
        // No event has a longer id, and a notice should not repeat it at length.
        Some(id) => Cursor::After(id.chars().take(ID_BYTES_MAX + 1).collect()),
    };
    Ok((cursor, is_sent))
}

/// The response that becomes a stream.
pub(super) fn stream(method: &Method, opening: NewStream) -> Response {
    let mut response = head();
    if *method != Method::HEAD {
        response.extensions_mut().insert(PendingStream(Arc::new(Mutex::new(Some(opening)))));
    }
    response
}

/// A stream that only says when to reconnect, and is cut. Any other status, as 503, would end a
/// browser's `EventSource` for good, and a clean end some clients of others.
pub(super) fn reconnect_response(hub: &Hub, method: &Method) -> Response {
    let mut response = head();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    if *method != Method::HEAD {
        *response.body_mut() = Body::new(CutBody::after(hub.opening_bytes()));
    }
    response
}

fn head() -> Response {
    let mut response = Body::new(OfNoLength).into_response();
    tidings_server::head::insert(response.headers_mut());
    response
}

/// The body of a stream's response until its lane takes over. It has no length, so that no layer
/// writes one into the head.
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

/// The body of a stream that ends after these bytes.
struct CutBody {
    bytes: Option<Bytes>,
    cut: DelayedCut,
}

impl CutBody {
    fn after(bytes: Vec<u8>) -> Self {
        Self { bytes: Some(bytes.into()), cut: DelayedCut::after(CUT_PAUSE) }
    }
}

impl http_body::Body for CutBody {
    type Data = Bytes;
    type Error = StreamCut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, StreamCut>>> {
        match self.bytes.take() {
            Some(bytes) => Poll::Ready(Some(Ok(http_body::Frame::data(bytes)))),
            None => self.cut.poll(context).map(|cut| Some(Err(cut))),
        }
    }
}

/// Gives a stream its body: the body lane.
pub(super) async fn into_body(hub: Hub, mut response: Response) -> Response {
    let Some(opening) = PendingStream::take(&mut response) else { return response };
    match hub.attach(opening).await {
        Some(body) => *response.body_mut() = Body::new(body),
        None => return reconnect_response(&hub, &Method::GET),
    }
    response
}

#[cfg(test)]
mod fuzz;
