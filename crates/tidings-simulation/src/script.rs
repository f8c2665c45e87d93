//! A script: what one seed makes of a simulation. It is a list of acts for each life of the hub, and
//! each act is one step. Each act brings its own random numbers, so a script from which acts were
//! removed still does the same with the rest.

use fastrand::Rng;
use serde::{Deserialize, Serialize};

use crate::setting::{JournalKind, Setting};

/// Topics that publishers and subscribers use: three in each of the groups a, b and c.
pub(crate) const TOPICS: u8 = 9;
/// Tokens that exist at a time.
pub(crate) const TOKENS: u8 = 6;
/// Subscribers that exist at a time.
pub(crate) const SUBSCRIBERS: u8 = 8;

/// A whole simulation.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Script {
    /// The seed that made it.
    pub seed: u64,
    pub(crate) setting: Setting,
    pub(crate) boots: Vec<Boot>,
}

/// One life of the hub.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Boot {
    pub(crate) steps: Vec<Step>,
    pub(crate) ending: Ending,
}

/// One act, and what decides the schedule until the next.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) act: Act,
    pub(crate) salt: u64,
}

/// How a life of the hub ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Ending {
    /// The process is killed after so many more operations of the disk.
    Kill { after: u16 },
    /// The power fails.
    PowerCut { after: u16 },
    /// All is healed and delivered, and the hub is told to drain.
    Drain { window_ms: u16, spread_ms: u16 },
    /// The process is killed, or the power fails, after so many operations of the disk, which the
    /// start itself makes.
    InStart { after: u16, is_power_cut: bool },
}

/// The selectors of a stream or the grants of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Choice {
    All,
    One(u8),
    Two(u8, u8),
    /// A URI template for the topics of group a.
    Template,
    /// A URL pattern for the topics of group b.
    Pattern,
    /// A topic and the template.
    Mixed(u8),
}

/// Where a new stream begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Begin {
    Now,
    Earliest,
    Last,
    /// With the time of the update that is this part of the journal's length from its beginning.
    Since(u8),
    /// After the id of such an update.
    After(u8),
    Unknown,
}

/// The form of a publish request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Form {
    Fields,
    Json,
    Lines(u8),
}

/// What one step does.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) enum Act {
    Publish {
        form: Form,
        topics: [u8; 2],
        bytes: u16,
        private: bool,
        own_id: Option<u8>,
        keyed: bool,
        token: Option<u8>,
        /// The client disconnects after this part of the request, in 256ths.
        hang_up: Option<u8>,
        bodies: bool,
    },
    /// Sends the last unanswered publish with a key again.
    Retry {
        body_changed: bool,
    },
    Subscribe {
        subscriber: u8,
        choice: Choice,
        begin: Begin,
        token: Option<u8>,
        place: bool,
        notices: bool,
        topics: bool,
        slow: bool,
        bodies: bool,
        query_method: bool,
        old_http: bool,
    },
    /// A subscriber without a stream opens one after its last event id.
    Reconnect {
        subscriber: u8,
        fresh_token: bool,
    },
    Leave {
        subscriber: u8,
        reset: bool,
    },
    /// A slow subscriber reads so many bytes.
    Read {
        subscriber: u8,
        bytes: u16,
    },
    Slower {
        subscriber: u8,
        slow: bool,
    },
    /// The client's machine loses its network.
    Vanish {
        subscriber: u8,
    },
    /// A client ends its side of the connection and still reads.
    HalfClose {
        subscriber: u8,
    },
    Revoke {
        token: u8,
    },
    /// Ends a subscription by its path.
    EndSubscription {
        subscriber: u8,
    },
    List {
        token: Option<u8>,
        abandoned: bool,
    },
    Reconfigure {
        anonymous: bool,
        streams: Option<u8>,
        publishes: Option<u8>,
    },
    Advance {
        ms: u32,
    },
    ClockStep {
        seconds: i16,
    },
    Rest,
    /// Some readers no longer read, and more is published than their sockets take.
    FallBehind,
    /// Faults of the journal on disk.
    DiskFull {
        bytes: u32,
    },
    DiskFails {
        operations: u8,
    },
    DiskHangs {
        hangs: bool,
    },
    /// Faults of the journal on JetStream.
    Lag {
        lags: bool,
    },
    Unreachable {
        unreachable: bool,
    },
    LoseAnswers {
        loses: bool,
    },
    /// Requests and their answers take so long, each.
    Delay {
        ms: u16,
    },
    /// Reads are answered by a server that lags behind as far as the consumer.
    ReadsLag,
    TrimStream {
        count: u8,
    },
    LoseTail {
        count: u8,
    },
    NewStream,
    Foreign,
    OtherNode {
        topic: u8,
        private: bool,
    },
    OtherRevokes {
        token: u8,
    },
    Heal,
}

