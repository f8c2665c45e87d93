//! What each act does.

use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};
use fastrand::Rng;
use tidings_core::model::{Position, RevokedToken, Update};
use tidings_sse::Event;

use super::subscriber::{Cursor, Opening, Stream, Wants};
use super::{Running, Unanswered, World, tell};
use crate::connection::Asked;
use crate::disk::Failing;
use crate::invariants::Violation;
use crate::request::{self, StreamRequest};
use crate::script::{Act, Begin, Form, TOKENS};
use crate::storage::Storage;
use crate::token::Token;
use crate::topics::topic;
use crate::truth::{Entry, Fate, Sent};
use crate::view::Wanted;

/// The room of a slow subscriber's socket.
const SLOW_ROOM: usize = 300;
/// After it a hub that cannot read the revocations sends no private update to streams with a token.
const UNCONFIRMED_TIME: Duration = Duration::from_secs(6);
/// Publishes with a key that may be sent again.
const UNANSWERED_MAX: usize = 8;

impl World {
    pub(super) async fn act(
        &mut self,
        running: &mut Running,
        act: Act,
        rng: &mut Rng,
    ) -> Result<(), Violation> {
        self.counts.act(name(&act));
        tell!(self, "{act:?}");
        match act {
            Act::Publish { .. } => self.publish(running, act),
            Act::Retry { body_changed } => self.retry(running, body_changed),
            Act::Subscribe { subscriber, begin, .. } => {
                let subscriber = usize::from(subscriber);
                self.leave(subscriber, rng.bool());
                self.want(subscriber, act);
                let cursor = self.cursor(begin);
                self.subscribe(running, subscriber, cursor);
            }
            Act::Reconnect { subscriber, fresh_token } => {
                self.reconnect(running, subscriber.into(), fresh_token);
            }
            Act::Leave { subscriber, reset } => self.leave(subscriber.into(), reset),
            Act::Read { subscriber, bytes } => {
                self.read_slowly(running, subscriber.into(), bytes.into()).await?;
            }
            Act::Slower { subscriber, slow } => {
                if let Some(wants) = &mut self.subscribers[usize::from(subscriber)].wants {
                    wants.is_slow = slow;
                }
                self.set_pace(subscriber.into(), slow);
            }
            Act::Vanish { subscriber } => self.vanish(subscriber.into()),
            Act::HalfClose { subscriber } => {
                if let Some(at) = self.connection_of(subscriber.into()) {
                    self.connections[at].end.half_close();
                }
            }
            Act::FallBehind => self.fall_behind(running).await?,
            Act::Revoke { token } => self.revoke(running, token.into()),
            Act::EndSubscription { subscriber } => {
                self.end_subscription(running, subscriber.into())
            }
            Act::List { token, abandoned } => self.list(running, token, abandoned),
            Act::Reconfigure { anonymous, streams, publishes } => {
                self.reconfigure(running, anonymous, streams, publishes)?;
            }
            Act::Advance { ms } => {
                crate::run::pass(Duration::from_millis(ms.into())).await;
            }
            Act::ClockStep { seconds } => {
                let now = tidings_hub::simulation::time();
                let step = Duration::from_secs(seconds.unsigned_abs().into());
                let time = if seconds < 0 { now - step } else { now + step };
                tidings_hub::simulation::set_time(time);
                self.clock_sets += 1;
            }
            Act::Rest => crate::run::settle().await,
            _ => {
                self.fault(act);
                if self.is_reset_due {
                    self.forget_views();
                }
            }
        }
        Ok(())
    }

    /// A token of this number, made anew if there is none that is good.
    fn token(&mut self, number: usize) -> &Token {
        let now = tidings_hub::simulation::time();
        while self.tokens.len() <= number {
            self.make_token(self.tokens.len(), now);
        }
        let token = &self.tokens[number];
        if token.may_be_revoked && token.is_revoked {
            self.make_token(number, now);
        }
        &self.tokens[number]
    }

    fn make_token(&mut self, number: usize, now: SystemTime) {
        let jti = format!("token{}", self.tokens_made);
        self.tokens_made += 1;
        let setting = &self.setting.tokens[number % usize::from(TOKENS)];
        let token = Token::new(jti, setting, now);
        match self.tokens.get_mut(number) {
            Some(old) => *old = token,
            None => self.tokens.push(token),
        }
    }

