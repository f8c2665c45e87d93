//! Several hubs whose journal is a stream of NATS JetStream, under faults: no acknowledged update
//! is lost, repeated or reordered. If JetStream itself has lost one, the hubs report it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::checker::{Checker, Plan};
use crate::durability::own_address;
use crate::hub::{File, Hub, TIDINGS, eventually, program};
use crate::nats::{Nats, Place, Settings};
use crate::network::{self, Machine, Side};
use crate::wire::Stream;

/// The stream that the hubs create by default.
const STREAM: &str = "TIDINGS";

/// Three hubs, and their settings.
struct Hubs<'a> {
    nats: &'a str,
    flags: &'a [&'a str],
    hubs: Vec<Option<Hub>>,
    addresses: Vec<SocketAddr>,
}

impl<'a> Hubs<'a> {
    fn on(nats: &'a str, flags: &'a [&'a str]) -> Self {
        let hubs: Vec<_> = (0..3).map(|_| Some(hub_on(nats, None, flags))).collect();
        let addresses = hubs.iter().flatten().map(|hub| hub.address).collect();
        Self { nats, flags, hubs, addresses }
    }

    fn kill(&mut self, index: usize) {
        self.hubs[index] = None;
    }

    /// Sends SIGTERM, and waits for the exit.
    fn stop(&mut self, index: usize) {
        let mut hub = self.hubs[index].take().expect("it runs");
        hub.signal("TERM");
        assert!(hub.exit().success());
    }

    fn start(&mut self, index: usize) {
        self.hubs[index] = Some(hub_on(self.nats, Some(self.addresses[index]), self.flags));
    }

    fn hub(&self, index: usize) -> &Hub {
        self.hubs[index].as_ref().expect("it runs")
    }
}

/// A hub on a loopback address that no other test uses, so that its port stays free while it is
/// stopped.
fn hub_on(nats: &str, address: Option<SocketAddr>, flags: &[&str]) -> Hub {
    let listen = address.unwrap_or(own_address()).to_string();
    let mut command = program();
    command.args(["serve", "--listen", &listen, "--journal", nats]).args(flags);
    Hub::run(command)
}

/// Publishers and subscribers, slowly enough that two cores do it for a minute.
fn plan() -> Plan {
    Plan { pace: Duration::from_millis(10), ..Plan::default() }
}

/// How often each fault happens: soak runs ask for more than fits every run of the tests.
fn rounds() -> usize {
    std::env::var("TIDINGS_CLUSTER_ROUNDS").map_or(1, |count| count.parse().expect("a number"))
}

/// How long a process is paused beyond the time that makes a difference.
fn still() -> Duration {
    let seconds = std::env::var("TIDINGS_CLUSTER_STILL_SECONDS");
    Duration::from_secs(seconds.map_or(0, |count| count.parse().expect("a number")))
}

/// Waits until so many more events are acknowledged.
fn some_more(checker: &Checker, count: usize) {
    let before = checker.acknowledged();
    eventually("something is published", || checker.acknowledged() >= before + count);
}

#[test]
fn servers_that_are_killed_restarted_or_paused_lose_nothing() {
    let mut nats = Nats::cluster();
    let url = nats.url();
    let hubs = Hubs::on(&url, &["--heartbeat", "1s", "--nats-publish-wait", "2s"]);
    Checker::run(plan(), &hubs.addresses, |checker| {
        for _ in 0..rounds() {
            some_more(checker, 50);
            let follower = (nats.leader(STREAM) + 1) % nats.len();
            nats.kill(follower);
            some_more(checker, 50);
            nats.start(follower);
            some_more(checker, 50);
            let leader = nats.leader(STREAM);
            nats.kill(leader);
            // Another leader has been elected by then.
            some_more(checker, 50);
            nats.start(leader);
            some_more(checker, 50);
            // Longer than publishes wait, and longer than the others wait for their leader.
            let leader = nats.leader(STREAM);
            nats.signal(leader, "STOP");
            some_more(checker, 50);
            pause(still());
            nats.signal(leader, "CONT");
            nats.wait_until_well();
            some_more(checker, 50);
        }
    });
}

#[test]
fn hubs_that_are_killed_replaced_or_paused_lose_nothing() {
    let nats = Nats::cluster();
    let url = nats.url();
    let mut hubs = Hubs::on(&url, &["--heartbeat", "1s"]);
    let addresses = hubs.addresses.clone();
    Checker::run(plan(), &addresses, |checker| {
        for _ in 0..rounds() {
            for index in 0..3 {
                some_more(checker, 30);
                hubs.kill(index);
                some_more(checker, 30);
                hubs.start(index);
            }
            for index in 0..3 {
                hubs.stop(index);
                some_more(checker, 30);
                hubs.start(index);
            }
            // Longer than three heartbeats, after which a hub closes connections.
            hubs.hub(0).signal("STOP");
            pause(Duration::from_secs(4) + still());
            hubs.hub(0).signal("CONT");
            some_more(checker, 30);
        }
    });
}

/// Publishes events that the checker ignores: more than NATS, its client and the kernel buffer for
/// a hub that reads none.
fn publish_much(hub: &Hub) {
    let data = format!("filler {}", "x".repeat(50_000));
    let updates = [("https://checker.test/filler", data.as_str()); 15];
    let mut publisher = hub.publisher();
    for _ in 0..20 {
        publisher.publish(&updates);
    }
}

#[test]
fn a_hub_that_reads_nothing_for_a_while_loses_nothing() {
    let nats = Nats::one();
    let url = nats.url();
    let hubs = Hubs::on(&url, &[]);
    Checker::run(plan(), &hubs.addresses, |checker| {
        for _ in 0..rounds() {
            some_more(checker, 30);
            hubs.hub(0).signal("STOP");
            publish_much(hubs.hub(1));
            pause(still());
            hubs.hub(0).signal("CONT");
            some_more(checker, 30);
        }
    });
}

#[test]
fn a_hub_that_fell_behind_the_stream_reports_deleted_updates() {
    let nats = Nats::one();
    let url = nats.url();
    let config = File::new(
        "[access]\nanonymous_publish = true\nanonymous_subscribe = true\n\
         [[journal.retention]]\ncount = 100\n",
    );
    let flags = ["--config", config.path()];
    let hubs = Hubs::on(&url, &flags);
    let plan = Plan { may_lose: true, ..plan() };
    let counted = Checker::run(plan, &hubs.addresses, |checker| {
        for _ in 0..rounds() {
            some_more(checker, 30);
            hubs.hub(0).signal("STOP");
            publish_much(hubs.hub(1));
            hubs.hub(0).signal("CONT");
            hubs.hub(0).wait_for_log("updates were deleted before this hub read them");
            some_more(checker, 200);
        }
    });
    assert!(counted.gaps > 0, "{counted:?}");
}

#[test]
fn machines_that_are_cut_off_lose_nothing() {
    if !network::is_inside("cluster::machines_that_are_cut_off_lose_nothing") {
        return;
    }
    let machines: [Machine; 6] = network::machines();
    let (servers, machines) = machines.split_at(3);
    let places = servers
        .iter()
        .map(|one| Place { address: one.address(Side::Inner), prefix: one.prefix() })
        .collect();
    let nats = Nats::cluster_at(places, Settings::default());
    let hubs: Vec<_> = machines
        .iter()
        .map(|machine| {
            let prefix = machine.prefix();
            let mut command = Command::new(&prefix[0]);
            let listen = SocketAddr::from((machine.address(Side::Outer), 8081)).to_string();
            command
                .args(&prefix[1..])
                .args([TIDINGS, "serve", "--listen", &listen, "--journal", &nats.url()])
                .args(["--heartbeat", "1s", "--nats-publish-wait", "2s"])
                .args(["--anonymous-publish", "--anonymous-subscribe"])
                .args([
                    "--admin-listen",
                    &SocketAddr::from((machine.address(Side::Outer), 9081)).to_string(),
                ]);
            Hub::run(command)
        })
        .collect();
    let addresses: Vec<_> = hubs.iter().map(|hub| hub.address).collect();
    Checker::run(plan(), &addresses, |checker| {
        for _ in 0..rounds() {
            some_more(checker, 50);
            // One hub from NATS; its clients still reach it.
            machines[0].cut_off(Side::Inner);
            let refused = checker.refused();
            eventually("it refuses publishes", || checker.refused() > refused);
            some_more(checker, 50);
            pause(still());
            machines[0].join(Side::Inner);
            some_more(checker, 50);
            // The leader from the other servers and all hubs.
            let leader = nats.leader(STREAM);
            servers[leader].cut_off(Side::Inner);
            some_more(checker, 50);
            pause(still());
            servers[leader].join(Side::Inner);
            nats.wait_until_well();
            some_more(checker, 50);
        }
    });
}

#[test]
fn a_purged_or_deleted_stream_is_reported_to_all_subscribers() {
    let nats = Nats::one();
    let url = nats.url();
    let hubs = Hubs::on(&url, &[]);
    let plan = Plan { may_lose: true, may_begin_anew: true, ..plan() };
    let counted = Checker::run(plan, &hubs.addresses, |checker| {
        for _ in 0..rounds() {
            some_more(checker, 200);
            let topic = "https://checker.test/filler";
            let seen = hubs.hub(0).publish(topic, "filler 1");
            hubs.hub(1).publish(topic, "filler 2");
            let answer = nats.api(&format!("STREAM.PURGE.{STREAM}"), "");
            assert_eq!(answer["success"], true, "{answer}");
            some_more(checker, 200);
            for index in 0..3 {
                let query = format!("topic={topic}");
                let headers = format!("last-event-id: {seen}\r\n");
                // A hub that does not know of the purge yet has the second one in memory.
                eventually("a hub tells the gap", || {
                    let told = hubs.hub(index).subscribe_with(&query, &headers).event();
                    if told.event_type == "message" {
                        assert_eq!(told.data, "filler 2");
                        return false;
                    }
                    assert_eq!(told.notice()["kind"], "gap", "{told:?}");
                    true
                });
            }
            let answer = nats.api(&format!("STREAM.DELETE.{STREAM}"), "");
            assert_eq!(answer["success"], true, "{answer}");
            some_more(checker, 200);
        }
    });
    assert!(counted.resets > 0, "{counted:?}");
}

/// Copies a folder, like a disk that has lost everything written later.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder can be made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        if entry.file_type().expect("a kind").is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file can be copied");
        }
    }
}

