//! One life of the hub: its start on what the one before left, its steps, and its end.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tidings_core::journal::Tail;
use tidings_core::model::{HubId, Record};
use tidings_disk::Promise;
use tidings_hub::{Access, Hub, Key, Limits, Tokens};

use super::{Running, World, tell};
use crate::disk::Crash;
use crate::invariants::{Invariant, Violation};
use crate::journals::jetstream::Fate;
use crate::network::Network;
use crate::script::{Act, Boot, Ending, Form};
use crate::setting::JournalKind;
use crate::shared_journal::SharedJournal;
use crate::storage::Storage;
use crate::token::SECRET;
use crate::truth::{Entry, Gone, number_of};
use crate::view::Kept as _;

impl World {
    /// Lives one boot from its start to its end.
    pub(super) fn live(&mut self, boot: &Boot, seed: u64) -> Result<(), Violation> {
        let seed = seed ^ ((self.boot as u64) << 48);
        let result = crate::run::run(seed, async || {
            tidings_hub::simulation::set_time(self.time);
            let begun = tokio::time::Instant::now();
            let lived = self.live_within(boot).await;
            if lived.is_err() {
                // The journal ends now, and its threads cannot end while the disk hangs.
                self.storage.heal();
            }
            self.time = tidings_hub::simulation::time();
            self.counts.time += begun.elapsed();
            self.storage.pause();
            // A journal that is dropped ends its threads: they belong to this run.
            self.forget_requests();
            lived
        });
        if let Storage::Disk(storage) = &self.storage
            && storage.disk.crashed().is_some()
        {
            storage.disk.restore();
        }
        result
    }

    async fn live_within(&mut self, boot: &Boot) -> Result<(), Violation> {
        if let Ending::InStart { after, is_power_cut } = boot.ending {
            let crash = if is_power_cut { Crash::PowerCut } else { Crash::Kill };
            self.crash_in_start(crash, after).await;
            return Ok(());
        }
        let mut running = self.start().await?;
        for (index, step) in boot.steps.iter().enumerate() {
            self.step = index;
            self.counts.steps += 1;
            let mut rng = Rng::with_seed(step.salt);
            self.act(&mut running, step.act, &mut rng).await?;
            self.pass(&mut rng).await;
            self.look(&mut running).await?;
        }
        self.step = boot.steps.len();
        match boot.ending {
            Ending::Kill { after } => self.crash(running, Crash::Kill, after).await,
            Ending::PowerCut { after } => self.crash(running, Crash::PowerCut, after).await,
            Ending::InStart { .. } => Ok(()),
            Ending::Drain { window_ms, spread_ms } => {
                self.rest(&mut running).await?;
                if window_ms % 2 == 0 && spread_ms % 2 == 0 {
                    self.leave_all(&mut running).await?;
                }
                if spread_ms % 3 == 0 {
                    self.fall_behind(&mut running).await?;
                }
                let window = Duration::from_millis(window_ms.into());
                self.drain(running, window, Duration::from_millis(spread_ms.into())).await
            }
        }
    }

