//! The servers: the stream of updates, the stream of revocations, and what each hub's connection
//! lets through.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tidings_core::journal::Retention;
use tidings_core::model::{Epoch, HubId, Position, RevokedToken, Update};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::message::{Contents, Fate, Message, Publish};
use super::options::StreamOptions;
use super::other_hubs::OtherHubs;
use super::revoked_position::RevokedPosition;

/// How long the servers remember a message's id, so that a repeated message is stored once.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(120);
/// The messages of revocations that the stream holds. See `tidings_core::limits::REVOKED_MAX`.
const REVOKED_MAX: usize = tidings_core::limits::REVOKED_MAX;

/// The state of the servers.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) random: fastrand::Rng,
    /// The time of the stream's clock when the stream was created.
    pub(super) begins_at: SystemTime,
    age: Age,
    pub(super) retention: Retention,
    pub(super) message_bytes_max: usize,
    epoch: Epoch,
    messages: BTreeMap<Position, Arc<Message>>,
    first: Position,
    last: Position,
    bytes: u64,
    newest_time: SystemTime,
    ids: BTreeMap<u128, (Position, Duration)>,
    subjects: BTreeMap<String, Position>,
    ever: Vec<(Arc<Message>, Fate)>,
    /// Publishes are refused for good.
    pub(super) refusal: Option<String>,
    pub(super) revocations: RevocationStream,
    pub(super) links: Vec<Link>,
}

/// How long the stream exists. It outlives the runtimes of its journals, and their clocks have
/// nothing in common.
#[derive(Debug, Default)]
struct Age {
    /// In earlier runtimes.
    before: Duration,
    /// When the present runtime began to use the stream.
    since: Option<Instant>,
}

impl Age {
    fn begin(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    fn get(&self) -> Duration {
        self.before + self.since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// The stream of revocations: one message for each token.
#[derive(Debug)]
pub(super) struct RevocationStream {
    /// Identifies the stream among others of its name.
    pub(super) created: u64,
    pub(super) last: u64,
    /// Grows with each message, and is never used twice: it stands for the time of the newest.
    pub(super) newest: u64,
    next_newest: u64,
    tokens: BTreeMap<u64, RevokedToken>,
}

/// A hub's connection to the servers.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) is_reachable: bool,
    /// The time until a request arrives.
    pub(super) latency: Duration,
    /// The time until an answer arrives.
    pub(super) answer_delay: Duration,
    /// So many acknowledgements of publishes are lost.
    pub(super) lost_acks: u64,
    /// The consumer delivers messages up to here. `None` for all.
    pub(super) shown: Option<Position>,
    /// Reads are answered by a server that has no more than the consumer delivers.
    pub(super) reads_lag: bool,
    /// Identifies the consumer. A consumer with another number has ended.
    pub(super) consumer: u64,
    /// Something changed for the consumer or the connection.
    pub(super) changed: Arc<Notify>,
    /// Requests that arrived.
    pub(super) requests: u64,
    /// Told of a revocation.
    pub(super) revoked: Arc<Notify>,
    /// The hub, and whether it hears the others.
    hub: Option<(Arc<OtherHubs>, bool)>,
}

impl Link {
    fn new() -> Self {
        Self {
            is_reachable: true,
            latency: Duration::ZERO,
            answer_delay: Duration::ZERO,
            lost_acks: 0,
            shown: None,
            reads_lag: false,
            consumer: 0,
            changed: Arc::default(),
            requests: 0,
            revoked: Arc::default(),
            hub: None,
        }
    }
}

/// The stream's state, as one of its servers reports it.
#[derive(Clone, Copy, Debug)]
pub(super) struct StreamReport {
    pub(super) epoch: Epoch,
    pub(super) first: Position,
    pub(super) last: Position,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) message_bytes_max: usize,
    pub(super) retention: Retention,
}

/// A publish of one message or of several, which are stored together.
#[derive(Clone, Debug)]
pub(super) struct Published {
    pub(super) updates: Vec<Option<Update>>,
    pub(super) nonce: u128,
    pub(super) name: PublishName,
}

/// What makes a publish unique.
#[derive(Clone, Debug)]
pub(super) enum PublishName {
    /// The message's id.
    Id,
    /// The subject of the first message. Its newest message must have the position `expected`, or
    /// must not exist if that is the start.
    Subject { subject: String, expected: Position, publish: Publish },
    /// Nothing: another application's message.
    None,
}

/// Why a publish was not stored.
#[derive(Debug)]
pub(super) enum NotStored {
    /// The subject has another newest message.
    Occupied,
    /// The message is larger than the stream allows.
    TooLarge,
    /// A retry would be refused too.
    Refused(String),
}

impl Server {
    pub(super) fn new(options: &StreamOptions) -> Self {
        let mut random = fastrand::Rng::with_seed(options.seed);
        let epoch = Epoch::new(random.u32(..));
        let revocations = RevocationStream {
            created: random.u64(..),
            last: 0,
            newest: 0,
            next_newest: 1,
            tokens: BTreeMap::new(),
        };
        Self {
            random,
            begins_at: options.begins_at,
            age: Age::default(),
            retention: options.retention,
            message_bytes_max: options.message_bytes_max,
            epoch,
            messages: BTreeMap::new(),
            first: Position::START.next(),
            last: Position::START,
            bytes: 0,
            newest_time: options.begins_at,
            ids: BTreeMap::new(),
            subjects: BTreeMap::new(),
            ever: Vec::new(),
            refusal: None,
            revocations,
            links: Vec::new(),
        }
    }