    pub(super) fn publish(&mut self, running: &Running, act: Act) {
        let Act::Publish { form, topics, bytes, private, own_id, keyed, token, hang_up, bodies } =
            act
        else {
            return;
        };
        let first = self.truth.sent.len() as u32;
        let count = match form {
            Form::Lines(count) => u32::from(count),
            _ => 1,
        };
        let mut texts = vec![topic(topics[0])];
        if topics[0] != topics[1] && bytes % 2 == 0 {
            texts.push(topic(topics[1]));
        }
        for number in first..first + count {
            let padding = "x".repeat(usize::from(bytes));
            self.truth.sent.push(Sent {
                topics: texts.clone(),
                data: format!("n{number} {padding}"),
                kind: if bytes % 5 == 0 { "kind".to_owned() } else { String::new() },
                private,
                own_id: own_id.map(|id| format!("own/{id}")),
                batch: (first, count),
                key: None,
                attempts: 1,
                fate: Fate::Unanswered,
            });
        }
        let key = keyed.then(|| {
            self.keys_made += 1;
            format!("key{}", self.keys_made)
        });
        for sent in &mut self.truth.sent[first as usize..] {
            sent.key.clone_from(&key);
        }
        let token = token.map(|token| self.token(token.into()).text.clone());
        let updates = &self.truth.sent[first as usize..];
        let request = request::publish(form, updates, token.as_deref(), key.as_deref());
        let asked = Asked::Publish { first, count };
        if let Some(key) = key {
            if self.unanswered.len() == UNANSWERED_MAX {
                self.unanswered.remove(0);
            }
            let request = request.clone();
            self.unanswered.push(Unanswered { request, key, first, count });
        }
        let at = self.idle_connection(running, bodies);
        let connection = &mut self.connections[at];
        match hang_up {
            None => connection.send(asked, &request),
            Some(part) => {
                // Of 256 parts one is the whole request: only its answer is lost.
                let sent = request.len() * usize::from(part) / usize::from(u8::MAX);
                connection.send(asked, &request[..sent]);
                connection.is_cut = true;
                connection.end.deliver(usize::MAX);
                connection.end.reset();
                self.counts.outcome(match part {
                    u8::MAX => "a publisher disconnected before its answer",
                    _ => "a publisher disconnected in the middle of its request",
                });
            }
        }
    }

    fn retry(&mut self, running: &Running, body_changed: bool) {
        let Some(last) = self.unanswered.last() else { return };
        let Unanswered { request, key, first, count } = last.clone();
        let at = self.idle_connection(running, false);
        if !body_changed {
            for sent in &mut self.truth.sent[first as usize..(first + count) as usize] {
                sent.attempts += 1;
                if matches!(sent.fate, Fate::Refused(_)) {
                    sent.fate = Fate::Unknown;
                }
            }
            let asked = Asked::Publish { first, count };
            self.connections[at].send(asked, &request);
            self.counts.outcome("a publish with a key was sent again");
            return;
        }
        let number = self.truth.sent.len() as u32;
        let sent = Sent {
            topics: vec![topic(0)],
            data: format!("n{number} another body"),
            kind: String::new(),
            private: false,
            own_id: None,
            batch: (number, 1),
            key: Some(key.clone()),
            attempts: 1,
            fate: Fate::Unanswered,
        };
        let request = request::publish(Form::Fields, std::slice::from_ref(&sent), None, Some(&key));
        self.truth.sent.push(sent);
        let asked = Asked::Publish { first: number, count: 1 };
        self.connections[at].send(asked, &request);
    }

    fn want(&mut self, subscriber: usize, act: Act) {
        let Act::Subscribe {
            choice,
            token,
            place,
            notices,
            topics,
            slow,
            bodies,
            query_method,
            old_http,
            ..
        } = act
        else {
            return;
        };
        let one = &mut self.subscribers[subscriber];
        one.last_id = None;
        one.wants = Some(Wants {
            selects: choice,
            token: token.map(usize::from),
            place,
            notices,
            topics,
            is_for_bodies: bodies,
            is_query_method: query_method,
            is_old_http: old_http,
            is_slow: slow,
        });
    }

