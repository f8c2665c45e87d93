//! Counts every event, with several publishers, many subscribers that disconnect and resume, and
//! disturbances of the hub. At the end every subscriber has received every acknowledged event of
//! its topics once, in the journal's order, and no other event. With several hubs, each client
//! moves from any of them to any other.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long a run may take at most, and a single answer.
const RUN_TIME: Duration = Duration::from_secs(1200);
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// An event whose data begins with this text is not counted.
const FILLER: &str = "filler";

/// The publishers and subscribers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) publishers: usize,
    pub(crate) subscribers: usize,
    /// Whether losses may be reported, because the journal keeps less than is published. Events
    /// that were reported as lost may be missing.
    pub(crate) may_lose: bool,
    /// Whether the journal may be reset. A subscriber that gets a `reset` continues with later
    /// events.
    pub(crate) may_begin_anew: bool,
    /// How long a publisher rests after an acknowledgement.
    pub(crate) pace: Duration,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            publishers: 4,
            subscribers: 12,
            may_lose: false,
            may_begin_anew: false,
            pace: Duration::ZERO,
        }
    }
}

/// A run that is under way.
pub(crate) struct Checker {
    plan: Plan,
    hubs: Vec<SocketAddr>,
    is_over: AtomicBool,
    /// The disturbance has failed, so no thread need continue.
    is_given_up: AtomicBool,
    begun: Instant,
    acknowledged: Mutex<Vec<(Place, String)>>,
    refused: AtomicUsize,
    /// Sent, and perhaps published, but never acknowledged.
    unanswered: Mutex<HashSet<String>>,
}

/// The result of a run.
#[derive(Debug)]
pub(crate) struct Counted {
    pub(crate) acknowledged: usize,
    pub(crate) delivered: usize,
    pub(crate) connections: usize,
    /// Publishes that were refused and tried again.
    pub(crate) refused: usize,
    pub(crate) gaps: usize,
    pub(crate) resets: usize,
}

/// Where an event is: its journal, and its position there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    epoch: String,
    position: u64,
}

/// What a subscriber has received.
#[derive(Debug, Default)]
struct Had {
    topics: Vec<usize>,
    events: Vec<(Place, String)>,
    /// Before the event at this index a loss was reported.
    gaps: HashSet<usize>,
    /// Before the event at this index a new journal was reported.
    resets: HashSet<usize>,
    connections: usize,
}