#[test]
fn updates_that_a_power_cut_removed_are_reported_and_no_stream_resumes_wrongly() {
    let mut nats = Nats::one();
    let url = nats.url();
    let hubs = Hubs::on(&url, &["--heartbeat", "1s"]);
    let kept = hubs.hub(0).publish("a", "kept");
    nats.stop(0);
    let store = nats.store(0);
    let earlier = PathBuf::from(format!("{}-earlier", store.display()));
    copy(&store, &earlier);
    nats.start(0);
    // These are acknowledged, and JetStream will have lost them.
    let lost = publish_when_it_can(hubs.hub(1), "a", "lost");
    let mut live = hubs.hub(2).subscribe_with("topic=a", &format!("last-event-id: {kept}\r\n"));
    assert_eq!(live.event().data, "lost");
    nats.kill(0);
    fs::remove_dir_all(&store).expect("a folder");
    copy(&earlier, &store);
    nats.start(0);
    let next = publish_when_it_can(hubs.hub(0), "a", "next");
    // Another event at the same place.
    assert_eq!(place(&next), place(&lost));
    // A live subscriber is disconnected, and resumes from the lost update; any hub tells it of the
    // loss.
    assert_eq!(live.next(), None);
    for index in 0..3 {
        let come_back =
            || hubs.hub(index).subscribe_with("topic=a", &format!("last-event-id: {lost}\r\n"));
        let mut back = come_back();
        let told = loop {
            match back.next() {
                Some(told) => break told,
                // This hub has noticed only now.
                None => back = come_back(),
            }
        };
        assert_eq!(told.notice()["kind"], "reset", "{told:?}");
        // Later events arrive.
        let data = format!("later {index}");
        hubs.hub(0).publish("a", &data);
        assert_eq!(back.event().data, data);
    }
    // And a subscriber that had seen nothing of it has missed nothing.
    let mut back = hubs.hub(1).subscribe_with("topic=a", &format!("last-event-id: {kept}\r\n"));
    assert_eq!(back.event().data, "next");
}