    /// The cursor of a new stream.
    fn cursor(&self, begin: Begin) -> Cursor {
        let entries = &self.truth.era().entries;
        let entry = |part: u8| {
            let index = entries.len() * usize::from(part) / 256;
            entries.get(index).map(|entry| (index, entry))
        };
        match begin {
            Begin::Now => Cursor::Now,
            Begin::Earliest => Cursor::Earliest,
            Begin::Last => Cursor::Last,
            Begin::Unknown => Cursor::After("tidings:aaaaaa.7.aaaa".to_owned()),
            Begin::After(part) => match entry(part) {
                Some((_, entry)) => Cursor::After(entry.id.clone()),
                None => Cursor::Now,
            },
            Begin::Since(part) => match entry(part) {
                Some((_, entry)) => {
                    // To the millisecond, so it is not after the update.
                    let time: DateTime<Utc> = entry.time.into();
                    let text = time.to_rfc3339_opts(SecondsFormat::Millis, true);
                    let begin = SystemTime::from(
                        DateTime::parse_from_rfc3339(&text).expect("it was just written"),
                    );
                    // The journal knows no times of what a power cut took.
                    let is_it = |entry: &Entry| entry.is_known && entry.time >= begin;
                    let found = entries.iter().position(is_it).unwrap_or(entries.len());
                    let older = entries[..found].iter().rposition(|entry| entry.time < begin);
                    let first = older.map_or(0, |older| older + 1);
                    let before = entries[..first].last().map_or(0, |entry| entry.position);
                    Cursor::Since(before, format!("tidings:since:{text}"))
                }
                None => Cursor::Earliest,
            },
        }
    }

    fn subscribe(&mut self, running: &Running, subscriber: usize, cursor: Cursor) {
        let Some(wants) = self.subscribers[subscriber].wants.clone() else { return };
        let token = wants.token.map(|token| self.token(token).clone());
        let mut options = Vec::new();
        for (is_wanted, option) in
            [(wants.place, "place"), (wants.notices, "notices"), (wants.topics, "topics")]
        {
            if is_wanted {
                options.push(option);
            }
        }
        let text = match &cursor {
            Cursor::Now => None,
            Cursor::Earliest => Some("earliest".to_owned()),
            Cursor::Last => Some("tidings:last".to_owned()),
            Cursor::Since(_, text) | Cursor::After(text) => Some(text.clone()),
        };
        let request = request::subscribe(&StreamRequest {
            selectors: wants.selects.query(),
            options,
            cursor: text,
            token: token.as_ref().map(|token| token.text.clone()),
            is_query_method: wants.is_query_method,
            is_old_http: wants.is_old_http,
        });
        let now = tidings_hub::simulation::time();
        let left = token.as_ref().and_then(|token| token.expires);
        let left = left.map(|expires| expires.duration_since(now).unwrap_or_default());
        let opening = Opening {
            wanted: Wanted {
                selects: wants.selects,
                grants: token.as_ref().map(|token| token.subscribe),
                shows_topics: wants.topics,
            },
            jti: token.map(|token| token.jti),
            ends_at: left.map(|left| tokio::time::Instant::now() + left),
            clock_sets: self.clock_sets,
            era: self.truth.eras.len() - 1,
            low: running.journal.edges().last.position.number().min(self.truth.shown()),
            cursor,
            delivers_until: u64::MAX,
        };
        self.subscribers[subscriber].stream = Some(Stream { opening, view: None });
        let at = self.connect(running, wants.is_for_bodies);
        self.connections[at].send(Asked::Stream(subscriber), &request);
        self.set_pace(subscriber, wants.is_slow);
    }

    pub(super) fn set_pace(&mut self, subscriber: usize, is_slow: bool) {
        if let Some(at) = self.connection_of(subscriber) {
            let connection = &mut self.connections[at];
            connection.is_slow = is_slow;
            if is_slow {
                connection.end.set_room(SLOW_ROOM);
            }
        }
    }

    fn reconnect(&mut self, running: &Running, subscriber: usize, fresh_token: bool) {
        let one = &self.subscribers[subscriber];
        if one.stream.is_some() || one.wants.is_none() {
            return;
        }
        let cursor = match &one.last_id {
            Some(id) => Cursor::After(id.clone()),
            None => Cursor::Now,
        };
        if let Some(token) = one.wants.as_ref().and_then(|wants| wants.token)
            && fresh_token
        {
            let now = tidings_hub::simulation::time();
            if self.tokens.get(token).is_some_and(|token| token.is_expired(now)) {
                self.make_token(token, now);
            }
        }
        self.subscribe(running, subscriber, cursor);
    }

