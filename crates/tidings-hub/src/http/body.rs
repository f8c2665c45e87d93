//! The body of a request, read whole within its bounds.

use std::time::Duration;

use axum::body::Body;
use axum::http::{Extensions, HeaderValue, StatusCode, Version, header};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use smallvec::{SmallVec, smallvec};

use super::arriving;
use super::refusal::Refusal;
use crate::admission::Client;
use crate::budget::{Exhausted, Permit, Standing};
use crate::clock;
use crate::hub::Hub;
use crate::limits::{BODY_BYTES_MIN, BODY_BYTES_UNKNOWN, PUBLISH_WAIT};

/// A received body, and the part of the hub's budget that it takes while it is used.
pub(super) struct ReceivedBody {
    pub(super) bytes: Bytes,
    client: Option<Client>,
    standing: Standing,
    permits: SmallVec<[Permit; 1]>,
    /// The bytes that the permits stand for.
    taken: usize,
}

impl ReceivedBody {
    /// Takes room for the values parsed from the body, which use this many bytes. The hub's budget
    /// has as much for them as for bodies; many short topics take much more memory than their text.
    ///
    /// # Errors
    /// If there is no room for it.
    pub(super) fn make_room(&mut self, hub: &Hub, bytes: usize) -> Result<(), Refusal> {
        let budget = hub.request_budget();
        let needed = budget.bounded((self.bytes.len() + bytes) / 2);
        let more = needed.saturating_sub(self.taken);
        if more > 0 {
            let permit = budget.try_take(self.client, self.standing, more);
            self.permits.push(permit.map_err(|exhausted| {
                hub.metrics().request_refused(exhausted);
                no_room(exhausted)
            })?);
            self.taken += more;
        }
        Ok(())
    }
}

/// Why there is no body.
pub(super) enum Unreceived {
    /// Too many bytes of requests are under way.
    NoRoom(Exhausted),
    /// The body is too large, too slow, or cut off.
    Refused(Refusal),
}

