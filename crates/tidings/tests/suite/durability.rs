//! The journal on disk under faults: nothing that was acknowledged is lost, doubled or moved.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::checker::{Checker, Plan};
use crate::hub::{File, Hub, TIDINGS, eventually, program, tidings};

/// A folder that is removed when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        Self::within(Path::new(env!("CARGO_TARGET_TMPDIR")))
    }

    /// One with a short path.
    pub(crate) fn of_temporary_files() -> Self {
        Self::within(&std::env::temp_dir())
    }

    fn within(folder: &Path) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = folder.join(format!("tidings-journal-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        Self(path)
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a path that is text")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub(crate) fn on_disk(folder: &Folder, address: Option<SocketAddr>, flags: &[&str]) -> Hub {
    let listen = address.unwrap_or(own_address()).to_string();
    let mut command = program();
    command.args(["serve", "--listen", &listen, "--data-dir", folder.path()]).args(flags);
    Hub::run(command)
}

/// A loopback address that no other test uses: while the hub is stopped, no other test and no
/// client's own socket gets its port. The seed of a test does not decide it, so that tests with the
/// same seed have different ones.
pub(crate) fn own_address() -> SocketAddr {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed) as u64;
    let mut random = fastrand::Rng::with_seed((u64::from(std::process::id()) << 32) | number);
    let own = [127, random.u8(1..250), random.u8(..), random.u8(1..250)];
    SocketAddr::from((own, 0))
}

#[test]
fn the_file_size_limit_is_reported_like_a_full_disk() {
    let folder = Folder::new();
    let script = "ulimit -f 16384; exec \"$0\" serve --listen 127.0.0.1:0 --data-dir \"$1\"";
    let mut command = Command::new("sh");
    command.args(["-c", script, TIDINGS, folder.path()]);
    let mut hub = Hub::run(command);
    let large = format!("topic=a&data={}", "x".repeat(500_000));
    let publish = || hub.connect().post_form("", &large);
    let refused = (0..200).map(|_| publish()).find(|answer| answer.status != 200);
    let refused = refused.expect("there is a limit");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("the disk is full or reports an error"), "{}", refused.text());
    hub.wait_for_log("cannot write the journal");
    assert_eq!(hub.get("/healthz").status, 200);
    hub.signal("TERM");
    assert_eq!(hub.exit().code(), Some(0));
}

/// How often something is done: soak runs ask for more than fits every run of the tests.
fn times(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |count| count.parse().expect("a number"))
}

fn pause(milliseconds: std::ops::Range<u64>) {
    let until = Instant::now() + Duration::from_millis(fastrand::u64(milliseconds));
    while Instant::now() < until {
        thread::park_timeout(until.saturating_duration_since(Instant::now()));
    }
}

#[test]
fn a_hub_that_is_killed_at_any_moment_loses_nothing() {
    let kills = times("TIDINGS_KILLS", 8);
    let folder = Folder::new();
    let hub = on_disk(&folder, None, &[]);
    let address = hub.address;
    let mut hub = Some(hub);
    let counted = Checker::run(Plan::default(), &[address], |checker| {
        for _ in 0..kills {
            let before = checker.acknowledged();
            eventually("something is published", || checker.acknowledged() > before + 20);
            pause(0..60);
            // It is killed, not stopped by a signal that it handles.
            drop(hub.take());
            hub = Some(on_disk(&folder, Some(address), &[]));
        }
    });
    assert!(counted.acknowledged > 20 * kills, "{counted:?}");
    assert!(counted.connections > Plan::default().subscribers, "{counted:?}");
}

#[test]
fn a_hub_that_was_paused_for_longer_than_its_limits_loses_nothing() {
    let folder = Folder::new();
    // Connections are given up after three heartbeats.
    let still = Duration::from_secs(times("TIDINGS_STILL_SECONDS", 4) as u64);
    let hub = on_disk(&folder, None, &["--heartbeat", "1s"]);
    Checker::run(Plan::default(), &[hub.address], |checker| {
        for _ in 0..2 {
            let before = checker.acknowledged();
            eventually("something is published", || checker.acknowledged() > before + 50);
            hub.signal("STOP");
            pause(still.as_millis() as u64..still.as_millis() as u64 + 1);
            hub.signal("CONT");
        }
    });
}

#[test]
fn a_journal_that_is_trimmed_while_it_is_read_reports_each_loss() {
    let folder = Folder::new();
    let config = File::new(
        "[access]\nanonymous_publish = true\nanonymous_subscribe = true\n\
         [[journal.retention]]\ncount = 40\n",
    );
    let hub = on_disk(&folder, None, &["--config", config.path()]);
    let plan = Plan { may_lose: true, ..Plan::default() };
    let counted = Checker::run(plan, &[hub.address], |checker| {
        eventually("much is published", || checker.acknowledged() > 1500);
    });
    assert!(counted.gaps > 0, "{counted:?}");
}

