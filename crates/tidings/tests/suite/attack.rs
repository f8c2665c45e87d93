//! The hub under attack: peers that make it keep, compile, write or wait for more than they pay
//! for, while other clients are measured.
//!
//! Each trial starts a hub with at most 512 MiB of memory. Other clients subscribe and publish
//! from one address, and attackers use other addresses. Attackers run at the lowest priority, as
//! if they were on other machines. `TIDINGS_ATTACK=full`, which `cargo xtask soak attack` sets,
//! attacks with larger counts, and compares latencies with those of the quiet hub.

mod disk;
mod grants;
mod heads_and_bodies;
mod identifiers;
mod live;
mod log;
mod peers;
mod presence;
mod selectors;
mod short_topics;
mod silence;

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use live::{Live, Times};
use peers::Trust;

use crate::hub::{Hub, TIDINGS, tidings};

/// The key of all tokens.
const SECRET: &str = "a secret of at least thirty-two bytes";
/// The access that every hub here allows: attackers need no token, and the live publisher has one,
/// as at a hub that is open to strangers.
const OPEN: [&str; 6] = [
    "--publisher-key",
    SECRET,
    "--subscriber-key",
    SECRET,
    "--anonymous-publish",
    "--anonymous-subscribe",
];

/// The limit of the hub's data segment (`RLIMIT_DATA`), in KiB.
const DATA_KB: &str = "524288";
/// The memory that an attack may add to the hub, in MiB. With this limit the hub has 64 for
/// selectors, 32 for requests in progress, and less for everything else that a peer controls.
const MEMORY_MB: u64 = 128;
/// How long the hub may take to release the memory, and how much more than before it may keep.
const GIVING_BACK: Duration = Duration::from_secs(60);
const STAYS: f64 = 1.3;
/// In the short form the hub may also keep this much, in KiB: the live subscribers' updates in the
/// journal, and memory that the allocator retains.
const STAYS_KB: u64 = 48 << 10;
/// Where latencies are held against those of the quiet hub: how many times as long they may be.
const SLOWER: u32 = 3;
/// Latencies below this are good, whatever those of the quiet hub are: on a machine with two cores
/// the load itself uses the hub's processor time.
const GOOD: Duration = Duration::from_millis(30);
/// The longest time for any delivery and any new stream, on a machine that also does other work.
const SLOWEST: Duration = Duration::from_secs(10);

fn is_full() -> bool {
    std::env::var("TIDINGS_ATTACK").is_ok_and(|scale| scale == "full")
}

/// The first value in the short form, else the second.
fn scaled<T>(short: T, full: T) -> T {
    if is_full() { full } else { short }
}

/// An attack's hub, and its expected limits.
struct Trial<'a> {
    /// Its name in the report.
    name: &'a str,
    flags: &'a [&'a str],
    environment: &'a [(&'a str, &'a str)],
    trust: Trust,
    /// Whether its log is read.
    is_log_read: bool,
    /// Whether updates can be delivered meanwhile.
    is_serving: bool,
    /// The memory of the attack's own updates in the journal, in KiB.
    kept_kb: u64,
}

