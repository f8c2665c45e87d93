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
use crate::hub::{File, Hub, TIDINGS, eventually, tidings};

/// A folder that is removed when it is dropped.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("journal-{}-{number}", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
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
    // A loopback address that nobody else uses: while the hub is gone, no other test and no
    // client's own end of a connection gets its port.
    let own = [127, fastrand::u8(1..250), fastrand::u8(..), fastrand::u8(1..250)];
    let listen = address.unwrap_or(SocketAddr::from((own, 0))).to_string();
    let mut command = Command::new(TIDINGS);
    command.args(["serve", "--listen", &listen, "--data-dir", folder.path()]).args(flags);
    Hub::run(command)
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
            // It is killed, not asked.
            drop(hub.take());
            hub = Some(on_disk(&folder, Some(address), &[]));
        }
    });
    assert!(counted.acknowledged > 20 * kills, "{counted:?}");
    assert!(counted.connections > Plan::default().subscribers, "{counted:?}");
}

#[test]
fn a_hub_that_stood_still_for_longer_than_its_limits_loses_nothing() {
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
fn a_journal_that_is_trimmed_under_its_readers_tells_each_loss() {
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

/// What a process may write to one file, in blocks of 1024 bytes; what is beyond fails.
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

/// Runs this script where what it mounts on the folder, `$1`, is seen by nobody else. `$0` is
/// the command under test. `None` if the system lets us have no such place.
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
fn a_read_only_disk_is_told_clearly() {
    let folder = Folder::new();
    let script = "mount -t tmpfs none \"$1\" && mount -o remount,ro \"$1\" && \
                  exec \"$0\" serve --listen 127.0.0.1:0 --data-dir \"$1/data\"";
    let Some(mut command) = with_mounts(&folder, script) else { return println!("{NO_MOUNTS}") };
    let ended = command.output().expect("it runs to its end");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot be kept in") && said.contains("ead-only"), "{said}");
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
        fs::remove_file(&filler).expect("it can be removed");
    });
    assert!(counted.refused > 20, "{counted:?}");
    hub.publish("live", "after");
    assert_eq!(live.event().data, "after");
}

/// What a publisher is told that is refused.
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

/// Starts a hub that has to fail, and gives what it says.
fn fails(folder: &str) -> String {
    let ended =
        tidings(&["serve", "--listen", "127.0.0.1:0", "--journal", "disk", "--data-dir", folder]);
    assert_eq!(ended.code, Some(1), "{}", ended.error);
    ended.error
}

#[test]
fn a_second_hub_on_the_same_data_is_told_who_has_it() {
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
fn a_folder_or_a_file_that_cannot_be_used_is_told_clearly() {
    let folder = Folder::new();
    let database = folder.0.join("journal.db");
    fs::write(&database, "not a database, but somebody's letter to somebody else").unwrap();
    let said = fails(folder.path());
    assert!(said.contains("no journal of Tidings"), "{said}");
    assert!(said.contains("journal.db"), "{said}");

    let file = folder.0.join("file");
    fs::write(&file, "").unwrap();
    let said = fails(file.join("below").to_str().unwrap());
    assert!(said.contains("cannot be kept in"), "{said}");
    assert!(said.contains("--data-dir"), "{said}");

    // A super-user writes where nobody may.
    let locked = folder.0.join("locked");
    fs::create_dir(&locked).unwrap();
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o500)).unwrap();
    if fs::write(locked.join("probe"), "").is_err() {
        let said = fails(locked.to_str().unwrap());
        assert!(said.contains("cannot be kept in"), "{said}");
    }
    fs::set_permissions(&locked, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_drained_hub_goes_on_where_it_was() {
    let folder = Folder::new();
    let mut hub = on_disk(&folder, None, &[]);
    let address = hub.address;
    let seen = hub.publish("a", "1");
    hub.signal("TERM");
    assert!(hub.exit().success());
    // A hub that ended in order leaves one file, which can be copied as it is.
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