    async fn start(&mut self) -> Result<Running, Violation> {
        self.storage.heal();
        self.was_reset = false;
        self.revoked_elsewhere.clear();
        let may_be_lost = match &self.storage {
            Storage::Memory => true,
            Storage::Disk(_) => {
                self.last_crash == Some(Crash::PowerCut)
                    && self.setting.promise() != Promise::Always
            }
            Storage::JetStream(_) => false,
        };
        if may_be_lost {
            self.revoked_tokens.clear();
        }
        self.is_reset_due = false;
        self.storage.begin();
        self.present.clear();
        self.ended_subscriptions.clear();
        self.presence_bytes = 0;
        let opened = self.storage.open(&self.setting).await;
        let journal = opened.map_err(|error| {
            Violation::new(
                Invariant::AcknowledgedSurvives,
                format!("the journal does not open after the end before: {error}"),
            )
        })?;
        let records = self.storage.scan(journal.as_ref()).await;
        let records = records.map_err(|what| Violation::new(Invariant::NoLoss, what))?;
        for record in &records {
            tell!(self, "kept: {:?} {:.40}", record.hub_id(), record.update.event().data());
        }
        self.begin_era(&records, journal.edges().last, true)?;
        let follower = journal.follow();
        let seen = follower.begin();
        self.limits = self.first_limits();
        self.access = access(true)?;
        let hub = Hub::builder()
            .journal(SharedJournal(Arc::clone(&journal)))
            .shards(self.setting.shards)
            .heartbeat(self.setting.heartbeat)
            .limits(self.limits.clone())
            .access(self.access.clone())
            .presence_events(self.setting.presence_events)
            .build()
            .await;
        let hub = hub.map_err(|error| {
            Violation::new(Invariant::NoPanic, format!("the hub does not start: {error}"))
        })?;
        let (direct, bodies) = (Network::new(), Network::new());
        let service = bodies.serve_bodies(hub.router());
        let (listener, served) = (direct.listener(), hub.clone());
        tokio::task::spawn_local(async move {
            // It ends with the hub.
            let _ = tidings_hub::serve(listener, served, axum::Router::new()).await;
        });
        crate::run::settle().await;
        let running = Running { hub, journal, follower, seen, direct, bodies, _service: service };
        Ok(running)
    }

    fn first_limits(&self) -> Limits {
        let mut limits = Limits::default();
        limits.window_bytes = self.setting.window_bytes;
        limits.request_bytes = self.setting.request_bytes;
        limits.stream_age = self.setting.stream_age;
        limits
    }

    /// Begins an era with these records.
    pub(super) fn begin_era(
        &mut self,
        records: &[Arc<Record>],
        end: HubId,
        is_start: bool,
    ) -> Result<(), Violation> {
        let missing = self.truth.begin_era(&self.setting, records, end)?;
        self.counts.check(Invariant::AcknowledgedSurvives);
        match &self.storage {
            Storage::Memory => {}
            Storage::Disk(_) => {
                if is_start {
                    for entry in &missing {
                        self.check_dropped(entry)?;
                    }
                }
                // Of what a power cut took the journal knows nothing but the positions.
                let was_cut = is_start && self.last_crash == Some(Crash::PowerCut);
                let missing = missing
                    .into_iter()
                    .map(|entry| Entry { is_known: entry.is_known && !was_cut, ..entry });
                self.truth.keep_dropped(missing.collect());
            }
            Storage::JetStream(storage) => {
                let contents = storage.stream.contents();
                // Positions that the stream has lost are used again.
                let is_trimmed = |entry: &Entry| {
                    entry.position < contents.first.number()
                        && contents.ever.iter().any(|(message, fate)| {
                            *fate == Fate::Trimmed && message.hub_id() == Some(entry.hub_id)
                        })
                };
                let trimmed = missing.into_iter().filter(is_trimmed);
                let trimmed = trimmed.map(|entry| Entry { is_known: false, ..entry });
                self.truth.keep_dropped(trimmed.collect());
                self.add_trimmed(end, 0);
            }
        }
        Ok(())
    }

    /// An update that the journal on disk has no longer after a restart: retention must explain it,
    /// or a power cut under `sync` with an interval.
    fn check_dropped(&self, entry: &Entry) -> Result<(), Violation> {
        let was_cut = self.last_crash == Some(Crash::PowerCut);
        if entry.gone == Gone::Dropped || (was_cut && self.setting.promise() != Promise::Always) {
            return Ok(());
        }
        if self.may_be_dropped(entry) {
            return Ok(());
        }
        Err(Violation::new(
            Invariant::AcknowledgedSurvives,
            format!("after {:?} the journal lacks {entry:?}", self.last_crash),
        ))
    }

    /// Whether a rule of retention may have removed this update.
    fn may_be_dropped(&self, entry: &Entry) -> bool {
        entry.presence || self.may_drop(&entry.topics)
    }