/// How much a process may write to one file, in blocks of 1024 bytes; a write beyond it fails.
fn limit_files(pid: u32, bytes: &str) {
    let pid = pid.to_string();
    let limit = format!("--fsize={bytes}:");
    let status = Command::new("prlimit").args(["--pid", &pid, &limit]).status();
    assert!(status.expect("util-linux has prlimit").success());
}

#[test]
fn a_disk_that_fails_refuses_publishers_keeps_subscribers_and_recovers_by_itself() {
    let folder = Folder::new();
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\"", TIDINGS]);
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", folder.path()]);
    let hub = Hub::run(command);
    let mut live = hub.subscribe("live");
    let counted = Checker::run(Plan::default(), &[hub.address], |checker| {
        for _ in 0..2 {
            let before = checker.acknowledged();
            eventually("something is published", || checker.acknowledged() > before + 50);
            limit_files(hub.pid(), "100");
            let refused = checker.refused();
            eventually("publishes are refused", || checker.refused() > refused + 20);
            assert_eq!(hub.get("/healthz").status, 200);
            limit_files(hub.pid(), "unlimited");
        }
    });
    assert!(counted.refused > 40, "{counted:?}");
    // The same stream as before the failures.
    hub.publish("live", "still here");
    assert_eq!(live.event().data, "still here");
}

/// Runs this script in a new mount namespace, so that no other process sees the mounts on the
/// folder, `$1`. `$0` is the command under test. `None` if the system allows no namespace.
fn with_mounts(folder: &Folder, script: &str) -> Option<Command> {
    let namespaces = [&["--mount"][..], &["--user", "--map-root-user", "--mount"][..]];
    let works = |flags: &&&[&str]| {
        Command::new("unshare")
            .args(flags.iter())
            .args(["mount", "-t", "tmpfs", "none", folder.path()])
            .status()
            .is_ok_and(|status| status.success())
    };
    let flags = namespaces.iter().find(|flags| works(flags))?;
    let mut command = Command::new("unshare");
    command.args(flags.iter()).args(["sh", "-c", script, TIDINGS, folder.path()]);
    Some(command)
}

const NO_MOUNTS: &str = "skipped: this system lets us mount nothing, not even where only we see it";

#[test]
fn a_read_only_disk_is_an_error_that_says_so() {
    let folder = Folder::new();
    let script = "mount -t tmpfs none \"$1\" && mount -o remount,ro \"$1\" && \
                  exec \"$0\" serve --listen 127.0.0.1:0 --data-dir \"$1/data\"";
    let Some(mut command) = with_mounts(&folder, script) else { return println!("{NO_MOUNTS}") };
    let ended = command.output().expect("it runs to its end");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot store the journal in") && said.contains("ead-only"), "{said}");
}

#[test]
fn a_full_disk_refuses_publishers_with_the_reason_and_recovers_by_itself() {
    let folder = Folder::new();
    let script = "mount -t tmpfs -o size=8m none \"$1\" && \
                  exec \"$0\" serve --listen 127.0.0.1:0 --data-dir \"$1/data\"";
    let Some(command) = with_mounts(&folder, script) else { return println!("{NO_MOUNTS}") };
    let hub = Hub::run(command);
    let mut live = hub.subscribe("live");
    let counted = Checker::run(Plan::default(), &[hub.address], |checker| {
        let before = checker.acknowledged();
        eventually("something is published", || checker.acknowledged() > before + 50);
        // The disk as the hub sees it.
        let disk = Path::new("/proc")
            .join(hub.pid().to_string())
            .join("root")
            .join(folder.path().trim_start_matches('/'));
        let filler = disk.join("filler");
        let _ = fs::write(&filler, vec![b'x'; 8 << 20]);
        assert!(fs::metadata(&filler).expect("a file on the hub's disk").len() > 1 << 20);
        let refused = checker.refused();
        eventually("publishes are refused", || checker.refused() > refused + 20);
        let answer = what_is_refused(&hub);
        assert!(answer.contains("the disk is full"), "{answer}");
        // A load balancer sends publishers elsewhere until the disk has space again.
        eventually("the hub is not ready", || {
            let ready = hub.get("/readyz");
            ready.status == 503 && ready.text().contains("the disk is full")
        });
        fs::remove_file(&filler).expect("it can be removed");
    });
    assert!(counted.refused > 20, "{counted:?}");
    eventually("the hub is ready", || hub.get("/readyz").status == 200);
    hub.publish("live", "after");
    assert_eq!(live.event().data, "after");
}

/// The answer to a refused publisher.
fn what_is_refused(hub: &Hub) -> String {
    let mut text = String::new();
    eventually("a publish is refused", || {
        let body = format!("topic=x&data={}", "x".repeat(100_000));
        let answer = hub.connect().post_form("", &body);
        text = answer.text();
        answer.status == 503
    });
    text
}

