//! The world: carries out a script, and checks the invariants after each step.

mod acts;
mod arrivals;
mod life;
mod rest;
mod subscriber;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use tidings_core::journal::{Follower, Journal};
use tidings_core::model::HubId;
use tidings_hub::{Access, Hub, Limits};

use crate::connection::Connection;
use crate::counts::Counts;
use crate::disk::Crash;
use crate::invariants::{Invariant, Violation};
use crate::network::{BodyService, Network};
use crate::panics;
use crate::script::{Choice, Script};
use crate::setting::{Setting, TokenSetting};
use crate::storage::Storage;
use crate::token::Token;
use crate::trace::Trace;
use crate::truth::Truth;
use subscriber::Subscriber;

/// Prints what happens, to find out why a script fails.
macro_rules! tell {
    ($world:expr, $($what:tt)*) => {
        if $world.is_told {
            eprintln!("  {}:{:>4}  {}", $world.boot, $world.step, format_args!($($what)*));
        }
    };
}
use tell;

/// What a simulation found.
#[derive(Debug)]
pub struct Outcome {
    /// The first broken invariant, and the boot and step in which it was noticed.
    pub violation: Option<(Violation, usize, usize)>,
    /// What happened.
    pub counts: Counts,
    /// A number that is the same whenever the same happened.
    pub trace: u64,
}

/// A publish with a key that got no answer.
#[derive(Clone, Debug)]
struct Unanswered {
    request: Vec<u8>,
    key: String,
    first: u32,
    count: u32,
}

/// Everything but the hub that runs.
struct World {
    setting: Setting,
    seed: u64,
    storage: Storage,
    trace: Trace,
    truth: Truth,
    counts: Counts,
    tokens: Vec<Token>,
    tokens_made: u32,
    /// Names of tokens whose revocation was acknowledged.
    revoked: std::collections::BTreeSet<String>,
    /// Tokens that another hub has revoked, and when this hub has to know it.
    revoked_elsewhere: Vec<(tokio::time::Instant, String)>,
    /// Tokens that were revoked and never expire.
    revoked_tokens: Vec<String>,
    /// Paths of subscriptions that were announced and have not ended, in this boot.
    present: std::collections::BTreeSet<String>,
    ended_subscriptions: std::collections::BTreeSet<String>,
    /// The active subscriptions of the list that the operator got last.
    listed: Option<std::collections::BTreeSet<String>>,
    /// The bytes of all presence updates of this boot.
    presence_bytes: u64,
    /// The operator's token, which grants everything and never expires.
    operator: Token,
    subscribers: Vec<Subscriber>,
    connections: Vec<Connection>,
    /// Those whose client has lost its network.
    vanished: Vec<Connection>,
    unanswered: Vec<Unanswered>,
    keys_made: u32,
    /// The time of day at the end of the boot before.
    time: SystemTime,
    /// The limits and the access that the hub has now.
    limits: Limits,
    access: Access,
    /// How often the clock was set.
    clock_sets: u32,
    last_crash: Option<Crash>,
    /// The journal was reset in this boot, or may have dropped announcements or stored them twice.
    was_reset: bool,
    /// The stream has lost messages, or was created anew, and the hub does not know it yet.
    is_reset_due: bool,
    /// Eras whose beginning could not be read.
    unknown_eras: std::collections::BTreeSet<usize>,
    boot: usize,
    step: usize,
    is_told: bool,
}

/// The hub of one boot.
struct Running {
    hub: Hub,
    journal: Arc<dyn Journal>,
    /// The checker's follower of the tail.
    follower: Arc<Follower>,
    seen: HubId,
    direct: Network,
    bodies: Network,
    _service: BodyService,
}

/// Carries out a script.
pub fn simulate(script: &Script) -> Outcome {
    carry_out(script, false)
}

/// Carries out a script, and tells on the standard error what happens.
pub fn simulate_aloud(script: &Script) -> Outcome {
    carry_out(script, true)
}

fn carry_out(script: &Script, is_told: bool) -> Outcome {
    let trace = Trace::default();
    let mut world = World::new(script, &trace);
    world.is_told = is_told;
    let mut violation = None;
    for (index, boot) in script.boots.iter().enumerate() {
        (world.boot, world.step) = (index, 0);
        world.counts.boots += 1;
        let lived = panics::watch(|| world.live(boot, script.seed));
        let lived =
            lived.unwrap_or_else(|message| Err(Violation::new(Invariant::NoPanic, message)));
        if let Err(found) = lived {
            violation = Some((found, world.boot, world.step));
            break;
        }
    }
    Outcome { violation, counts: world.counts, trace: trace.hash() }
}

impl World {
    fn new(script: &Script, trace: &Trace) -> Self {
        let setting = script.setting.clone();
        let subscribers = (0..crate::script::SUBSCRIBERS).map(|_| Subscriber::default()).collect();
        Self {
            storage: Storage::new(&setting, script.seed, trace),
            seed: script.seed,
            trace: trace.clone(),
            truth: Truth::new(),
            counts: Counts::default(),
            tokens: Vec::new(),
            tokens_made: 0,
            revoked: Default::default(),
            revoked_elsewhere: Vec::new(),
            revoked_tokens: Vec::new(),
            present: Default::default(),
            ended_subscriptions: Default::default(),
            listed: None,
            presence_bytes: 0,
            operator: operator(),
            subscribers,
            connections: Vec::new(),
            vanished: Vec::new(),
            unanswered: Vec::new(),
            keys_made: 0,
            time: crate::run::start_time(),
            limits: Limits::default(),
            access: Access::default(),
            clock_sets: 0,
            last_crash: None,
            was_reset: false,
            is_reset_due: false,
            unknown_eras: Default::default(),
            boot: 0,
            step: 0,
            is_told: false,
            setting,
        }
    }

    /// A connection for a request that needs no stream: an idle one, or a new one.
    fn idle_connection(&mut self, running: &Running, is_for_bodies: bool) -> usize {
        let idle = self.connections.iter().position(|connection| {
            connection.is_idle() && connection.is_for_bodies == is_for_bodies
        });
        idle.unwrap_or_else(|| self.connect(running, is_for_bodies))
    }

    fn connect(&mut self, running: &Running, is_for_bodies: bool) -> usize {
        let address = IpAddr::V4(Ipv4Addr::new(10, 0, 0, (self.connections.len() % 7) as u8 + 1));
        let network = if is_for_bodies { &running.bodies } else { &running.direct };
        self.connections.push(Connection::new(network.connect(address), is_for_bodies));
        self.connections.len() - 1
    }

    /// What happens beside the act: some bytes move, some threads and tasks run.
    async fn pass(&mut self, rng: &mut Rng) {
        if !self.connections.is_empty() {
            for _ in 0..rng.usize(..4) {
                let connection = &self.connections[rng.usize(..self.connections.len())];
                let most = if rng.bool() { rng.usize(1..64) } else { 1 << 16 };
                connection.end.deliver(most);
            }
        }
        if rng.bool() {
            self.storage.run_threads(Some(rng.usize(..12)));
        }
        match rng.u8(..8) {
            0 => {}
            1..=4 => tokio::task::yield_now().await,
            5 => tokio::time::advance(Duration::from_micros(rng.u64(..5000))).await,
            _ => crate::run::settle().await,
        }
    }
}

fn operator() -> Token {
    let setting = TokenSetting { subscribe: Choice::All, lifetime: None };
    Token::new("operator".to_owned(), &setting, crate::run::start_time())
}
