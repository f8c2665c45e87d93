//! The revoked tokens of all hubs on the journal, and how recently this hub has read them.
//!
//! A hub that is cut off does not learn of new revocations. So each hub reports when it last read
//! the stream to its end, and counts as uninformed after `NATS_REVOKED_TIME`. A revocation is
//! complete once every other hub has read it, or has been silent for long enough to count as
//! uninformed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use async_nats::Client;
use parking_lot::Mutex;
use tidings_core::model::RevokedToken;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::condition::Condition;
use crate::limits::{LOG_INTERVAL, NATS_REVOKED_TIME};
use crate::losses::{Losses, StreamContent};
use crate::options::NatsOptions;
use crate::read::Reader;
use crate::revocation_stream::{News, ReadPosition, ensure, name, news};
use crate::stream::Unfit;

/// The revocations read from the stream.
#[derive(Debug)]
pub(crate) struct Revocations {
    reader: Reader,
    known: Mutex<Known>,
    losses: Losses,
    /// Notified each time the stream was read to its end.
    renewed: Notify,
    /// Makes this hub read the stream at once.
    wanted: Notify,
    /// How often the revocations were unknown for too long.
    lapses: AtomicU64,
}

#[derive(Debug)]
struct Known {
    /// How far this hub has read the stream and passed its revocations on.
    position: ReadPosition,
    /// The revocations that the stream had at the start.
    loaded: Vec<RevokedToken>,
    /// All revocations up to this moment were passed on.
    as_of: Option<Moment>,
    /// Why the last read failed.
    failure: Option<String>,
    /// Set while the log reports the revocations as unknown.
    lapse: Option<Lapse>,
}

/// The revocations have been unknown for too long.
#[derive(Clone, Copy, Debug)]
struct Lapse {
    since: Instant,
    told: Instant,
}

impl Known {
    fn is_current(&self) -> bool {
        self.as_of.is_some_and(|as_of| as_of.is_within(NATS_REVOKED_TIME))
    }
}

/// A moment by two clocks: one stops while the machine sleeps, and the other one may be set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    at: Instant,
    by_clock: SystemTime,
}

impl Moment {
    pub(crate) fn now() -> Self {
        Self { at: Instant::now(), by_clock: SystemTime::now() }
    }

    fn is_within(&self, time: Duration) -> bool {
        self.at.elapsed() < time && self.by_clock.elapsed().unwrap_or_default() < time
    }
}

impl Revocations {
    /// Reads the stream.
    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// The stream's losses that are not restored yet.
    pub(crate) fn losses(&self) -> &Losses {
        &self.losses
    }

    /// How far this hub has read the stream and passed its revocations on.
    pub(crate) fn position(&self) -> ReadPosition {
        self.known.lock().position
    }

    /// The tokens that were revoked before this hub started.
    pub(crate) fn loaded(&self) -> Vec<RevokedToken> {
        self.known.lock().loaded.clone()
    }

    /// The number of messages that are no revocations.
    pub(crate) fn strangers(&self) -> u64 {
        self.reader.strangers().count()
    }

    /// Whether this hub knows all revocations that are older than `NATS_REVOKED_TIME`.
    pub(crate) fn are_known(&self) -> bool {
        self.known.lock().is_current()
    }

    /// Why the revocations are unknown, if they are.
    pub(crate) fn trouble(&self) -> Option<String> {
        let known = self.known.lock();
        let reason = || match &known.failure {
            Some(failure) => failure.clone(),
            None => "they are being read".to_owned(),
        };
        (!known.is_current()).then(reason)
    }

    /// How often the revocations were unknown.
    pub(crate) fn lapses(&self) -> u64 {
        self.lapses.load(Ordering::Relaxed)
    }

    /// Makes this hub read the stream now instead of at the next interval.
    pub(crate) fn read_now(&self) {
        self.wanted.notify_one();
    }

    /// Waits until this hub is to read the stream at once.
    pub(crate) async fn until_wanted(&self) {
        self.wanted.notified().await;
    }

    /// Notes that the stream was read up to `position`, as it was at this moment, and passed on.
    pub(crate) fn renew(&self, position: ReadPosition, as_of: Moment) {
        let lapse = {
            let mut known = self.known.lock();
            known.position = position;
            known.as_of = Some(as_of);
            known.failure = None;
            known.lapse.take()
        };
        if let Some(lapse) = lapse {
            let seconds = lapse.since.elapsed().as_secs_f64();
            tracing::info!(after = format!("{seconds:.1} s"), "revocations are known again");
        }
        self.renewed.notify_waiters();
    }

    /// Notes a failed read of the stream.
    pub(crate) fn fail(&self, reason: &str) {
        let mut known = self.known.lock();
        known.failure = Some(reason.to_owned());
        if known.is_current() {
            return;
        }
        let now = Instant::now();
        match &mut known.lapse {
            Some(lapse) if lapse.told.elapsed() < LOG_INTERVAL => {}
            Some(lapse) => {
                lapse.told = now;
                tracing::warn!(reason, "revocations of other hubs are still unknown");
            }
            None => {
                known.lapse = Some(Lapse { since: now, told: now });
                self.lapses.fetch_add(1, Ordering::Relaxed);
                tracing::error!(
                    reason,
                    "revocations of other hubs are unknown: tokens are refused; streams with a token \
                     wait at the next private update, and end if that takes too long"
                );
            }
        }
    }

    /// Waits until the revocations are known.
    pub(crate) async fn until_known(&self) {
        loop {
            let renewed = self.renewed.notified();
            if self.are_known() {
                return;
            }
            self.read_now();
            renewed.await;
        }
    }
}

/// Creates the stream of revocations if it is missing, and reads it.
pub(crate) async fn prepare(
    client: &Client,
    condition: &Condition,
    options: &NatsOptions,
) -> Result<Revocations, Unfit> {
    let reader = Reader::new(
        client.clone(),
        name(options),
        "messages of the stream that are no revocations",
    );
    let info = ensure(client, condition, options).await?;
    let News { position, tokens } = news(&reader, ReadPosition::start_of(&info), &info).await?;
    let known = Known { position, loaded: tokens, as_of: None, failure: None, lapse: None };
    Ok(Revocations {
        reader,
        known: Mutex::new(known),
        losses: Losses::since(StreamContent::of(&info)),
        renewed: Notify::new(),
        wanted: Notify::new(),
        lapses: AtomicU64::new(0),
    })
}