impl Script {
    /// The script of a seed.
    pub fn of(seed: u64, steps: usize, boots: usize, journal: Option<JournalKind>) -> Self {
        let mut rng = Rng::with_seed(seed);
        let setting = Setting::of(&mut rng, journal);
        let steps = steps / boots.max(1);
        let mut lives = Vec::new();
        for _ in 0..boots.max(1) {
            let steps = life(&mut rng, &setting, steps);
            lives.push(Boot { steps, ending: ending(&mut rng) });
            // Starts that come to nothing.
            while setting.journal == JournalKind::Disk && rng.u8(..4) == 0 {
                let (after, is_power_cut) = (rng.u16(..120), rng.bool());
                let ending = Ending::InStart { after, is_power_cut };
                lives.push(Boot { steps: Vec::new(), ending });
            }
        }
        if !matches!(lives.last(), Some(Boot { ending: Ending::Drain { .. }, .. })) {
            // What the last end left is looked at.
            let ending = Ending::Drain { window_ms: 0, spread_ms: 0 };
            lives.push(Boot { steps: Vec::new(), ending });
        }
        Self { seed, setting, boots: lives }
    }

    /// Reads a script that [`Script::text`] wrote.
    ///
    /// # Errors
    /// If it is not one.
    pub fn read(text: &str) -> serde_json::Result<Self> {
        serde_json::from_str(text)
    }

    /// The script as JSON.
    pub fn text(&self) -> String {
        serde_json::to_string(self).expect("numbers and names become JSON")
    }

    /// The script for a reader, in lines.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let boots = self.boots.iter().enumerate().flat_map(|(index, boot)| {
            let steps = boot.steps.iter().map(|step| format!("  {:?}", step.act));
            std::iter::once(format!("boot {index}"))
                .chain(steps)
                .chain(std::iter::once(format!("  {:?}", boot.ending)))
        });
        std::iter::once(format!("{:?}", self.setting)).chain(boots)
    }

    /// The number of steps.
    pub fn steps(&self) -> usize {
        self.boots.iter().map(|boot| boot.steps.len()).sum()
    }
}

fn ending(rng: &mut Rng) -> Ending {
    match rng.u8(..8) {
        0 | 1 => Ending::Drain {
            window_ms: rng.choice([0, 0, 500, 5000]).unwrap_or(0),
            spread_ms: rng.u16(..5000),
        },
        2..=4 => Ending::Kill { after: rng.u16(..40) },
        _ => Ending::PowerCut { after: rng.u16(..40) },
    }
}

/// The acts of one life. Most have nothing to do with each other. Of 256, one begins an outage.
fn life(rng: &mut Rng, setting: &Setting, count: usize) -> Vec<Step> {
    let mut steps = Vec::with_capacity(count);
    while steps.len() < count {
        let acts =
            if rng.u8(..) == 0 { outage(rng, setting.journal) } else { vec![act(rng, setting)] };
        steps.extend(acts.into_iter().map(|act| Step { act, salt: rng.u64(..) }));
    }
    steps.truncate(count);
    steps
}