    fn leave(&mut self, subscriber: usize, is_reset: bool) {
        if let Some(at) = self.connection_of(subscriber) {
            let connection = self.connections.swap_remove(at);
            if is_reset {
                connection.end.reset();
            }
        }
        self.subscribers[subscriber].end_stream();
    }

    /// The machine of a client loses its network. The hub has to notice.
    fn vanish(&mut self, subscriber: usize) {
        if let Some(at) = self.connection_of(subscriber) {
            let connection = self.connections.swap_remove(at);
            connection.end.vanish();
            self.vanished.push(connection);
        }
        self.subscribers[subscriber].end_stream();
    }

    fn revoke(&mut self, running: &Running, number: usize) {
        let Some(token) = self.tokens.get_mut(number) else { return };
        token.may_be_revoked = true;
        let jti = token.jti.clone();
        let path = format!("/tokens/{jti}");
        self.by_operator(running, "DELETE", &path, Asked::Revoke { token: number, jti });
    }

    /// Ends the subscription of a subscriber, whose number the operator has from a list.
    fn end_subscription(&mut self, running: &Running, subscriber: usize) {
        self.by_operator(running, "GET", "/subscriptions", Asked::EndSubscription { subscriber });
    }

    fn by_operator(&mut self, running: &Running, method: &str, path: &str, asked: Asked) {
        let text = self.operator.text.clone();
        let request = request::plain(method, path, Some(&text));
        let at = self.idle_connection(running, false);
        self.connections[at].send(asked, &request);
    }

    pub(super) fn list_as_operator(&mut self, running: &Running) {
        self.by_operator(running, "GET", "/subscriptions", Asked::List);
    }

    /// Ends a subscription by its path.
    pub(super) fn delete_subscription(&mut self, running: &Running, path: &str) {
        let text = self.operator.text.clone();
        let path = path.strip_prefix("/.well-known/mercure").unwrap_or(path).to_owned();
        let request = request::plain("DELETE", &path, Some(&text));
        let at = self.idle_connection(running, false);
        self.connections[at].send(Asked::Delete, &request);
    }

    fn list(&mut self, running: &Running, token: Option<u8>, abandoned: bool) {
        let revoked = token.and_then(|token| {
            let index = usize::from(token).checked_rem(self.revoked_tokens.len())?;
            Some(self.revoked_tokens[index].clone())
        });
        let (asked, text) = match revoked {
            Some(text) if !abandoned => (Asked::ListWithRevoked, Some(text)),
            _ => (Asked::List, token.map(|token| self.token(token.into()).text.clone())),
        };
        let request = request::plain("GET", "/subscriptions", text.as_deref());
        let at = self.idle_connection(running, false);
        self.connections[at].send(asked, &request);
        if abandoned {
            self.connections[at].end.deliver(usize::MAX);
            self.connections[at].end.reset();
            self.connections[at].is_cut = true;
        }
    }

    fn reconfigure(
        &mut self,
        running: &Running,
        anonymous: bool,
        streams: Option<u8>,
        publishes: Option<u8>,
    ) -> Result<(), Violation> {
        self.access = super::life::access(anonymous)?;
        self.limits.streams = streams.map_or(usize::MAX, usize::from);
        self.limits.publishes_per_second = publishes.map_or(u32::MAX, u32::from);
        let changed = running.hub.reconfigure(self.limits.clone(), self.access.clone());
        if changed.is_err() {
            self.counts.outcome("a reconfiguration was refused");
        }
        Ok(())
    }