/// The position in an id.
fn place(id: &str) -> &str {
    id.split('.').nth(1).expect("an id of the hub's")
}

/// Publishes as soon as the hub accepts it, and returns the id.
fn publish_when_it_can(hub: &Hub, topic: &str, data: &str) -> String {
    let mut id = String::new();
    eventually("a publish is taken", || {
        let key = format!("idempotency-key: {data}\r\n");
        let answer = hub.connect().post_form(&key, &format!("topic={topic}&data={data}"));
        id = answer.text();
        answer.status == 200
    });
    id
}

#[test]
fn while_nats_is_unreachable_subscribers_stay_and_publishes_fail_with_retry_after() {
    let mut nats = Nats::one();
    let url = nats.url();
    let hub = hub_on(&url, None, &["--heartbeat", "1s", "--nats-publish-wait", "1s"]);
    let mut live = hub.subscribe("a");
    let seen = hub.publish("a", "before");
    assert_eq!(live.event().data, "before");
    nats.kill(0);
    let answer = hub.connect().post_form("", "topic=a&data=1");
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.header("retry-after").is_some(), "{answer:?}");
    eventually("it is not ready", || hub.get("/readyz").status == 503);
    assert!(hub.get("/readyz").text().contains("journal"), "{}", hub.get("/readyz").text());
    assert_eq!(hub.get("/healthz").status, 200);
    hub.wait_for_metric("tidings_journal_available", 0);
    // A new subscriber waits meanwhile.
    let mut back = hub.connect();
    back.ask_for_stream("topic=a", &format!("last-event-id: {seen}\r\n"));
    nats.start(0);
    publish_when_it_can(&hub, "a", "after");
    assert_eq!(next_but(&mut live, "1").data, "after");
    assert_eq!(next_but(&mut Stream::of(back), "1").data, "after");
    eventually("it is ready", || hub.get("/readyz").status == 200);
    hub.wait_for_metric("tidings_journal_available", 1);
}