/// What hardly ever comes together by chance: while the journal answers no reads, readers that must
/// read there lose their right to, or another hub revokes tokens and then publishes.
fn outage(rng: &mut Rng, journal: JournalKind) -> Vec<Act> {
    let fault = |is_there| match journal {
        JournalKind::Memory => Act::FallBehind,
        JournalKind::Disk => Act::DiskHangs { hangs: is_there },
        JournalKind::JetStream => Act::Unreachable { unreachable: is_there },
    };
    if journal == JournalKind::JetStream && rng.bool() {
        let mut private = || Act::OtherNode { topic: topic(rng), private: true };
        let published = [private(), private(), private()];
        let revoked = [
            Act::OtherRevokes { token: rng.u8(..TOKENS) },
            Act::OtherRevokes { token: rng.u8(..TOKENS) },
            Act::Advance { ms: 6_500 + rng.u32(..3_000) },
        ];
        return [&[fault(true)][..], &revoked, &published, &[fault(false)]].concat();
    }
    let mut acts = vec![Act::FallBehind, fault(true)];
    // The first half are slow readers now.
    acts.extend(
        (0..SUBSCRIBERS / 2).map(|reader| Act::Read { subscriber: reader, bytes: u16::MAX }),
    );
    acts.extend([
        Act::Revoke { token: rng.u8(..TOKENS) },
        Act::EndSubscription { subscriber: subscriber(rng) },
        Act::Advance { ms: 20 },
        fault(false),
    ]);
    acts
}

fn topic(rng: &mut Rng) -> u8 {
    rng.u8(..TOPICS)
}

fn token(rng: &mut Rng) -> Option<u8> {
    (rng.u8(..3) > 0).then(|| rng.u8(..TOKENS))
}

fn subscriber(rng: &mut Rng) -> u8 {
    rng.u8(..SUBSCRIBERS)
}

pub(crate) fn choice(rng: &mut Rng) -> Choice {
    match rng.u8(..10) {
        0..=2 => Choice::All,
        3..=5 => Choice::One(topic(rng)),
        6 => Choice::Two(topic(rng), topic(rng)),
        7 => Choice::Template,
        8 => Choice::Pattern,
        _ => Choice::Mixed(topic(rng)),
    }
}

fn act(rng: &mut Rng, setting: &Setting) -> Act {
    match rng.u16(..1000) {
        0..=379 => publish(rng),
        380..=409 => Act::Retry { body_changed: rng.u8(..16) == 0 },
        410..=479 => subscribe(rng),
        480..=549 => Act::Reconnect { subscriber: subscriber(rng), fresh_token: rng.bool() },
        550..=579 => Act::Leave { subscriber: subscriber(rng), reset: rng.bool() },
        580..=699 => {
            let bytes = if rng.bool() { rng.u16(..200) } else { rng.u16(..8000) };
            Act::Read { subscriber: subscriber(rng), bytes }
        }
        700..=714 => Act::Slower { subscriber: subscriber(rng), slow: rng.bool() },
        715..=716 => Act::Vanish { subscriber: subscriber(rng) },
        717..=719 => Act::HalfClose { subscriber: subscriber(rng) },
        720..=727 => Act::Revoke { token: rng.u8(..TOKENS) },
        728..=735 => Act::EndSubscription { subscriber: subscriber(rng) },
        736..=745 => Act::List { token: token(rng), abandoned: rng.u8(..4) == 0 },
        746..=750 => Act::Reconfigure {
            anonymous: rng.u8(..4) > 0,
            streams: (rng.u8(..3) == 0).then(|| rng.u8(1..12)),
            publishes: (rng.u8(..3) == 0).then(|| rng.u8(1..50)),
        },
        751..=820 => {
            let ms = match rng.u8(..8) {
                0..=3 => rng.u32(..50),
                4..=6 => rng.u32(..3000),
                _ => rng.u32(..40_000),
            };
            Act::Advance { ms }
        }
        821..=823 => Act::ClockStep { seconds: rng.i16(-600..600) },
        824..=899 => Act::Rest,
        _ => fault(rng, setting.journal),
    }
}