    /// Whether a rule of retention may remove updates of these topics.
    pub(super) fn may_drop(&self, topics: &[String]) -> bool {
        let rule = self.setting.rules.iter().find(|rule| rule.topics.selects_any(topics));
        rule.is_none_or(|rule| !rule.keeps_everything())
    }

    /// Messages of the stream that were trimmed before the hub could show them.
    pub(super) fn add_trimmed(&mut self, end: HubId, after: u64) {
        let Storage::JetStream(storage) = &self.storage else { return };
        let contents = storage.stream.contents();
        let dropped = contents.ever.iter().filter(|(message, fate)| {
            *fate == Fate::Trimmed
                && message.epoch == end.epoch
                && message.position < contents.first
                && message.position.number() > after
                && message.position <= end.position
        });
        // Also those of other applications: what they were, the hub cannot know.
        let entries = dropped.map(|(message, _)| {
            let update = message.update.as_ref();
            let hub_id = message.hub_id();
            let hub_id = hub_id.unwrap_or(HubId::of_dropped(end.epoch, message.position));
            let topics = update.map_or(&[][..], |update| update.topics());
            Entry {
                position: message.position.number(),
                id: update
                    .and_then(|update| update.event().id())
                    .map_or(hub_id.to_string(), |id| id.as_str().to_owned()),
                hub_id,
                number: update.and_then(|update| number_of(update.event().data())),
                topics: topics.iter().map(|topic| topic.as_str().to_owned()).collect(),
                private: update.is_some_and(|update| update.is_private()),
                presence: update.is_some_and(|update| update.is_presence()),
                time: message.time,
                gone: Gone::Dropped,
                is_known: false,
                keep: tidings_core::journal::Keep::All,
            }
        });
        let entries = entries.collect();
        self.truth.keep_dropped(entries);
    }

    /// Reads the journal's tail into the truth.
    pub(super) async fn observe(&mut self, running: &mut Running) -> Result<(), Violation> {
        for _ in 0..100 {
            let mut records = Vec::new();
            running.follower.hear();
            match running.journal.tail(running.seen, 1000, &mut records) {
                Tail::Through(through) => {
                    if records.is_empty() && through <= running.seen.position {
                        return Ok(());
                    }
                    for record in &records {
                        tell!(
                            self,
                            "shown: {:?} {:.40}",
                            record.hub_id(),
                            record.update.event().data()
                        );
                        self.trace.note(record.position.number());
                        self.forget_trimmed_keys(running, record);
                        self.truth.add(&self.setting, record)?;
                        if record.update.is_presence() {
                            self.presence_bytes += record.memory_bytes();
                        }
                        self.note_presence(record)?;
                        running.seen = record.hub_id();
                        running.follower.take(record);
                    }
                    if records.is_empty() {
                        return Ok(());
                    }
                }
                Tail::Nothing(end) => {
                    running.seen = end;
                    running.follower.pass(end.position);
                    self.truth.pass(end);
                }
                Tail::Dropped(end) => {
                    let after = running.seen.position.number();
                    running.seen = end;
                    running.follower.pass(end.position);
                    self.truth.pass(end);
                    self.add_trimmed(end, after);
                    self.was_reset = true;
                    self.counts.outcome("the tail was dropped before it was shown");
                }
                Tail::Reset(end) => {
                    // What a stream has written may be of the era before or of this one.
                    self.forget_views();
                    self.is_reset_due = false;
                    self.counts.outcome("the journal was reset");
                    self.was_reset = true;
                    let scanned = self.storage.scan(running.journal.as_ref()).await;
                    match scanned {
                        Ok(records) => {
                            let records: Vec<_> = records
                                .into_iter()
                                .filter(|record| record.position <= end.position)
                                .collect();
                            self.begin_era(&records, end, false)?;
                        }
                        // It is unreachable again: what this era has is not known.
                        Err(_) => {
                            self.begin_era(&[], end, false)?;
                            self.unknown_eras.insert(self.truth.eras.len() - 1);
                        }
                    }
                    running.seen = end;
                    running.follower.pass(end.position);
                }
            }
        }
        Ok(())
    }