/// Starts a hub that must fail, and returns its error.
fn fails(folder: &str) -> String {
    let ended =
        tidings(&["serve", "--listen", "127.0.0.1:0", "--journal", "disk", "--data-dir", folder]);
    assert_eq!(ended.code, Some(1), "{}", ended.error);
    ended.error
}

#[test]
fn a_second_hub_on_the_same_journal_is_an_error_that_names_the_first() {
    let folder = Folder::new();
    let hub = on_disk(&folder, None, &[]);
    let id = hub.publish("a", "1");
    let said = fails(folder.path());
    assert!(said.contains("another hub uses the journal"), "{said}");
    assert!(said.contains(&hub.pid().to_string()), "{said}");
    assert!(said.contains("--data-dir"), "{said}");
    let mut stream = hub.subscribe_with("topic=a", "last-event-id: earliest\r\n");
    assert_eq!(stream.event().id, id);
}

#[test]
fn an_unusable_folder_or_file_is_an_error_that_names_it() {
    let folder = Folder::new();
    let database = folder.0.join("journal.db");
    fs::write(&database, "not a database, but somebody's letter to somebody else").unwrap();
    let said = fails(folder.path());
    assert!(said.contains("not a Tidings journal"), "{said}");
    assert!(said.contains("journal.db"), "{said}");

    let file = folder.0.join("file");
    fs::write(&file, "").unwrap();
    let said = fails(file.join("below").to_str().unwrap());
    assert!(said.contains("cannot store the journal in"), "{said}");
    assert!(said.contains("--data-dir"), "{said}");

    // A super-user may write anywhere.
    let locked = folder.0.join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(locked.join("probe"), "").is_err() {
        let said = fails(locked.to_str().unwrap());
        assert!(said.contains("cannot store the journal in"), "{said}");
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_drained_hub_resumes_after_a_restart() {
    let folder = Folder::new();
    let mut hub = on_disk(&folder, None, &[]);
    let address = hub.address;
    let seen = hub.publish("a", "1");
    hub.signal("TERM");
    assert!(hub.exit().success());
    // A hub that stopped cleanly leaves one file, which can be copied.
    let names: Vec<_> = fs::read_dir(&folder.0)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "journal.lock")
        .collect();
    assert_eq!(names, ["journal.db"]);
    let hub = on_disk(&folder, Some(address), &[]);
    let next = hub.publish("a", "2");
    let mut stream = hub.subscribe_with("topic=a", &format!("last-event-id: {seen}\r\n"));
    assert_eq!(stream.cursor(), Some(seen.as_str()));
    assert_eq!(stream.event().id, next);
}

#[test]
fn a_position_sent_before_the_first_update_is_valid_after_a_kill() {
    let folder = Folder::new();
    let hub = on_disk(&folder, None, &[]);
    let address = hub.address;
    let mut connection = hub.connect();
    connection.ask_for_stream("topic=a&tidings=place", "");
    connection.head().expect("an answer");
    let mut text = String::new();
    let place = loop {
        let chunk = connection.chunk();
        assert!(!chunk.is_empty(), "the stream ended: {text}");
        text += &String::from_utf8(chunk).expect("text");
        let id = text.split_once("\nid: ");
        if let Some((id, _)) = id.and_then(|(_, rest)| rest.split_once("\n\n")) {
            break id.to_owned();
        }
    };
    hub.signal("KILL");
    drop(hub);
    let hub = on_disk(&folder, Some(address), &[]);
    let ids = [hub.publish("a", "1"), hub.publish("a", "2")];
    let mut stream = hub.subscribe_with("topic=a", &format!("last-event-id: {place}\r\n"));
    assert_eq!(stream.cursor(), Some(place.as_str()));
    assert_eq!([stream.event().id, stream.event().id], ids);
}

#[test]
fn a_folder_removed_under_a_running_hub_is_reported_and_stays_locked() {
    let folder = Folder::new();
    let data = folder.path().to_owned() + "/data";
    let start = || {
        let mut command = Command::new(TIDINGS);
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir", &data]);
        command
    };
    let hub = Hub::run(start());
    hub.publish("a", "1");
    fs::remove_dir_all(&data).expect("it can be removed");
    eventually("it is noticed", || hub.get("/readyz").status == 503);
    let text = hub.get("/readyz").text();
    assert!(text.contains("removed or replaced"), "{text}");
    let refused = hub.connect().post_form("", "topic=a&data=2");
    assert_eq!(refused.status, 503, "{}", refused.text());
    assert!(refused.text().contains("removed or replaced"), "{}", refused.text());
    assert_eq!(hub.get("/healthz").status, 200);
    hub.wait_for_log("the journal's files were removed or replaced");
    // Another hub does not begin there with nothing.
    if cfg!(target_os = "linux") {
        let said = fails(&data);
        assert!(said.contains("another hub uses the journal"), "{said}");
    }
    drop(hub);
    let hub = Hub::run(start());
    hub.publish("a", "anew");
}