    pub(super) fn nonce(&mut self) -> u128 {
        self.random.u128(..)
    }

    /// The time by the stream's clock.
    pub(super) fn now(&self) -> SystemTime {
        self.begins_at + self.age.get()
    }

    /// The stream's clock stands still until the stream is used again, which may be in another runtime.
    pub(super) fn pause(&mut self) {
        self.age = Age { before: self.age.get(), since: None };
    }

    pub(super) fn connect(&mut self) -> usize {
        self.age.begin();
        self.links.push(Link::new());
        self.links.len() - 1
    }

    /// Notes the hub that uses a connection.
    pub(super) fn open(&mut self, node: usize, hub: Arc<OtherHubs>) {
        self.links[node].hub = Some((hub, false));
    }

    /// From now on the hub hears the others.
    pub(super) fn joined(&mut self, node: usize) {
        if let Some((_, hears)) = &mut self.links[node].hub {
            *hears = true;
        }
    }

    /// The process of the hub has ended.
    pub(super) fn close(&mut self, node: usize) {
        self.links[node].hub = None;
    }

    /// The hubs that a message of this one reaches.
    pub(super) fn hubs_of(&self, node: usize) -> Vec<Arc<OtherHubs>> {
        if !self.links[node].is_reachable {
            return Vec::new();
        }
        let others = self.links.iter().enumerate().filter(|(other, _)| *other != node);
        let connected = others.map(|(_, link)| link).filter(|link| link.is_reachable);
        let hubs = connected.filter_map(|link| link.hub.as_ref());
        hubs.filter(|(_, hears)| *hears).map(|(hub, _)| Arc::clone(hub)).collect()
    }

    pub(super) fn report(&mut self) -> StreamReport {
        self.expire();
        StreamReport {
            epoch: self.epoch,
            first: self.first,
            last: self.last,
            messages: self.messages.len() as u64,
            bytes: self.bytes,
            message_bytes_max: self.message_bytes_max,
            retention: self.retention,
        }
    }

    pub(super) fn fate_of(&mut self, id: HubId) -> Option<Fate> {
        self.expire();
        let at = |message: &Message| message.epoch == id.epoch && message.position == id.position;
        let mut ever = self.ever.iter().rev().filter(|(message, _)| at(message));
        ever.find(|(message, _)| message.hub_id() == Some(id)).map(|(_, fate)| *fate)
    }

    pub(super) fn contents(&mut self) -> Contents {
        self.expire();
        Contents { epoch: self.epoch, first: self.first, last: self.last, ever: self.ever.clone() }
    }

    /// Stores a publish, and returns the position of its last message.
    pub(super) fn publish(&mut self, published: Published) -> Result<Position, NotStored> {
        self.age.begin();
        self.expire();
        if let Some(reason) = &self.refusal {
            return Err(NotStored::Refused(reason.clone()));
        }
        let max = self.message_bytes_max as u64;
        let too_large = |update: &Update| super::message::message_bytes(update) > max;
        if published.updates.iter().flatten().any(too_large) {
            return Err(NotStored::TooLarge);
        }
        let now = self.age.get();
        if matches!(published.name, PublishName::Id) {
            self.ids.retain(|_, (_, since)| now.saturating_sub(*since) < DUPLICATE_WINDOW);
            if let Some((position, _)) = self.ids.get(&published.nonce) {
                return Ok(*position);
            }
        }
        if let PublishName::Subject { subject, expected, .. } = &published.name {
            let newest = self.last_of(subject).map_or(Position::START, |message| message.position);
            if newest != *expected {
                return Err(NotStored::Occupied);
            }
        }
        for (index, update) in published.updates.into_iter().enumerate() {
            let name = if index == 0 { published.name.clone() } else { PublishName::None };
            let (subject, publish) = match name {
                PublishName::Subject { subject, publish, .. } => (Some(subject), Some(publish)),
                PublishName::Id | PublishName::None => (None, None),
            };
            self.last = self.last.next();
            self.newest_time = self.now().max(self.newest_time);
            let message = Arc::new(Message {
                epoch: self.epoch,
                position: self.last,
                time: self.newest_time,
                update,
                number: self.ever.len(),
                nonce: published.nonce,
                subject,
                publish,
            });
            if let Some(subject) = &message.subject {
                self.subjects.insert(subject.clone(), self.last);
            }
            if matches!(published.name, PublishName::Id) {
                self.ids.insert(published.nonce, (self.last, now));
            }
            self.bytes += message.bytes();
            self.ever.push((Arc::clone(&message), Fate::Held));
            self.messages.insert(self.last, message);
        }
        let last = self.last;
        self.enforce();
        self.tell();
        Ok(last)
    }