impl Checker {
    /// Runs everything against the hubs at these addresses for as long as `disturb` takes, and
    /// counts. Whatever happens to the hubs, they must be running at the end.
    pub(crate) fn run(plan: Plan, hubs: &[SocketAddr], disturb: impl FnOnce(&Self)) -> Counted {
        let checker = Self {
            plan,
            hubs: hubs.to_vec(),
            is_over: AtomicBool::new(false),
            is_given_up: AtomicBool::new(false),
            begun: Instant::now(),
            acknowledged: Mutex::default(),
            refused: AtomicUsize::new(0),
            unanswered: Mutex::default(),
        };
        let seed = tidings_seed::begin();
        let had: Vec<Had> = thread::scope(|scope| {
            let checker = &checker;
            let seeded = move |number: usize| fastrand::seed(seed.wrapping_add(number as u64));
            let subscribe = move |index| {
                seeded(1 + index);
                checker.subscribe(index)
            };
            let publish = move |index| {
                seeded(1 + plan.subscribers + index);
                checker.publish(index);
            };
            let subscribers: Vec<_> =
                (0..plan.subscribers).map(|index| scope.spawn(move || subscribe(index))).collect();
            let publishers: Vec<_> =
                (0..plan.publishers).map(|index| scope.spawn(move || publish(index))).collect();
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| disturb(checker))) {
                checker.is_given_up.store(true, Ordering::Release);
                resume_unwind(panic);
            }
            checker.is_over.store(true, Ordering::Release);
            for publisher in publishers {
                publisher.join().expect("a publisher gets through in the end");
            }
            checker.publish_until_taken("end", "end");
            subscribers.into_iter().map(|one| one.join().expect("a subscriber ends")).collect()
        });
        checker.count(&had)
    }

    /// How many events were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> usize {
        self.acknowledged.lock().expect("it is not poisoned").len()
    }

    /// Publishes that were refused so far.
    pub(crate) fn refused(&self) -> usize {
        self.refused.load(Ordering::Acquire)
    }

    fn is_late(&self) -> bool {
        self.is_given_up.load(Ordering::Acquire) || self.begun.elapsed() > RUN_TIME
    }

    fn publish(&self, index: usize) {
        let mut number = 0;
        while !self.is_over.load(Ordering::Acquire) && !self.is_late() {
            let data = format!("{index}.{number}");
            number += 1;
            if index == 0 {
                // This one never tries again: it cannot know.
                match self.post(&topic(index), &data, false) {
                    Some(id) => self.acknowledge(&id, data),
                    None => drop(self.unanswered.lock().expect("no panic").insert(data)),
                }
            } else {
                self.publish_until_taken(&topic(index), &data);
            }
            if !self.plan.pace.is_zero() {
                thread::park_timeout(self.plan.pace);
            }
        }
    }

    /// Under a key, so that it is published once however often it is sent.
    fn publish_until_taken(&self, topic: &str, data: &str) {
        loop {
            if let Some(id) = self.post(topic, data, true) {
                return self.acknowledge(&id, data.to_owned());
            }
            assert!(!self.is_late(), "{data} is never taken");
            thread::park_timeout(Duration::from_millis(fastrand::u64(1..30)));
        }
    }

    fn acknowledge(&self, id: &str, data: String) {
        self.acknowledged.lock().expect("no panic").push((place(id), data));
    }

    /// The id, if the hub took it.
    fn post(&self, topic: &str, data: &str, with_key: bool) -> Option<String> {
        let body = format!("topic={topic}&data={data}");
        let key = if with_key { format!("idempotency-key: {data}\r\n") } else { String::new() };
        let exchange = || -> io::Result<String> {
            let mut socket = self.connect()?;
            write!(
                socket,
                "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
                 content-type: application/x-www-form-urlencoded\r\n{key}content-length: {}\r\n\r\n{body}",
                body.len()
            )?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = exchange().ok()?;
        let (head, id) = answer.split_once("\r\n\r\n")?;
        if head.starts_with("HTTP/1.1 200") && id.starts_with("tidings:") {
            return Some(id.to_owned());
        }
        if head.starts_with("HTTP/1.1 503") {
            self.refused.fetch_add(1, Ordering::AcqRel);
        } else {
            // An answer that was cut off is none; anything else would be a bug of this test.
            assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
        }
        None
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let hub = &self.hubs[fastrand::usize(..self.hubs.len())];
        let socket = TcpStream::connect_timeout(hub, Duration::from_secs(5))?;
        socket.set_read_timeout(Some(ANSWER_TIME))?;
        Ok(socket)
    }

    fn subscribe(&self, index: usize) -> Had {
        let all = 0..self.plan.publishers;
        let topics: Vec<_> = match index % 3 {
            0 => all.collect(),
            1 => all.filter(|one| one % 2 == index / 3 % 2).collect(),
            _ => vec![index / 3 % self.plan.publishers],
        };
        let query = match index % 3 {
            0 => "topic=*".to_owned(),
            _ => topics.iter().fold("topic=end".to_owned(), |query, one| {
                format!("{query}&topic={}", topic(*one))
            }),
        };
        let mut had = Had { topics, ..Had::default() };
        let mut cursor = "earliest".to_owned();
        loop {
            assert!(!self.is_late(), "subscriber {index} never sees the end");
            // A few events, or a few dozen, or all.
            let count = [3, 30, 300, usize::MAX][fastrand::usize(..4)];
            match self.follow(&query, &mut cursor, count, &mut had) {
                Ok(true) => return had,
                Ok(false) if self.plan.may_lose => self.stay_away(),
                Ok(false) => {}
                Err(_) => thread::park_timeout(Duration::from_millis(fastrand::u64(1..50))),
            }
        }
    }

    /// Until a short journal has dropped some of the new events.
    fn stay_away(&self) {
        let until = self.acknowledged() + 100;
        let is_over = || self.is_over.load(Ordering::Acquire) || self.is_late();
        while self.acknowledged() < until && !is_over() {
            thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Reads `count` events of a stream. Returns whether the last event of the run was among them.
    fn follow(
        &self,
        query: &str,
        cursor: &mut String,
        count: usize,
        had: &mut Had,
    ) -> io::Result<bool> {
        let mut socket = self.connect()?;
        write!(
            socket,
            "GET /.well-known/mercure?{query} HTTP/1.1\r\nhost: localhost\r\nlast-event-id: {cursor}\r\n\r\n"
        )?;
        let mut lines = BufReader::new(socket);
        let mut line = String::new();
        let mut next = |lines: &mut BufReader<TcpStream>| -> io::Result<String> {
            line.clear();
            match lines.read_line(&mut line)? {
                // The part after the cut is missing.
                _ if !line.ends_with('\n') => Err(io::ErrorKind::UnexpectedEof.into()),
                _ => Ok(line.trim_end_matches(['\r', '\n']).to_owned()),
            }
        };
        while !next(&mut lines)?.is_empty() {}
        had.connections += 1;
        let (mut id, mut data, mut kind) = (String::new(), None, String::new());
        let mut seen = 0;
        while seen < count {
            let line = next(&mut lines)?;
            if self.is_late() {
                // Heartbeats alone would keep this here.
                return Err(io::ErrorKind::TimedOut.into());
            }
            if let Some(value) = line.strip_prefix("id: ") {
                value.clone_into(&mut id);
            } else if let Some(value) = line.strip_prefix("data: ") {
                data = Some(value.to_owned());
            } else if let Some(value) = line.strip_prefix("event: ") {
                value.clone_into(&mut kind);
            }
            let is_end = line.is_empty();
            let Some(data) = data.take_if(|_| is_end) else { continue };
            if !id.is_empty() {
                id.clone_into(cursor);
            }
            if std::mem::take(&mut kind) == "tidings" {
                if data.contains("\"reset\"") {
                    assert!(self.plan.may_begin_anew, "the hub has forgotten: {data}");
                    had.resets.insert(had.events.len());
                }
                if data.contains("\"gap\"") {
                    assert!(self.plan.may_lose, "a loss was told: {data}");
                    had.gaps.insert(had.events.len());
                }
                continue;
            }
            seen += 1;
            if data.starts_with(FILLER) {
                continue;
            }
            let is_last = data == "end";
            had.events.push((place(&id), data));
            if is_last {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn count(&self, had: &[Had]) -> Counted {
        let mut acknowledged = self.acknowledged.lock().expect("no panic").clone();
        acknowledged.sort();
        let unanswered = self.unanswered.lock().expect("no panic");
        // The event that any subscriber saw at each position: it is the same for all.
        let mut journal: HashMap<Place, String> = acknowledged.iter().cloned().collect();
        assert_eq!(journal.len(), acknowledged.len(), "two events have the same place");
        for (place, data) in had.iter().flat_map(|one| &one.events) {
            let known = journal.entry(place.clone()).or_insert_with(|| {
                // A new journal lacks updates that were not acknowledged yet, and the keys under
                // which they are then published again.
                let is_of_another =
                    |(at, known): &(Place, String)| known == data && at.epoch != place.epoch;
                let is_again = self.plan.may_begin_anew && acknowledged.iter().any(is_of_another);
                let is_known = unanswered.contains(data) || is_again;
                assert!(is_known, "{data} at {place:?} was never published");
                data.clone()
            });
            assert_eq!(known, data, "two see different events at {place:?}");
        }
        let mut journals: BTreeMap<String, Vec<(Place, String)>> = BTreeMap::new();
        for (place, data) in journal {
            journals.entry(place.epoch.clone()).or_default().push((place, data));
        }
        assert!(journals.len() == 1 || self.plan.may_begin_anew, "{:?}", journals.keys());
        for journal in journals.values_mut() {
            journal.sort();
            let mut names = HashSet::new();
            for (_, data) in &*journal {
                assert!(names.insert(data), "{data} was published twice");
            }
            self.is_in_the_order_of_publishing(journal, &unanswered);
        }
        for (index, one) in had.iter().enumerate() {
            one.is_what_was_asked_for(index, &journals);
        }
        let counted = Counted {
            acknowledged: acknowledged.len(),
            delivered: had.iter().map(|one| one.events.len()).sum(),
            connections: had.iter().map(|one| one.connections).sum(),
            refused: self.refused(),
            gaps: had.iter().map(|one| one.gaps.len()).sum(),
            resets: had.iter().map(|one| one.resets.len()).sum(),
        };
        assert!(counted.delivered >= had.len() * usize::from(!self.plan.may_lose));
        println!("{counted:?}");
        counted
    }

    /// An update published after an acknowledgement has a later position than the acknowledged one.
    fn is_in_the_order_of_publishing(
        &self,
        journal: &[(Place, String)],
        unanswered: &HashSet<String>,
    ) {
        let mut newest = vec![None; self.plan.publishers];
        for (_, data) in journal.iter().filter(|(_, data)| !unanswered.contains(data)) {
            let Some((publisher, number)) = data.split_once('.') else { continue };
            let publisher: usize = publisher.parse().expect("the number of a publisher");
            let number: usize = number.parse().expect("the number of an event");
            let before = newest[publisher].replace(number);
            assert!(before < Some(number), "{data} stands after {before:?}");
        }
    }
}

impl Had {
    /// Nothing is missing, repeated or out of order except reported losses.
    fn is_what_was_asked_for(
        &self,
        index: usize,
        journals: &BTreeMap<String, Vec<(Place, String)>>,
    ) {
        let wanted = |data: &String| {
            data == "end"
                || data.split('.').next().is_some_and(|publisher| {
                    self.topics.iter().any(|topic| topic.to_string() == publisher)
                })
        };
        let expected = |epoch: &String| -> Vec<&(Place, String)> {
            journals[epoch].iter().filter(|(_, data)| wanted(data)).collect()
        };
        let (first, _) = self.events.first().expect("the end at least");
        let (mut epoch, mut earlier) = (&first.epoch, HashSet::new());
        let (mut coming, mut at) = (expected(epoch), 0);
        for (number, event) in self.events.iter().enumerate() {
            let is_anew = self.resets.contains(&number);
            if event.0.epoch != *epoch {
                assert!(is_anew, "subscriber {index} was not told that the journal began anew");
                earlier.insert(std::mem::replace(&mut epoch, &event.0.epoch));
                assert!(!earlier.contains(epoch), "subscriber {index} went back to {epoch}");
                (coming, at) = (expected(epoch), 0);
            }
            if is_anew || self.gaps.contains(&number) {
                let skipped = coming[at..].iter().position(|next| *next == event);
                at += skipped.unwrap_or_else(|| panic!("{event:?} came out of order"));
            }
            assert_eq!(
                coming.get(at),
                Some(&event),
                "subscriber {index}: lost, doubled or out of order"
            );
            at += 1;
        }
        assert_eq!(at, coming.len(), "subscriber {index} did not get all");
    }
}

fn topic(publisher: usize) -> String {
    format!("https://checker.test/{publisher}")
}

fn place(id: &str) -> Place {
    let parsed = || {
        let mut parts = id.strip_prefix("tidings:")?.split('.');
        Some(Place { epoch: parts.next()?.to_owned(), position: parts.next()?.parse().ok()? })
    };
    parsed().expect("an id of the hub's")
}
