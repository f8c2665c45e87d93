//! What of a request's body may arrive before the hub reads it.
//!
//! Over HTTP/2 a client sends as much as the windows allow, whether the body is read or not. While
//! a request waits for its authorization, that takes memory already, so it is counted.

use std::sync::Arc;

use axum::http::{Extensions, HeaderMap, Uri, header};
use parking_lot::Mutex;

use crate::budget::{Permit, Standing};

/// The part of the budget for a body that is not read yet. Given back when the body is read, which
/// has a part of its own, or dropped.
#[derive(Debug)]
pub(super) struct Arriving(ArrivingPermit);

#[derive(Clone, Debug)]
struct ArrivingPermit(Arc<Mutex<Option<Permit>>>);

impl Arriving {
    pub(super) fn new(permit: Permit) -> Self {
        Self(ArrivingPermit(Arc::new(Mutex::new(Some(permit)))))
    }

    /// Lets [`give_back`] find it with the request.
    pub(super) fn note(&self, extensions: &mut Extensions) {
        extensions.insert(self.0.clone());
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.0.0.lock().take();
    }
}

/// Gives back what is held for a request's body, which is about to be read.
pub(super) fn give_back(extensions: &Extensions) {
    if let Some(ArrivingPermit(permit)) = extensions.get::<ArrivingPermit>() {
        permit.lock().take();
    }
}

/// What a request counts as before it is authorized: its body is room for publishers if it presents
/// anything to be authorized by. Otherwise a flood of anonymous bodies would stop publishers.
pub(super) fn standing(uri: &Uri, headers: &HeaderMap) -> Standing {
    let is_credential = |name| headers.contains_key(name);
    let in_query = uri.query().is_some_and(|query| query.contains("authorization="));
    if is_credential(header::AUTHORIZATION) || is_credential(header::COOKIE) || in_query {
        Standing::Authorized
    } else {
        Standing::Anyone
    }
}
