//! Authorization by the service around the hub, instead of tokens.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::request::Parts;
use serde_json::Value;
use tidings_core::model::{Rights, Selectors};

use super::grants::Grants;
use super::payloads::Payloads;
use crate::limits::AUTHORIZE_TIME;

/// A callback that decides what a request may do.
///
/// Any closure `Fn(&Parts) -> Permissions` is one. It sees the request's head, and its extensions,
/// where a layer in front of [`Hub::router`](crate::Hub::router) may have put the user. Implement
/// the trait if the answer takes time, for example from a database.
///
/// ```
/// use http::request::Parts;
/// use tidings_hub::{Hub, Permissions, Rights, Selectors};
///
/// #[derive(Clone)]
/// struct User { is_editor: bool }
///
/// let hub = Hub::builder().authorize(|request: &Parts| {
///     match request.extensions.get::<User>() {
///         None => Permissions::none(),
///         Some(User { is_editor: false }) => Permissions::none().subscribe(Rights::Public),
///         Some(_) => Permissions::none().subscribe(Rights::Public).publish(Selectors::all()),
///     }
/// });
/// # let _ = hub;
/// ```
pub trait Authorize: Send + Sync + 'static {
    /// Decides what the request with this head may do. If the answer takes longer than ten seconds,
    /// the request gets a 503, or a stream is told to reconnect; if it panics, the request is
    /// dropped. Nothing is remembered: the callback runs for each request, and not again for an open
    /// stream. The permissions take memory for as long as the request or its stream lasts, and do
    /// not count in [`Limits::selector_bytes`](crate::Limits::selector_bytes).
    fn authorize<'a>(&'a self, request: &'a Parts) -> Authorizing<'a>;
}

/// The answer of an [`Authorize`], which may take time.
pub type Authorizing<'a> = Pin<Box<dyn Future<Output = Permissions> + Send + 'a>>;

impl<F> Authorize for F
where
    F: Fn(&Parts) -> Permissions + Send + Sync + 'static,
{
    fn authorize<'a>(&'a self, request: &'a Parts) -> Authorizing<'a> {
        let permissions = self(request);
        Box::pin(std::future::ready(permissions))
    }
}

/// The rights of a request. By default it has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    publish: Option<Selectors>,
    subscribe: Option<Rights>,
    payload: Option<Value>,
}

impl Permissions {
    /// Nothing at all.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// The request may publish updates all of whose topics these select.
    #[must_use]
    pub fn publish(mut self, topics: Selectors) -> Self {
        self.publish = Some(topics);
        self
    }

    /// It may subscribe, and reads what these rights allow.
    #[must_use]
    pub fn subscribe(mut self, rights: Rights) -> Self {
        self.subscribe = Some(rights);
        self
    }

    /// JSON that is shown with this subscriber's entries in the list of subscriptions and in
    /// presence events, for example a name. It is left out if it is nested more than 120 levels deep.
    #[must_use]
    pub fn payload(mut self, payload: Value) -> Self {
        self.payload = Some(payload);
        self
    }

    pub(crate) fn may_subscribe(&self) -> bool {
        self.subscribe.is_some()
    }
}

impl From<Permissions> for Grants {
    fn from(permissions: Permissions) -> Self {
        Self {
            publish: permissions.publish,
            subscribe: permissions.subscribe.unwrap_or_default(),
            payloads: permissions
                .payload
                .map_or(Payloads::None, |payload| Payloads::Same((&payload).into())),
            ..Self::default()
        }
    }
}

/// The hub's authorizer, if it was built with one.
#[derive(Clone, Default)]
pub(crate) struct Authorizer(Option<Arc<dyn Authorize>>);

impl Authorizer {
    pub(crate) fn new(authorize: impl Authorize) -> Self {
        Self(Some(Arc::new(authorize)))
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.is_some()
    }

    /// What a request may do. `None` if the callback did not answer in time, or there is none.
    pub(crate) async fn ask(&self, request: &Parts) -> Option<Permissions> {
        let callback = self.0.as_ref()?;
        tokio::time::timeout(AUTHORIZE_TIME, callback.authorize(request)).await.ok()
    }
}

impl fmt::Debug for Authorizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Authorizer").field(&self.0.is_some()).finish()
    }
}