impl<'a> Trial<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            flags: &[],
            environment: &[],
            #[cfg(feature = "tls")]
            trust: Trust::of(None),
            #[cfg(not(feature = "tls"))]
            trust: Trust::none(),
            is_log_read: true,
            is_serving: true,
            kept_kb: 0,
        }
    }

    fn hub(&self) -> Hub {
        let mut command = Command::new("sh");
        let script = format!("ulimit -d {DATA_KB}; exec \"$0\" serve --listen 127.0.0.1:0 \"$@\"");
        // Benchmarks attack other builds.
        let program = std::env::var("TIDINGS_ATTACKED").unwrap_or(TIDINGS.to_owned());
        command.args(["-c", &script, &program]).args(OPEN).args(self.flags);
        if !self.flags.contains(&"--data-dir") {
            command.env("TIDINGS_JOURNAL", "memory");
        }
        command.envs(self.environment.iter().copied());
        Hub::run(command)
    }

    /// Attacks, keeps the returned connections open for a while, and checks that other clients
    /// were served meanwhile, and how much memory the attack took.
    fn run<Held: Send>(&self, attack: impl FnOnce(&Hub) -> Held + Send) {
        // Both ends of all connections are on this machine, and the hub's are its own.
        let _ = rlimit::increase_nofile_limit(u64::MAX);
        let mut hub = self.hub();
        if !self.is_log_read {
            hub.stop_reading_the_log();
        }
        let live = Live::start(hub.address, &self.trust, token(&["--publish", "*"]));
        pause(Duration::from_secs(scaled(1, 10)));
        let quiet = live.take();
        let before = Memory::of(&hub);
        Memory::forget_the_peak(&hub);
        let begun = Instant::now();
        let held = thread::scope(|scope| {
            let attacking = scope.spawn(|| {
                peers::step_aside();
                attack(&hub)
            });
            attacking.join().expect("the attack itself does not fail")
        });
        pause(Duration::from_secs(scaled(1, 10)));
        let attacked = live.take();
        let took = begun.elapsed();
        let peak = Memory::of(&hub);
        drop(held);
        let begun = Instant::now();
        let kept = before.kb + self.kept_kb;
        let is_back = |now: &Memory| now.kb as f64 <= kept as f64 * STAYS;
        let mut after = Memory::of(&hub);
        while !is_back(&after) && begun.elapsed() < GIVING_BACK && hub.is_running() {
            // A test needs not wait for the last of it.
            if !is_full() && after.kb <= kept + STAYS_KB {
                break;
            }
            pause(Duration::from_millis(100));
            after = Memory::of(&hub);
        }
        let back = begun.elapsed();
        let late = live.take();
        let faults = live.finish(hub.is_running());
        let lives = hub.is_running();
        println!(
            "attack: {}: {:.0} s; deliveries {} before, {} meanwhile; newcomers {}, {}; memory \
             {} MiB, at most {}, {} after {:.0} s; {}",
            self.name,
            took.as_secs_f64(),
            shown(&quiet.deliveries),
            shown(&attacked.deliveries),
            shown(&quiet.openings),
            shown(&attacked.openings),
            before.kb >> 10,
            peak.peak_kb >> 10,
            after.kb >> 10,
            back.as_secs_f64(),
            if lives { "lives" } else { "dead" },
        );
        assert!(lives, "{}: the hub has ended; {faults:#?}", self.name);
        if self.is_serving {
            assert!(faults.is_empty(), "{}: {faults:#?}", self.name);
            self.check(&quiet, &attacked);
            self.check_longest(&late);
        }
        let taken = peak.peak_kb.saturating_sub(before.kb) >> 10;
        let allowed = MEMORY_MB + (self.kept_kb >> 10);
        assert!(taken <= allowed, "{}: {taken} MiB of memory", self.name);
        let is_short = !is_full() && after.kb <= kept + STAYS_KB;
        assert!(is_short || is_back(&after), "{}: {} MiB stay", self.name, after.kb >> 10);
    }

    /// Checks how long other clients waited during the attack.
    fn check(&self, quiet: &Times, attacked: &Times) {
        self.check_longest(attacked);
        let both = [
            ("deliveries", &quiet.deliveries, &attacked.deliveries),
            ("newcomers", &quiet.openings, &attacked.openings),
        ];
        for (what, quiet, attacked) in both {
            assert!(!attacked.is_empty(), "{}: no {what} at all", self.name);
            let (quiet, attacked) = (part(quiet, 99), part(attacked, 99));
            assert!(
                !is_full() || attacked <= GOOD.max(quiet * SLOWER),
                "{}: {what} took {attacked:?} (p99), {quiet:?} of the quiet hub",
                self.name
            );
        }
    }

    /// Checks that no request took very long. Delayed ones may have finished after the attack.
    fn check_longest(&self, times: &Times) {
        for (what, times) in [("a delivery", &times.deliveries), ("a newcomer", &times.openings)] {
            let longest = times.iter().max().copied().unwrap_or_default();
            assert!(longest <= SLOWEST, "{}: {what} took {longest:?}", self.name);
        }
    }
}

/// A token that allows this.
fn token(flags: &[&str]) -> String {
    let made = tidings(&[&["token", "--key", SECRET], flags].concat());
    assert_eq!(made.code, Some(0), "{}", made.error);
    made.out.trim().to_owned()
}

/// The time that so many of a hundred take at most.
fn part(times: &[Duration], percent: usize) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort();
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

fn shown(times: &[Duration]) -> String {
    let millis = |time: Duration| time.as_secs_f64() * 1000.0;
    let longest = times.iter().max().copied().unwrap_or_default();
    format!("p99 {:.1} ms, longest {:.0} ms", millis(part(times, 99)), millis(longest))
}

fn pause(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

/// A hub's use of the machine's memory.
struct Memory {
    kb: u64,
    peak_kb: u64,
}

impl Memory {
    /// Zero if the hub has ended.
    fn of(hub: &Hub) -> Self {
        let status = fs::read_to_string(format!("/proc/{}/status", hub.pid())).unwrap_or_default();
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        Self { kb: number("VmRSS:").unwrap_or(0), peak_kb: number("VmHWM:").unwrap_or(0) }
    }

    fn forget_the_peak(hub: &Hub) {
        fs::write(format!("/proc/{}/clear_refs", hub.pid()), "5").expect("a process of ours");
    }
}
