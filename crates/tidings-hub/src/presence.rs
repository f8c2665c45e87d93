//! Active subscriptions (Mercure): the list of them, their announcements, and how to end one.
//!
//! Shards report when subscriptions begin and end. The announcements, in both dialects, are
//! published through the journal in that order, each once.

mod address;
mod announce;
mod list;
mod members;
mod path;
mod subscription;
#[cfg(test)]
mod tests;

pub(crate) use address::SubscriberAddress;
pub(crate) use list::{ListPiece, piece};
pub(crate) use members::{ListStart, Membership, Presence, RevocationEffects};
pub(crate) use path::{SubscriptionPath, decoded};
pub(crate) use subscription::{ActiveSubscription, CONTEXT};