    /// On JetStream a key is known for as long as the stream keeps what was published under it.
    fn forget_trimmed_keys(&mut self, running: &Running, record: &Record) {
        if self.setting.journal != JournalKind::JetStream {
            return;
        }
        let Some(number) = number_of(record.update.event().data()) else { return };
        let Some(sent) = self.truth.sent.get(number as usize) else { return };
        let (first, count) = sent.batch;
        let keeping = self.keeping(running);
        let is_gone = |number| {
            let place = self.truth.place(number);
            place.is_none_or(|place| keeping.is_kept(place) == Some(false))
        };
        let is_own_gone = is_gone(number);
        let earlier: Vec<_> = (first..number).filter(|number| is_gone(*number)).collect();
        drop(keeping);
        earlier.into_iter().for_each(|number| self.truth.forget_place(number));
        if is_own_gone {
            // The first update of a request has its key: with it the whole request is forgotten.
            let last = if number == first { first + count } else { number + 1 };
            (number..last).for_each(|number| self.truth.forget_place(number));
        }
    }

    /// The start and the end of each subscription come once, in this order.
    fn note_presence(&mut self, record: &Record) -> Result<(), Violation> {
        // A stream that was created anew, or lost its newest messages, lacks some.
        if !record.update.is_presence() || self.was_reset {
            return Ok(());
        }
        self.counts.check(Invariant::PresenceTrue);
        let data = record.update.event().data();
        let document: serde_json::Value = serde_json::from_str(data).map_err(|error| {
            Violation::new(Invariant::PresenceTrue, format!("{data:?} is not JSON: {error}"))
        })?;
        let (Some(path), Some(is_active)) = (document["id"].as_str(), document["active"].as_bool())
        else {
            return Err(Violation::new(
                Invariant::PresenceTrue,
                format!("{data:?} names no subscription"),
            ));
        };
        let has_changed = match is_active {
            true => {
                !self.ended_subscriptions.contains(path) && self.present.insert(path.to_owned())
            }
            false => self.present.remove(path),
        };
        if !is_active {
            self.ended_subscriptions.insert(path.to_owned());
        }
        if !has_changed {
            return Err(Violation::new(
                Invariant::PresenceTrue,
                format!("the subscription {path} is announced again: {data}"),
            ));
        }
        Ok(())
    }

    /// From now on it is not known what the open streams should deliver.
    pub(super) fn forget_views(&mut self) {
        for subscriber in &mut self.subscribers {
            let stream = subscriber.stream.as_mut();
            if let Some(view) = stream.and_then(|stream| stream.view.as_mut()) {
                view.is_unknown = true;
            }
        }
    }

    /// Ends the process or the power in the middle of whatever is under way.
    async fn crash(
        &mut self,
        mut running: Running,
        crash: Crash,
        after: u16,
    ) -> Result<(), Violation> {
        self.counts.outcome(match crash {
            Crash::Kill => "the process was killed",
            Crash::PowerCut => "the power was cut",
        });
        self.last_crash = Some(crash);
        if let Storage::Disk(storage) = &self.storage {
            storage.disk.release();
            storage.disk.crash_in(after.into(), crash);
            let mut rng = Rng::with_seed(self.seed ^ u64::from(after));
            for _ in 0..8 {
                let Storage::Disk(storage) = &self.storage else { break };
                if storage.disk.crashed().is_some() {
                    break;
                }
                self.pass(&mut rng).await;
                self.look(&mut running).await?;
            }
            if let Storage::Disk(storage) = &self.storage {
                storage.disk.crash(crash);
            }
        }
        // What the clients had received by then counts; requests under way get no answer.
        self.look(&mut running).await?;
        self.forget_requests();
        let Running { hub, journal, follower, .. } = running;
        tidings_hub::simulation::crash().await;
        drop((hub, follower, journal));
        Ok(())
    }