impl From<Refusal> for Unreceived {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Unreceived> for Refusal {
    fn from(unreceived: Unreceived) -> Self {
        match unreceived {
            Unreceived::NoRoom(exhausted) => no_room(exhausted),
            Unreceived::Refused(refusal) => refusal,
        }
    }
}

/// The answer to a request for which there is no room.
pub(crate) fn no_room(exhausted: Exhausted) -> Refusal {
    Refusal::new(status_of(exhausted), format!("{exhausted}; try again later"))
        .with(header::RETRY_AFTER, HeaderValue::from_static("1"))
}

pub(crate) fn status_of(exhausted: Exhausted) -> StatusCode {
    match exhausted {
        Exhausted::Address { .. } => StatusCode::TOO_MANY_REQUESTS,
        Exhausted::All { .. } => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Reads a body of at most `limits.body_bytes`, once there is room for it.
///
/// # Errors
/// With the answer to a body that is too large, too slow, or cut off, or that finds no room.
pub(super) async fn read_body(
    hub: &Hub,
    client: Option<Client>,
    standing: Standing,
    version: Version,
    extensions: &Extensions,
    body: Body,
) -> Result<ReceivedBody, Unreceived> {
    let limits = hub.limits();
    let (max, time) = (limits.body_bytes, limits.body_time);
    // A declared length above the limit is refused before any byte is read, and takes no room.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large(max).into());
    }
    let budget = hub.request_budget();
    let note = |unreceived| {
        if let Unreceived::NoRoom(exhausted) = unreceived {
            hub.metrics().request_refused(exhausted);
        }
        unreceived
    };
    let no_room = |exhausted| note(Unreceived::NoRoom(exhausted));
    // Over HTTP/2 a waiting body would occupy the flow-control window of its connection, and stop
    // the other bodies on it.
    let patience = if version == Version::HTTP_2 { Duration::ZERO } else { PUBLISH_WAIT };
    let length = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(max));
    // Taken at once before anything is read, and later more only if it is free: bodies that each
    // hold a part and wait for the rest would block each other.
    let first = length.unwrap_or(BODY_BYTES_UNKNOWN).min(max);
    let weight = |bytes: usize| budget.bounded(bytes.max(BODY_BYTES_MIN));
    if let Some(exhausted) = arriving::refusal(extensions) {
        return Err(no_room(exhausted));
    }
    arriving::give_back(extensions);
    let taken = budget.take(client, standing, weight(first), patience).await;
    let mut permits: SmallVec<[Permit; 1]> = smallvec![taken.map_err(no_room)?];
    let received = |bytes, permits, taken| ReceivedBody { bytes, client, standing, permits, taken };
    let too_slow = |_| too_slow(time);
    let mut read = Box::pin(read_up_to(body, first));
    let begun = clock::now();
    let part = tokio::time::timeout(time, &mut read).await.map_err(too_slow)?.map_err(note)?;
    let (whole, rest) = match part {
        BodyPart::Whole(bytes) => return Ok(received(bytes, permits, weight(first))),
        BodyPart::More { .. } if first >= max => return Err(too_large(max).into()),
        BodyPart::More { so_far, body } => (so_far, body),
    };
    let more = weight(max) - weight(first);
    if more > 0 {
        permits.push(budget.try_take(client, standing, more).map_err(no_room)?);
    }
    let left = time.saturating_sub(clock::since(begun));
    let rest = tokio::time::timeout(left, continue_up_to(whole, rest, max));
    match rest.await.map_err(too_slow)?.map_err(note)? {
        BodyPart::Whole(bytes) => Ok(received(bytes, permits, weight(first) + more)),
        BodyPart::More { .. } => Err(too_large(max).into()),
    }
}

/// As much of a body as was asked for.
enum BodyPart {
    Whole(Bytes),
    /// There is more: the bytes received so far, which exceed the bound, and the rest.
    More {
        so_far: BytesMut,
        body: Body,
    },
}

async fn read_up_to(mut body: Body, max: usize) -> Result<BodyPart, Unreceived> {
    let Some(first) = next(&mut body).await? else { return Ok(BodyPart::Whole(Bytes::new())) };
    // Most bodies arrive in one piece, and need no copy.
    if first.len() <= max && body.is_end_stream() {
        return Ok(BodyPart::Whole(first));
    }
    let capacity = body.size_hint().exact().map_or(0, |rest| usize::try_from(rest).unwrap_or(0));
    let mut whole = BytesMut::with_capacity((first.len() + capacity).min(max));
    whole.extend_from_slice(&first);
    continue_up_to(whole, body, max).await
}

/// Copies all pieces into one buffer: a piece of one byte would keep much more in memory.
async fn continue_up_to(
    mut whole: BytesMut,
    mut body: Body,
    max: usize,
) -> Result<BodyPart, Unreceived> {
    while whole.len() <= max {
        match next(&mut body).await? {
            Some(piece) => whole.extend_from_slice(&piece),
            None => return Ok(BodyPart::Whole(whole.freeze())),
        }
    }
    Ok(BodyPart::More { so_far: whole, body })
}

/// The next piece of a body, `None` at its end.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Unreceived> {
    while let Some(frame) = body.frame().await {
        match frame {
            Ok(frame) => match frame.into_data() {
                Ok(data) => return Ok(Some(data)),
                // Trailers, which mean nothing here.
                Err(_) => continue,
            },
            Err(error) => {
                // The innermost cause is the reason.
                let mut cause: &dyn std::error::Error = &error;
                while let Some(source) = cause.source() {
                    cause = source;
                }
                if let Some(exhausted) = cause.downcast_ref::<Exhausted>() {
                    return Err(Unreceived::NoRoom(*exhausted));
                }
                let detail = format!("cannot read the body: {cause}");
                return Err(Refusal::bad_request(detail).into());
            }
        }
    }
    Ok(None)
}

fn too_slow(time: Duration) -> Refusal {
    Refusal::new(
        StatusCode::REQUEST_TIMEOUT,
        format!("the body was not received within {} s", time.as_secs_f32()),
    )
}

pub(super) fn too_large(max: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body has more than {max} bytes, the limit of this hub"),
    )
}
