//! Where a request comes from, and whether it comes too often.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use axum::extract::{ConnectInfo, FromRef, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::Response;

use super::publish::Format;
use super::refusal::Refusal;
use crate::hub::Hub;
use crate::limits::Network;
use crate::metrics::Refusal as Reason;
use crate::shard::run::Opening;

/// The other end of a request's connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) IpAddr);

/// Where one request comes from, as far as that is known.
#[derive(Debug)]
pub(super) struct Gate {
    hub: Hub,
    address: Option<IpAddr>,
}

impl Gate {
    pub(super) fn of(hub: &Hub, parts: &Parts) -> Self {
        Self { hub: hub.clone(), address: address(hub, &parts.extensions, &parts.headers) }
    }

    /// Whether one more stream may be opened from there now.
    pub(super) fn is_open(&self) -> bool {
        match self.hub.admission().may_open(self.address, Instant::now()) {
            Ok(()) => true,
            Err(why) => {
                self.hub.metrics().turned_away(why);
                tracing::debug!(?why, "a stream was turned away");
                false
            }
        }
    }

    /// Counts a stream as one from there.
    pub(super) fn count(&self, opening: &mut Opening) {
        let permit = &mut opening.permit;
        permit.belongs_to(self.address, Instant::now());
        let address = self.address.map(tracing::field::display);
        tracing::debug!(stream = permit.number(), address, "stream granted");
    }
}

impl<S> FromRequestParts<S> for Gate
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
/// With the answer that it gets instead.
pub(super) fn check_publishing(hub: &Hub, request: &Request) -> Result<(), Box<Response>> {
    if request.method() != Method::POST {
        return Ok(());
    }
    let address = address(hub, request.extensions(), request.headers());
    if hub.admission().may_publish(address, Instant::now()) {
        return Ok(());
    }
    hub.metrics().publish_refused(Reason::Rate);
    let max = hub.limits().publishes_per_second;
    let refusal = Refusal::new(
        StatusCode::TOO_MANY_REQUESTS,
        format!("an address may publish {max} times a second here; nothing was published"),
    )
    .with(header::RETRY_AFTER, HeaderValue::from_static("1"));
    Err(Box::new(Format::of(request).unwrap_or(Format::Form).refuse(refusal)))
}

/// The address of the client: of the connection, or, as far as proxies are trusted, what they
/// say of it.
fn address(hub: &Hub, extensions: &Extensions, headers: &HeaderMap) -> Option<IpAddr> {
    let of_service = || extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let peer = extensions.get::<Peer>().map(|peer| peer.0).or_else(of_service)?;
    Some(forwarded(peer, headers, &hub.limits().trusted_proxies))
}

/// Each proxy adds at the end from whom it has the request, so what stands before the last one
/// that is not trusted could be anybody's invention.
fn forwarded(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(*address));
    let mut client = peer;
    let lines = headers.get_all("x-forwarded-for").iter();
    let said = lines.rev().flat_map(|line| line.to_str().unwrap_or("?").rsplit(','));
    for said in said {
        if !is_trusted(&client) {
            break;
        }
        match said.trim().parse::<IpAddr>() {
            Ok(address) => client = address.to_canonical(),
            // Nothing before what makes no sense is believed.
            Err(_) => break,
        }
    }
    client
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(peer: &str, lines: &[&str], expected: &str) {
        let trusted: Vec<Network> =
            ["127.0.0.0/8", "10.0.0.1"].iter().map(|one| one.parse().unwrap()).collect();
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let client = forwarded(peer.parse().unwrap(), &headers, &trusted);
        assert_eq!(client.to_string(), expected, "{lines:?}");
    }

    #[test]
    fn only_trusted_proxies_say_who_the_client_is() {
        check("127.0.0.1", &[], "127.0.0.1");
        check("127.0.0.1", &["192.0.2.7"], "192.0.2.7");
        check("127.0.0.1", &["192.0.2.7, 10.0.0.1"], "192.0.2.7");
        check("127.0.0.1", &["203.0.113.9, 192.0.2.7"], "192.0.2.7");
        check("127.0.0.1", &["203.0.113.9", "192.0.2.7, 10.0.0.1"], "192.0.2.7");
        check("192.0.2.7", &["203.0.113.9"], "192.0.2.7");
        check("127.0.0.1", &["203.0.113.9, nonsense"], "127.0.0.1");
        check("127.0.0.1", &["::ffff:192.0.2.7"], "192.0.2.7");
    }
}