    /// Ends the process or the power while the journal opens, or just after.
    async fn crash_in_start(&mut self, crash: Crash, after: u16) {
        let Storage::Disk(storage) = &self.storage else { return };
        storage.disk.crash_in(after.into(), crash);
        let opened = self.storage.open(&self.setting).await;
        let has_opened = opened.is_ok();
        if let Ok(journal) = opened {
            // It may fail when its files do.
            let _ = self.storage.scan(journal.as_ref()).await;
            self.storage.run_threads(Some(usize::from(after)));
        }
        self.counts.outcome(match has_opened {
            true => "a start ended after the journal was open",
            false => "a start ended while the journal was opened",
        });
        if let Storage::Disk(storage) = &self.storage {
            storage.disk.crash(crash);
        }
        // What a power cut takes now, an earlier one could have taken.
        if crash == Crash::PowerCut || self.last_crash.is_none() {
            self.last_crash = Some(crash);
        }
    }

    fn open_streams(&self) -> usize {
        self.connections.iter().filter(|one| one.has_stream() && !one.has_ended()).count()
    }

    /// Some readers no longer read, and more is published than their sockets take.
    pub(super) async fn fall_behind(&mut self, running: &mut Running) -> Result<(), Violation> {
        for subscriber in 0..self.subscribers.len() / 2 {
            self.set_pace(subscriber, true);
        }
        for topic in 0..4 {
            self.publish(
                running,
                Act::Publish {
                    form: Form::Json,
                    topics: [topic, topic + 4],
                    bytes: 9_000,
                    private: false,
                    own_id: None,
                    keyed: false,
                    token: None,
                    hang_up: None,
                    bodies: false,
                },
            );
            crate::run::settle().await;
            self.look(running).await?;
        }
        Ok(())
    }

    /// Drains the hub and stops it.
    async fn drain(
        &mut self,
        mut running: Running,
        window: Duration,
        spread: Duration,
    ) -> Result<(), Violation> {
        self.last_crash = None;
        let ended = Rc::new(std::cell::Cell::new(false));
        let (hub, note) = (running.hub.clone(), Rc::clone(&ended));
        tokio::task::spawn_local(async move {
            hub.drain_over(window, spread).await;
            hub.idle().await;
            hub.stop().await;
            note.set(true);
        });
        self.counts.check(Invariant::DrainedHubEnds);
        for _ in 0..4_000 {
            // A service around the hub still sends the last bytes of its streams.
            if ended.get() && self.open_streams() == 0 {
                break;
            }
            self.deliver_all();
            self.storage.run_threads(None);
            crate::run::settle().await;
            self.look(&mut running).await?;
            tokio::time::advance(Duration::from_millis(50)).await;
        }
        if !ended.get() {
            return Err(Violation::new(
                Invariant::DrainedHubEnds,
                "the hub has not ended 200 s after the drain began",
            ));
        }
        self.look(&mut running).await?;
        // Readers that had fallen behind read what is left, and the end.
        self.read_everything();
        for _ in 0..4 {
            self.deliver_all();
            crate::run::settle().await;
            self.look(&mut running).await?;
        }
        let open = self.open_streams();
        if open > 0 {
            return Err(Violation::new(
                Invariant::DrainedHubEnds,
                format!("{open} streams are open after the hub has ended"),
            ));
        }
        let Running { hub, journal, follower, .. } = running;
        drop((hub, follower, journal));
        Ok(())
    }
}

/// Which requests are allowed.
pub(super) fn access(is_anonymous: bool) -> Result<Access, Violation> {
    let key = || {
        Key::read(SECRET, None).map_err(|error| {
            Violation::new(Invariant::NoPanic, format!("the key is refused: {error}"))
        })
    };
    let tokens = Tokens::default().publisher_key(Some(key()?)).subscriber_key(Some(key()?));
    Ok(Access::default()
        .anonymous_publish(is_anonymous)
        .anonymous_subscribe(is_anonymous)
        .tokens(tokens))
}