    /// Wakes all consumers.
    fn tell(&self) {
        for link in &self.links {
            link.changed.notify_one();
        }
    }

    /// Ends all consumers: each hub creates a new one.
    fn end_consumers(&mut self) {
        for link in &mut self.links {
            link.consumer += 1;
        }
        self.tell();
    }

    fn remove_at(&mut self, position: Position, fate: Fate) {
        if let Some(message) = self.messages.remove(&position) {
            self.bytes -= message.bytes();
            self.ever[message.number].1 = fate;
        }
        self.first = self.messages.keys().next().copied().unwrap_or(self.last.next());
    }

    fn remove_oldest(&mut self) {
        if let Some((position, _)) = self.messages.first_key_value() {
            self.remove_at(*position, Fate::Trimmed);
        }
    }

    fn enforce(&mut self) {
        let Retention { count, bytes, .. } = self.retention;
        while self.messages.len() as u64 > count
            || (self.bytes > bytes && !self.messages.is_empty())
        {
            self.remove_oldest();
        }
        self.expire();
    }

    /// Removes messages that are too old.
    fn expire(&mut self) {
        let (now, age) = (self.now(), self.retention.age);
        let is_old =
            |message: &Arc<Message>| message.time.checked_add(age).is_some_and(|end| end <= now);
        while self.messages.first_key_value().is_some_and(|(_, message)| is_old(message)) {
            self.remove_oldest();
        }
    }

    /// Changes the stream's bounds.
    pub(super) fn set_retention(&mut self, retention: Retention) {
        self.retention = retention;
        self.enforce();
    }

    /// Removes all messages up to `through`.
    pub(super) fn purge(&mut self, through: Position) {
        while self.messages.first_key_value().is_some_and(|(position, _)| *position <= through) {
            self.remove_oldest();
        }
    }

    /// Removes one message. Returns whether the stream had it.
    pub(super) fn remove(&mut self, position: Position) -> bool {
        let is_there = self.messages.contains_key(&position);
        self.remove_at(position, Fate::Removed);
        is_there
    }

    /// Loses the newest messages, and assigns their positions again.
    pub(super) fn lose_newest(&mut self, positions: u64) {
        let last = Position::new(self.last.number().saturating_sub(positions));
        let lost: Vec<_> = self.messages.range(last.next()..).map(|(at, _)| *at).collect();
        self.last = last;
        for position in lost {
            self.remove_at(position, Fate::Lost);
        }
        self.first = self.messages.keys().next().copied().unwrap_or(self.last.next());
        self.ids.retain(|_, (position, _)| *position <= last);
        let messages = &self.messages;
        self.subjects.retain(|_, position| messages.contains_key(position));
        for link in &mut self.links {
            link.shown = link.shown.map(|shown| shown.min(last));
        }
        self.end_consumers();
    }

    /// Deletes the stream and creates a new one.
    pub(super) fn recreate(&mut self) {
        let positions: Vec<_> = self.messages.keys().copied().collect();
        for position in positions {
            self.remove_at(position, Fate::Deleted);
        }
        let before = self.epoch;
        while self.epoch == before {
            self.epoch = Epoch::new(self.random.u32(..));
        }
        self.first = Position::START.next();
        self.last = Position::START;
        self.ids.clear();
        self.subjects.clear();
        for link in &mut self.links {
            link.shown = link.shown.map(|_| Position::START);
        }
        self.end_consumers();
    }

    /// The message at a position.
    pub(super) fn at(&mut self, position: Position) -> Option<Arc<Message>> {
        self.expire();
        self.messages.get(&position).cloned()
    }

    /// The newest message of a subject.
    pub(super) fn last_of(&self, subject: &str) -> Option<Arc<Message>> {
        self.messages.get(self.subjects.get(subject)?).cloned()
    }