fn fault(rng: &mut Rng, journal: JournalKind) -> Act {
    match (journal, rng.u8(..100)) {
        (JournalKind::Memory, _) => publish(rng),
        (_, 0..=39) => Act::Heal,
        (JournalKind::Disk, 40..=49) => Act::DiskFull { bytes: rng.u32(..200_000) },
        (JournalKind::Disk, 50..=69) => Act::DiskFails { operations: rng.u8(1..20) },
        (JournalKind::Disk, 70..=89) => Act::DiskHangs { hangs: rng.bool() },
        (JournalKind::Disk, _) => publish(rng),
        (JournalKind::JetStream, 40..=54) => Act::Lag { lags: rng.u8(..3) > 0 },
        (JournalKind::JetStream, 55..=62) => Act::Unreachable { unreachable: rng.bool() },
        (JournalKind::JetStream, 63..=65) => Act::LoseAnswers { loses: rng.bool() },
        (JournalKind::JetStream, 66..=67) => {
            let ms = if rng.bool() { rng.u16(..200) } else { rng.u16(..3000) };
            Act::Delay { ms }
        }
        (JournalKind::JetStream, 68) => Act::ReadsLag,
        (JournalKind::JetStream, 69..=76) => Act::TrimStream { count: rng.u8(1..30) },
        (JournalKind::JetStream, 77..=79) => Act::LoseTail { count: rng.u8(1..10) },
        (JournalKind::JetStream, 80) => Act::NewStream,
        (JournalKind::JetStream, 81..=85) => Act::Foreign,
        (JournalKind::JetStream, 86..=95) => {
            Act::OtherNode { topic: topic(rng), private: rng.u8(..4) == 0 }
        }
        (JournalKind::JetStream, _) => Act::OtherRevokes { token: rng.u8(..TOKENS) },
    }
}

fn publish(rng: &mut Rng) -> Act {
    let bytes = match rng.u8(..16) {
        0..=11 => rng.u16(..80),
        12..=14 => rng.u16(..2000),
        _ => rng.u16(..12_000),
    };
    Act::Publish {
        form: match rng.u8(..6) {
            0..=2 => Form::Fields,
            3..=4 => Form::Json,
            _ => Form::Lines(rng.u8(1..8)),
        },
        topics: [topic(rng), topic(rng)],
        bytes,
        private: rng.u8(..4) == 0,
        own_id: (rng.u8(..8) == 0).then(|| rng.u8(..20)),
        keyed: rng.bool(),
        token: (rng.u8(..4) > 0).then(|| rng.u8(..TOKENS)),
        hang_up: (rng.u8(..20) == 0).then(|| if rng.bool() { rng.u8(..) } else { u8::MAX }),
        bodies: rng.u8(..4) == 0,
    }
}

fn subscribe(rng: &mut Rng) -> Act {
    Act::Subscribe {
        subscriber: subscriber(rng),
        choice: choice(rng),
        begin: match rng.u8(..12) {
            0..=3 => Begin::Now,
            4 => Begin::Earliest,
            5 => Begin::Last,
            6 => Begin::Since(rng.u8(..)),
            7..=10 => Begin::After(rng.u8(..)),
            _ => Begin::Unknown,
        },
        token: token(rng),
        place: rng.bool(),
        notices: rng.bool(),
        topics: rng.u8(..3) == 0,
        slow: rng.u8(..3) == 0,
        bodies: rng.u8(..4) == 0,
        query_method: rng.u8(..8) == 0,
        old_http: rng.u8(..8) == 0,
    }
}
