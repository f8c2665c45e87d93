//! Authorisation by the service that the hub lives in, instead of tokens.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use http::request::Parts;
use serde_json::Value;
use tidings_core::model::{Rights, Selectors};

use super::Grants;
use super::payloads::Payloads;
use crate::limits::AUTHORIZE_TIME;

/// Says what a request may do with the hub.
///
/// Any closure `Fn(&Parts) -> Permissions` is one. It sees the request's head, and whatever a
/// layer in front of [`Hub::router`](crate::Hub::router) has put into its extensions, as who
/// is logged in. Where the answer has to be waited for, as from a database, implement the trait.
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
    /// What the request with this head may do. A request whose answer takes longer than ten
    /// seconds is answered with 503, or told to come back; one whose answer panics is dropped.
    /// Nothing is remembered: each request is asked about anew, an open stream never again.
    /// What it may do takes memory for as long as the request or its stream does, and does not
    /// count in [`Limits::selector_bytes`](crate::Limits::selector_bytes).
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

/// What a request may do: nothing that was not named.
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

    /// It may publish, if all of an update's topics are among these.
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

    /// What those who may see who is subscribed are told of this subscriber, as JSON: its name,
    /// say.
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
                .map_or(Payloads::None, |payload| Payloads::Same(payload.into())),
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
