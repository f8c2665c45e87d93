//! The journal: the ordered store of all updates.
//!
//! It alone assigns positions. Shards follow its *tail*, which shows an update only once it is as
//! safe as its publisher was promised. So no subscriber receives an update that a crash could still
//! remove.
//!
//! # Writing another journal
//!
//! A hub takes any [`Journal`], which is the sum of four small traits. You implement [`Log`] and
//! [`History`]. [`RevokedTokens`] and [`Health`] have defaults, for a journal that ends with the
//! process and cannot fail. A journal that several hubs share also has [`Nodes`].
//!
//! What each method must promise:
//!
//! | method | promise |
//! |---|---|
//! | [`Log::append`] | appends all updates or none; the future ends when they are safe; appends nothing under a key that is remembered |
//! | [`Log::update_bytes_max`] | an update with so many bytes can be stored; by default there is no such bound |
//! | [`Log::tail`] | never waits; shows no update earlier than `append` promised; returns [`Tail::Reset`] for an id of another epoch |
//! | [`Log::follow`] | updates that a follower has not taken are not dropped |
//! | [`Log::edges`] | never waits; `first` and `last` are what a read can return now; `last_loss` grows with each update that is dropped, whatever its position |
//! | [`Log::generation`] | grows when positions that were shown may name other updates, though the epoch is the same; by default it never grows |
//! | [`History::find`] | finds a hub's id only if its check is right, and a publisher's id only of an update that the rights let read |
//! | [`History::before`] | every kept update of that time or later is after the place |
//! | [`History::missed`] | never `None` if an update that such a subscriber would have received was dropped; its number is not lower than that of the last such drop |
//! | [`History::read_at_hand`] | never waits; returns what `read` would return, or `None`, which is the default |
//! | [`History::read`] | returns all such updates up to `through`, in order, and the losses after `after`, as `missed` does; makes progress each time |
//! | [`History::read_last`] | of these updates, the newest about each topic |
//! | [`RevokedTokens::revoke`] | the future ends when the revocation is as safe as an update; by default at once |
//! | [`RevokedTokens::revoked`] | returns these revocations after a restart, in their order; by default none |
//! | [`Nodes::join`] | from now on `node` answers the other hubs, and receives the tokens that they revoke |
//! | [`Nodes::know_revocations`] | `false` if a revocation of another hub may be missing, except those of the last moment |
//! | [`Nodes::until_known`] | the future ends when `know_revocations` is true |
//! | [`Nodes::own_name`], [`Nodes::others`] | names of this hub and of those that were heard of recently, for operators; the defaults name none |
//! | [`Nodes::ask`] | returns the answers of all hubs that are connected, in memory that `room` accounts for |
//!
//! The parts that all journals share are here too. [`Batch::for_subscriber`] selects the updates of a
//! subscriber, [`followers`] notifies the followers of the tail, [`dropped`] records deleted updates,
//! [`once`] remembers idempotency keys, and [`recent`] keeps the newest updates of a slower storage in
//! memory.
//!
//! This journal keeps every update in a vector, permanently:
//!
//! ```
//! use std::sync::{Arc, Mutex};
//! use std::time::SystemTime;
//!
//! use tidings_core::journal::followers::Followers;
//! use tidings_core::journal::{
//!     AppendError, Appended, Batch, BatchMax, Before, Edges, Follower, Found, Health, History,
//!     IdempotencyKey, Journal, Log, Missed, Pending, ReadError, RevokedTokens, Room, Tail,
//! };
//! use tidings_core::model::{Epoch, HubId, Position, Record, Rights, Selectors, Topic, Update};
//!
//! #[derive(Debug)]
//! struct VecJournal {
//!     epoch: Epoch,
//!     /// The clock, which a test can set.
//!     now: fn() -> SystemTime,
//!     state: Mutex<State>,
//! }
//!
//! #[derive(Debug, Default)]
//! struct State {
//!     /// The update at position `p` is at index `p - 1`.
//!     records: Vec<Arc<Record>>,
//!     keys: Vec<(IdempotencyKey, Appended)>,
//!     followers: Followers,
//! }
//!
//! impl VecJournal {
//!     fn new(now: fn() -> SystemTime) -> Self {
//!         Self { epoch: Epoch::random(), now, state: Mutex::default() }
//!     }
//!
//!     fn last(&self, state: &State) -> HubId {
//!         state.records.last().map_or(HubId::start(self.epoch), |record| record.hub_id())
//!     }
//! }
//!
//! /// An answer without waiting.
//! fn ready<'a, T: Send + 'a>(answer: T) -> Pending<'a, T> {
//!     Box::pin(std::future::ready(answer))
//! }
//!
//! fn records_after(state: &State, after: Position) -> std::slice::Iter<'_, Arc<Record>> {
//!     let skipped = (after.number() as usize).min(state.records.len());
//!     state.records[skipped..].iter()
//! }
//!
//! impl Log for VecJournal {
//!     fn append(
//!         &self,
//!         updates: Vec<Update>,
//!         key: Option<IdempotencyKey>,
//!         _room: Room,
//!     ) -> Pending<'_, Result<Appended, AppendError>> {
//!         let mut state = self.state.lock().unwrap();
//!         if let Some(key) = &key {
//!             let same = |known: &IdempotencyKey| known.as_str() == key.as_str();
//!             if let Some((known, appended)) = state.keys.iter().find(|(known, _)| same(known)) {
//!                 return ready(if known == key {
//!                     Ok(Appended::repeated(appended.ids.clone()))
//!                 } else {
//!                     Err(AppendError::KeyReused)
//!                 });
//!             }
//!         }
//!         let mut ids = Vec::new();
//!         let mut bytes = 0;
//!         for update in updates {
//!             let position = self.last(&state).position.next();
//!             // Times never decrease, so that they can be searched.
//!             let newest = state.records.last().map_or(SystemTime::UNIX_EPOCH, |last| last.time);
//!             let record = Record::new(self.epoch, position, (self.now)().max(newest), update);
//!             ids.push(record.id().clone());
//!             bytes += record.memory_bytes();
//!             state.records.push(Arc::new(record));
//!         }
//!         let appended = Appended::new(ids);
//!         state.keys.extend(key.map(|key| (key, appended.clone())));
//!         // The updates are as safe as they will be, so the tail may show them.
//!         state.followers.tell(self.last(&state).position, bytes);
//!         ready(Ok(appended))
//!     }
//!
//!     fn follow(&self) -> Arc<Follower> {
//!         let mut state = self.state.lock().unwrap();
//!         let end = self.last(&state);
//!         state.followers.begin(end)
//!     }
//!
//!     fn tail(&self, id: HubId, count: usize, records: &mut Vec<Arc<Record>>) -> Tail {
//!         let state = self.state.lock().unwrap();
//!         if id.epoch != self.epoch {
//!             return Tail::Reset(self.last(&state));
//!         }
//!         let before = records.len();
//!         records.extend(records_after(&state, id.position).take(count).cloned());
//!         Tail::Through(records[before..].last().map_or(id.position, |record| record.position))
//!     }
//!
//!     fn edges(&self) -> Edges {
//!         let state = self.state.lock().unwrap();
//!         let mut edges = Edges::new(Position::START.next(), self.last(&state));
//!         edges.bytes = state.records.iter().map(|record| record.memory_bytes()).sum();
//!         edges
//!     }
//! }
//!
//! impl History for VecJournal {
//!     fn before(&self, time: SystemTime) -> Pending<'_, Result<Before, ReadError>> {
//!         let state = self.state.lock().unwrap();
//!         let earlier = state.records.partition_point(|record| record.time < time);
//!         let place = match earlier.checked_sub(1) {
//!             Some(index) => state.records[index].hub_id(),
//!             None => HubId::start(self.epoch),
//!         };
//!         ready(Ok(Before::new(place, place.position)))
//!     }
//!
//!     fn find<'a>(
//!         &'a self,
//!         id: &'a str,
//!         selectors: &'a Selectors,
//!         rights: &'a Rights,
//!     ) -> Pending<'a, Result<Option<Found>, ReadError>> {
//!         let state = self.state.lock().unwrap();
//!         if let Ok(id) = id.parse::<HubId>() {
//!             let is_here = id == HubId::start(self.epoch)
//!                 || records_after(&state, id.position.previous())
//!                     .next()
//!                     .is_some_and(|record| record.hub_id() == id);
//!             return ready(Ok(is_here.then_some(Found::certain(id))));
//!         }
//!         let readable = |record: &&Arc<Record>| {
//!             record.id().as_str() == id && rights.may_read(&record.update)
//!         };
//!         let all = || state.records.iter().filter(readable);
//!         let selected = all().find(|record| selectors.match_any(record.update.topics()));
//!         let found = match selected {
//!             Some(record) => Some(Found::certain(record.hub_id())),
//!             // Another subscriber's update with this id: perhaps another one was meant.
//!             None => all().next().map(|record| Found::uncertain(record.hub_id())),
//!         };
//!         ready(Ok(found))
//!     }
//!
//!     fn missed<'a>(
//!         &'a self,
//!         _after: Position,
//!         _selectors: &'a Selectors,
//!         _rights: &'a Rights,
//!     ) -> Pending<'a, Result<Option<Missed>, ReadError>> {
//!         // This journal drops nothing. Other journals ask `dropped::Dropped`.
//!         ready(Ok(None))
//!     }
//!
//!     fn read<'a>(
//!         &'a self,
//!         after: Position,
//!         until: Position,
//!         selectors: &'a Selectors,
//!         rights: &'a Rights,
//!     ) -> Pending<'a, Result<Batch, ReadError>> {
//!         let state = self.state.lock().unwrap();
//!         let records = records_after(&state, after);
//!         let max = BatchMax::default();
//!         ready(Ok(Batch::for_subscriber(records, until, max, selectors, rights)))
//!     }
//!
//!     fn read_last<'a>(
//!         &'a self,
//!         after: Position,
//!         until: Position,
//!         selectors: &'a Selectors,
//!         rights: &'a Rights,
//!     ) -> Pending<'a, Result<Batch, ReadError>> {
//!         let state = self.state.lock().unwrap();
//!         let is_replaced = |record: &Record, topic: &Topic| {
//!             let is_newer = |newer: &Arc<Record>| {
//!                 newer.update.is_private() == record.update.is_private()
//!                     && newer.update.topics().contains(topic)
//!             };
//!             records_after(&state, record.position).any(is_newer)
//!         };
//!         let is_last = |record: &Record| {
//!             let topics = record.update.topics();
//!             rights.may_read(&record.update)
//!                 && topics.iter().any(|one| selectors.matches(one) && !is_replaced(record, one))
//!         };
//!         let records = records_after(&state, after);
//!         ready(Ok(Batch::of(records, until, BatchMax::default(), is_last)))
//!     }
//! }
//!
//! impl RevokedTokens for VecJournal {}
//! impl Health for VecJournal {}
//! impl Journal for VecJournal {}
//!
//! # use tidings_sse::Event;
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let journal: Arc<dyn Journal> = Arc::new(VecJournal::new(SystemTime::now));
//! let follower = journal.follow();
//! let update = |data: &str| Update::new("a", Event::new(data));
//! let key = || Some(IdempotencyKey::new("k", b"1 and 2").unwrap());
//! let first = journal.append(vec![update("1"), update("2")], key(), Room::uncounted()).await?;
//! let again = journal.append(vec![update("1"), update("2")], key(), Room::uncounted()).await?;
//! assert!(again.repeated && again.ids == first.ids);
//!
//! let mut records = Vec::new();
//! assert_eq!(journal.tail(follower.begin(), 10, &mut records), Tail::Through(Position::new(2)));
//! let (all, public) = (Selectors::all(), Rights::Public);
//! let found = journal.find(first.ids[0].as_str(), &all, &public).await?.expect("it is kept");
//! let batch = journal.read(found.place.position, Position::MAX, &all, &public).await?;
//! assert_eq!(batch.records[0].update.event().data(), "2");
//! let last = journal.read_last(Position::START, Position::MAX, &all, &public).await?;
//! assert_eq!(last.records.len(), 1);
//! # Ok(())
//! # }
//! ```

mod batch;
pub mod dropped;
mod error;
mod follower;
pub mod followers;
mod found;
mod health;
mod history;
pub mod ids;
pub mod keys;
mod log;
mod loss;
mod memory;
mod nodes;
pub mod once;
pub mod recent;
mod retention;
mod revoked;
mod room;
pub mod same_id;
mod sum;

pub use batch::{Batch, BatchMax, Missed};
pub use error::{AppendError, ReadError};
pub use follower::{Follower, Tail};
pub use found::{Before, Edges, Found};
pub use health::Health;
pub use history::History;
pub use log::{Log, Pending};
pub use loss::{Loss, LossNumber};
pub use memory::{Clock, MemoryBounds, MemoryJournal};
pub use nodes::{Node, Nodes, OtherHub};
pub use once::{Appended, IdempotencyKey, InvalidIdempotencyKey};
pub use retention::{Keep, Retention, RetentionRule};
pub use revoked::RevokedTokens;
pub use room::{AnswerRoom, Grow, Room};
pub use sum::Journal;