    /// The next message after `after`.
    pub(super) fn next(&mut self, after: Position) -> Option<Arc<Message>> {
        self.expire();
        self.messages.range(after.next()..).next().map(|(_, message)| Arc::clone(message))
    }

    /// The next message that the consumer of a hub delivers.
    pub(super) fn deliver(&mut self, node: usize, after: Position) -> Option<Arc<Message>> {
        let shown = self.links[node].shown;
        self.next(after).filter(|next| shown.is_none_or(|shown| next.position <= shown))
    }

    /// The messages after `after`, and whether the server that answers this hub has no more.
    pub(super) fn range(
        &mut self,
        node: usize,
        after: Position,
        count: usize,
        bytes: u64,
    ) -> (Vec<Arc<Message>>, bool) {
        self.expire();
        let link = &self.links[node];
        let until = link.shown.filter(|_| link.reads_lag).unwrap_or(Position::MAX);
        let mut found = Vec::new();
        let mut size = 0;
        if after >= until {
            return (found, true);
        }
        for (_, message) in self.messages.range(after.next()..=until) {
            if found.len() == count || size >= bytes {
                return (found, false);
            }
            size += message.bytes();
            found.push(Arc::clone(message));
        }
        (found, true)
    }

    /// The first message of `time` or later.
    pub(super) fn since(&mut self, time: SystemTime) -> Option<Arc<Message>> {
        self.expire();
        self.messages.values().find(|message| message.time >= time).cloned()
    }

    /// Lets the consumer of a hub deliver messages up to `shown`, or all of them.
    pub(super) fn let_show(&mut self, node: usize, shown: Option<Position>) {
        self.links[node].shown = shown;
        self.links[node].changed.notify_one();
    }

    pub(super) fn first(&mut self) -> Position {
        self.expire();
        self.first
    }

    pub(super) fn last(&self) -> Position {
        self.last
    }

    /// Stores a revocation in place of an earlier one of the same token.
    pub(super) fn revoke(&mut self, token: RevokedToken) -> RevokedPosition {
        let stream = &mut self.revocations;
        stream.tokens.retain(|_, known| known.name != token.name);
        stream.last += 1;
        stream.newest = stream.next_newest;
        stream.next_newest += 1;
        stream.tokens.insert(stream.last, token);
        if stream.tokens.len() > REVOKED_MAX {
            stream.tokens.pop_first();
        }
        for link in &self.links {
            link.revoked.notify_one();
        }
        stream.position()
    }
}

impl RevocationStream {
    pub(super) fn position(&self) -> RevokedPosition {
        RevokedPosition { created: self.created, through: self.last, newest: self.newest }
    }

    /// Removes tokens that expired some seconds before `now`.
    pub(super) fn expire(&mut self, now: SystemTime) {
        let end = |until: SystemTime| until.checked_add(Duration::from_secs(2));
        let lasts = |token: &RevokedToken| token.until.and_then(end).is_none_or(|end| end > now);
        self.tokens.retain(|_, token| lasts(token));
    }

    /// The position of a token's message, which the stream has.
    pub(super) fn position_of(&self, name: &str) -> Option<RevokedPosition> {
        let (at, _) = self.tokens.iter().find(|(_, token)| token.name == name)?;
        Some(RevokedPosition { through: *at, ..self.position() })
    }

    /// All tokens, in the order of their messages.
    pub(super) fn tokens(&self) -> Vec<RevokedToken> {
        self.tokens.values().cloned().collect()
    }

    /// The tokens of the messages after `after`.
    pub(super) fn after(&self, after: u64) -> Vec<RevokedToken> {
        self.tokens.range(after + 1..).map(|(_, token)| token.clone()).collect()
    }

    pub(super) fn count(&self) -> u64 {
        self.tokens.len() as u64
    }

    /// Whether it holds the token's revocation for as long as this one needs it.
    pub(super) fn stores(&self, token: &RevokedToken) -> bool {
        let lasts = |there: &RevokedToken| match (there.until, token.until) {
            (None, _) => true,
            (Some(there), Some(wanted)) => there >= wanted,
            (Some(_), None) => false,
        };
        self.tokens.values().any(|there| there.name == token.name && lasts(there))
    }

    /// Loses the newest messages, and assigns their positions again.
    pub(super) fn lose_newest(&mut self, count: u64) {
        self.last = self.last.saturating_sub(count);
        self.tokens.split_off(&(self.last + 1));
        self.newest = self.next_newest;
        self.next_newest += 1;
    }

    /// Starts again without messages.
    pub(super) fn recreate(&mut self) {
        self.created = self.created.wrapping_add(1);
        self.last = 0;
        self.newest = 0;
        self.tokens.clear();
    }
}