    fn fault(&mut self, act: Act) {
        match (&mut self.storage, act) {
            (_, Act::Heal) => self.storage.heal(),
            (Storage::Disk(storage), Act::DiskFull { bytes }) => {
                let there = storage.disk.bytes();
                storage.disk.set_capacity(Some(there + bytes as usize / 16));
            }
            (Storage::Disk(storage), Act::DiskFails { operations }) => {
                storage.disk.fail(Failing {
                    reads: operations % 4 == 0,
                    writes: operations % 2 == 0,
                    syncs: operations % 2 == 1,
                });
            }
            (Storage::Disk(storage), Act::DiskHangs { hangs }) => match hangs {
                true => storage.disk.hang(),
                false => storage.disk.release(),
            },
            (Storage::JetStream(storage), act) => {
                let Some(node) = storage.node else { return };
                let stream = &storage.stream;
                // An append whose acknowledgement is lost is repeated. If its first message is
                // trimmed before that, it is there twice.
                let is_doubtful = matches!(
                    act,
                    Act::LoseAnswers { .. }
                        | Act::Unreachable { .. }
                        | Act::Delay { .. }
                        | Act::TrimStream { .. }
                );
                let is_reset = matches!(act, Act::LoseTail { .. } | Act::NewStream);
                self.was_reset |= is_doubtful || is_reset;
                self.is_reset_due |= is_reset;
                storage.has_lost_tail |= is_reset;
                match act {
                    Act::Lag { lags: true } => stream.lag(node),
                    Act::Lag { lags: false } => stream.show(node, 3),
                    Act::Unreachable { unreachable } => stream.set_reachable(node, !unreachable),
                    Act::LoseAnswers { loses } => {
                        stream.lose_acknowledgements(node, if loses { 3 } else { 0 });
                    }
                    Act::Delay { ms } => {
                        let time = Duration::from_millis(ms.into());
                        stream.set_delays(node, time, time);
                    }
                    Act::ReadsLag => stream.set_reads_lag(node, true),
                    Act::TrimStream { count } => {
                        let through = stream.first().number() + u64::from(count);
                        stream.trim(Position::new(through.min(stream.last().number())));
                    }
                    Act::LoseTail { count } => {
                        stream.lose_newest(count.into());
                    }
                    Act::NewStream => stream.recreate(),
                    Act::Foreign => drop(stream.publish_foreign()),
                    Act::OtherNode { topic: number, private } => {
                        let update = Update::new(topic(number), Event::new("of another node"));
                        let update = if private { update.private() } else { update };
                        stream.publish_elsewhere(vec![update], None);
                    }
                    Act::OtherRevokes { token } => {
                        if let Some(token) = self.tokens.get_mut(usize::from(token)) {
                            token.may_be_revoked = true;
                            let name = format!("jti:{}", token.jti);
                            stream.revoke_elsewhere(RevokedToken::new(name, token.expires));
                            let due = tokio::time::Instant::now() + UNCONFIRMED_TIME;
                            // The stream forgets one that expires by its own clock.
                            if token.expires.is_none() {
                                self.revoked_elsewhere.push((due, token.jti.clone()));
                            }
                        }
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }
}

fn name(act: &Act) -> &'static str {
    match act {
        Act::Publish { form: Form::Fields, .. } => "publish a form",
        Act::Publish { form: Form::Json, .. } => "publish JSON",
        Act::Publish { form: Form::Lines(_), .. } => "publish lines",
        Act::Retry { .. } => "publish again under the same key",
        Act::Subscribe { begin, .. } => match begin {
            Begin::Now => "subscribe from now on",
            Begin::Earliest => "subscribe from the earliest",
            Begin::Last => "subscribe from the last of each topic",
            Begin::Since(_) => "subscribe since a time",
            Begin::After(_) => "subscribe after an id",
            Begin::Unknown => "subscribe after an unknown id",
        },
        Act::Reconnect { .. } => "reconnect",
        Act::Leave { .. } => "leave",
        Act::Read { .. } => "read a little",
        Act::Slower { .. } => "read slower or faster",
        Act::Vanish { .. } => "lose the network",
        Act::HalfClose { .. } => "end one side",
        Act::Revoke { .. } => "revoke a token",
        Act::EndSubscription { .. } => "end a subscription",
        Act::List { .. } => "list subscriptions",
        Act::Reconfigure { .. } => "reconfigure",
        Act::Advance { .. } => "let time pass",
        Act::ClockStep { .. } => "set the clock",
        Act::Rest => "let all tasks run",
        Act::FallBehind => "let readers fall behind",
        Act::DiskFull { .. } => "fill the disk",
        Act::DiskFails { .. } => "let the disk fail",
        Act::DiskHangs { .. } => "let the disk hang",
        Act::Lag { .. } => "let the consumer lag",
        Act::Unreachable { .. } => "cut the node off",
        Act::LoseAnswers { .. } => "lose acknowledgements",
        Act::Delay { .. } => "delay requests",
        Act::ReadsLag => "let reads lag",
        Act::TrimStream { .. } => "trim the stream",
        Act::LoseTail { .. } => "lose the newest messages",
        Act::NewStream => "create the stream anew",
        Act::Foreign => "store a foreign message",
        Act::OtherNode { .. } => "publish at another node",
        Act::OtherRevokes { .. } => "revoke at another node",
        Act::Heal => "end all faults",
    }
}