/// The next event that is not this one, which was not acknowledged.
fn next_but(stream: &mut Stream, unanswered: &str) -> crate::wire::Event {
    let event = stream.event();
    if event.data == unanswered { stream.event() } else { event }
}

/// The library that gives a process another time, at Debian's path.
fn faketime() -> Option<PathBuf> {
    let of_architectures = fs::read_dir("/usr/lib").ok()?;
    of_architectures
        .filter_map(|entry| Some(entry.ok()?.path().join("faketime/libfaketime.so.1")))
        .find(|file| file.is_file())
}

#[test]
fn clocks_of_hubs_that_are_wrong_and_step_change_nothing() {
    let Some(library) = faketime() else { return println!("skipped: there is no libfaketime") };
    let nats = Nats::one();
    let url = nats.url();
    let clocks: Vec<_> = ["+0", "+2h", "-2h"].map(File::new).into();
    let hubs: Vec<_> = clocks
        .iter()
        .map(|clock| {
            let listen = own_address().to_string();
            let mut command = program();
            command
                .args(["serve", "--listen", &listen, "--journal", &url])
                .env("LD_PRELOAD", &library)
                .env("FAKETIME_TIMESTAMP_FILE", clock.path())
                .env("FAKETIME_NO_CACHE", "1")
                // Its clock that only runs forward is the kernel's.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
            Hub::run(command)
        })
        .collect();
    let addresses: Vec<_> = hubs.iter().map(|hub| hub.address).collect();
    let dates: Vec<_> = hubs.iter().map(|hub| hub.get("/healthz")).collect();
    let dates: std::collections::HashSet<_> = dates.iter().map(|one| one.header("date")).collect();
    assert_eq!(dates.len(), 3, "each has a time of its own: {dates:?}");
    Checker::run(plan(), &addresses, |checker| {
        for _ in 0..rounds() {
            for step in ["-1h", "+1d", "-30d", "+0"] {
                some_more(checker, 40);
                clocks[fastrand::usize(..3)].write(step);
            }
            some_more(checker, 40);
        }
    });
}

#[test]
fn a_server_that_is_too_old_is_refused_with_the_reason() {
    let nats = Nats::old();
    let ended =
        crate::hub::tidings(&["serve", "--listen", "127.0.0.1:0", "--journal", &nats.url()]);
    assert_eq!(ended.code, Some(1), "{}", ended.error);
    assert!(ended.error.contains("2.11.11"), "{}", ended.error);
    assert!(ended.error.contains("2.12"), "{}", ended.error);
}

fn pause(time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until {
        std::thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}
