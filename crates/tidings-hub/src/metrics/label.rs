//! The labels of metrics, and their values.

use tidings_core::stream::notice::GapCause;

use crate::admission::TurnedAway;
use crate::budget::Exhausted;

/// A label, as the enum of its values.
pub(crate) trait Label: Copy + 'static {
    /// Every value, in the order of the enum.
    const ALL: &[Self];

    /// Where the value stands in `ALL`.
    fn index(self) -> usize;

    /// The label's name.
    #[cfg(feature = "metrics")]
    const NAME: &str;

    /// The value as queries and the log write it: lower case, words joined by `_`.
    fn text(self) -> &'static str;
}

macro_rules! label {
    (
        $(#[$doc:meta])*
        $label:ident: $name:literal { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)* }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $label { $($(#[$variant_doc])* $variant,)* }

        impl Label for $label {
            const ALL: &[Self] = &[$(Self::$variant,)*];

            fn index(self) -> usize {
                self as usize
            }

            #[cfg(feature = "metrics")]
            const NAME: &str = $name;

            fn text(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }
    };
}

label! {
    /// How a stream reaches its subscriber.
    Lane: "lane" {
        /// The socket itself.
        Direct = "direct",
        /// The body of a response that an HTTP library writes.
        Body = "body",
    }
}

label! {
    /// Why a stream ended.
    EndReason: "reason" {
        /// The client closed it.
        Client = "client",
        /// The connection broke while something was written.
        Broken = "broken",
        /// The client took nothing for too long.
        Stalled = "stalled",
        /// The rest of a partly written event was no longer there.
        Lost = "lost",
        /// The journal could not be read.
        Unreadable = "unreadable",
        /// The hub is draining.
        Drain = "drain",
        /// The subscriber's token expired.
        Expired = "expired",
        /// The subscriber's token was revoked.
        Revoked = "revoked",
        /// The hub could not learn in time whether the subscriber's token was revoked.
        Unconfirmed = "unconfirmed",
        /// The stream reached the maximum age of streams.
        Age = "age",
        /// Its templates and URL patterns took too long to be tried for an update.
        Patterns = "patterns",
        /// It would have been one feed too many.
        Feeds = "feeds",
    }
}

label! {
    /// Why a publish was refused.
    RefusalReason: "reason" {
        /// The request was wrong.
        Invalid = "invalid",
        /// The publisher may not publish this.
        Forbidden = "forbidden",
        /// The body was too large.
        TooLarge = "too_large",
        /// The publisher's address published too often.
        Rate = "rate",
        /// The hub or its journal could not keep up, or the hub is draining.
        Unavailable = "unavailable",
    }
}

impl Label for GapCause {
    const ALL: &[Self] = &Self::ALL;

    fn index(self) -> usize {
        self as usize
    }

    #[cfg(feature = "metrics")]
    const NAME: &str = "cause";

    fn text(self) -> &'static str {
        match self {
            Self::Resume => "resume",
            Self::Slow => "slow",
            Self::Reset => "reset",
        }
    }
}

label! {
    /// Why a stream was told to reconnect.
    Limit: "limit" {
        /// The hub has as many streams as it may.
        Streams = "streams",
        /// The address has as many streams as it may.
        Address = "address",
        /// Too many within a second.
        Rate = "rate",
        /// There is no room for the stream's selectors.
        Selectors = "selectors",
        /// There is no room for the stream's subscriptions in the list of them.
        Presence = "presence",
    }
}

label! {
    /// Which bound on the bytes of requests was reached.
    Bound: "bound" {
        /// The bound of one address.
        Address = "address",
        /// The bound of all addresses together.
        Total = "total",
        /// The bound of the lists of subscriptions that hubs exchange.
        Lists = "lists",
    }
}

impl Limit {
    /// The value of the label, for the log.
    pub(crate) fn of(why: TurnedAway) -> &'static str {
        Self::from(why).text()
    }
}

impl From<TurnedAway> for Limit {
    fn from(why: TurnedAway) -> Self {
        match why {
            TurnedAway::Streams => Self::Streams,
            TurnedAway::Address => Self::Address,
            TurnedAway::Rate => Self::Rate,
            TurnedAway::Selectors => Self::Selectors,
            TurnedAway::Presence => Self::Presence,
        }
    }
}

impl From<Exhausted> for Bound {
    fn from(exhausted: Exhausted) -> Self {
        match exhausted {
            Exhausted::Address { .. } => Self::Address,
            Exhausted::All { .. } => Self::Total,
        }
    }
}
