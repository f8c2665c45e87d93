//! Implements axum's response and extractor traits.

use std::convert::Infallible;

use axum_core::body::Body;
use axum_core::extract::FromRequestParts;
use axum_core::response::{IntoResponse, Response};
use http::request::Parts;

use crate::last_event_id::LastEventId;
use crate::response::EventStream;

impl IntoResponse for EventStream {
    fn into_response(self) -> Response {
        self.into_http().map(Body::new)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for LastEventId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of_request(&parts.headers, &parts.uri))
    }
}
