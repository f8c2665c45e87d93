//! The client of a request, and whether it may open another stream or publish again now.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRef, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use super::body_format::BodyFormat;
use super::forwarded;
use super::refusal::Refusal;
use crate::admission::Client;
use crate::clock;
use crate::hub::Hub;
use crate::metrics::{Limit, RefusalReason};
use crate::shard::NewStream;

/// The other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer(pub(crate) Client);

/// The client of one request, as far as it is known, and the hub that counts it.
#[derive(Debug)]
pub(super) struct ClientAdmission {
    hub: Hub,
    client: Option<Client>,
}

impl ClientAdmission {
    pub(super) fn of(hub: &Hub, parts: &Parts) -> Self {
        Self { hub: hub.clone(), client: client(hub, &parts.extensions, &parts.headers) }
    }

    /// Whether the client may open another stream now.
    pub(super) fn may_open_stream(&self) -> bool {
        match self.hub.admission().may_open(self.client, clock::now()) {
            Ok(()) => true,
            Err(why) => {
                self.hub.metrics().turned_away(why);
                tracing::debug!(limit = %Limit::of(why), "refused a stream");
                false
            }
        }
    }

    /// The client, as far as it is known.
    pub(super) fn client(&self) -> Option<Client> {
        self.client
    }

    /// Counts a stream as one of the client, if it may still be opened.
    pub(super) fn count_stream(&self, opening: &mut NewStream) -> bool {
        let permit = opening.permit_mut();
        if let Err(why) = permit.belongs_to(self.client, clock::now()) {
            self.hub.metrics().turned_away(why);
            tracing::debug!(limit = %Limit::of(why), "refused a stream");
            return false;
        }
        let address = self.client.map(tracing::field::display);
        tracing::debug!(stream = permit.number(), address, "stream granted");
        true
    }
}

impl<S> FromRequestParts<S> for ClientAdmission
where
    Hub: FromRef<S>,
    S: Send + Sync,
{
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&Hub::from_ref(state), parts))
    }
}

/// Refuses a publish from an address that publishes too often.
///
/// # Errors
/// With the answer to the refused request.
pub(super) fn check_publish_rate(hub: &Hub, request: &Request) -> Result<(), Box<Response>> {
    if request.method() != Method::POST {
        return Ok(());
    }
    let client = client(hub, request.extensions(), request.headers());
    if hub.admission().may_publish(client, clock::now()) {
        return Ok(());
    }
    hub.metrics().publish_refused(RefusalReason::Rate);
    let max = hub.limits().publishes_per_second;
    let refusal = Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        format!("the address exceeded {max} publishes per second; nothing was published"),
    )
    .with(header::RETRY_AFTER, HeaderValue::from_static("1"));
    Err(Box::new(BodyFormat::of(request).unwrap_or(BodyFormat::Form).refuse(refusal)))
}

/// The client: the other end of the connection, or, as far as proxies are trusted, the one that
/// they name.
pub(super) fn client(hub: &Hub, extensions: &Extensions, headers: &HeaderMap) -> Option<Client> {
    let of_service =
        || extensions.get::<ConnectInfo<SocketAddr>>().map(|info| Client::from(info.0.ip()));
    let peer = extensions.get::<Peer>().map(|peer| peer.0).or_else(of_service)?;
    let limits = hub.limits();
    Some(forwarded::client(peer, headers, &limits.trusted_proxies, limits.forwarded_header))
}
