//! Unsuitable surroundings of the hub: a port in use, foreign files, little memory, a clock that is
//! set.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::hub::{File, Finished, Hub, TIDINGS, finish, program, tidings};
use crate::wire::Connection;

/// A folder that every user may enter, until it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidings-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder can be made");
        set_mode(&path, 0o755);
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("a path that is text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn set_mode(path: impl AsRef<Path>, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a file of ours");
}

#[test]
fn a_port_in_use_is_an_error_and_its_owner_is_not_disturbed() {
    let hub = Hub::start();
    let address = hub.address.to_string();
    let ended = tidings(&["serve", "--listen", &address]);
    assert_eq!(ended.code, Some(1), "{}", ended.error);
    let says = format!("cannot listen on {address}: another program is using this address");
    assert!(ended.error.contains(&says), "{}", ended.error);
    hub.is_well();
}

/// Runs the command as a user that owns no files or, if the test does not run as root, as the
/// test's user.
fn as_nobody(folder: &Folder, arguments: &[&str]) -> Finished {
    let is_root =
        fs::metadata("/proc/self").is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0);
    let nobody = ["--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let mut command = if is_root {
        // The program's own folder may be out of reach for others.
        let program = folder.path("tidings");
        if !Path::new(&program).exists() {
            fs::copy(TIDINGS, &program).expect("the program can be copied");
        }
        let mut command = Command::new("setpriv");
        command.args(nobody).arg(program);
        command
    } else {
        program()
    };
    let child = command.args(arguments).stdin(Stdio::null());
    finish(child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts"))
}

#[test]
fn foreign_files_are_named_and_not_changed() {
    let folder = Folder::new();
    let data = folder.path("data");
    {
        let mut hub = Hub::with(&["--data-dir", &data, "--journal", "disk"]);
        hub.publish("a", "kept");
        hub.signal("TERM");
        assert_eq!(hub.exit().code(), Some(0));
    }
    let key = folder.path("key");
    fs::write(&key, "a secret of at least thirty-two bytes").expect("a folder of ours");
    let is_closed = |closed| {
        let (file, dir) = if closed { (0o000, 0o000) } else { (0o600, 0o700) };
        set_mode(&key, file);
        set_mode(&data, dir);
    };
    is_closed(true);
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    for (flags, code, says) in [
        (&["--data-dir", &data][..], 1, &data),
        (&["--publisher-key-file", &key, "--journal", "memory"], 2, &key),
        (&["--config", &key], 2, &key),
        (&["--tls-cert", &key, "--tls-key", &key, "--journal", "memory"], 1, &key),
    ] {
        if flags[0] == "--tls-cert" && cfg!(not(feature = "tls")) {
            continue;
        }
        let ended = as_nobody(&folder, &[&serve[..], flags].concat());
        assert_eq!(ended.code, Some(code), "{flags:?}: {}", ended.error);
        assert!(ended.error.contains(says), "{flags:?}: {}", ended.error);
        assert!(ended.error.contains("ermission denied"), "{flags:?}: {}", ended.error);
    }
    is_closed(false);
    // The owner's files are unchanged.
    let hub = Hub::with(&["--data-dir", &data, "--journal", "disk"]);
    let mut stream = hub.subscribe_with("topic=a&lastEventID=earliest", "");
    assert_eq!(stream.event().data, "kept");
}

/// A control group that limits the memory of its members together.
struct Group(PathBuf);

impl Group {
    /// `None` where this user may make none.
    fn new(bytes: u64) -> Option<Self> {
        let name = format!("tidings-test-{}", std::process::id());
        let version_1 = Path::new("/sys/fs/cgroup/memory");
        let version_2 = Path::new("/sys/fs/cgroup");
        let (mount, file) = if version_1.is_dir() {
            (version_1, "memory.limit_in_bytes")
        } else {
            (version_2, "memory.max")
        };
        let group = Self(mount.join(name));
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join(file), bytes.to_string()).ok()?;
        Some(group)
    }

    /// Starts a hub in it.
    fn hub(&self, flags: &str) -> Hub {
        let mut command = Command::new("sh");
        let script = "echo $$ > \"$1/cgroup.procs\" && exec \"$0\" serve --listen 127.0.0.1:0";
        command.args(["-c", &format!("{script} {flags}"), TIDINGS]).arg(&self.0);
        Hub::run(command)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // It can be removed once its last process has ended.
        let _ = fs::remove_dir(&self.0);
    }
}

/// The memory of the control group, in MiB.
const MEMORY: u64 = 160;
/// How many streams fit in addition to the hub itself, its journal in memory, the windows of two
/// shards, an eighth for selectors and a sixteenth for requests, with a connection for every four.
const ROOM: usize = (((MEMORY - 32 - 64 - 2 * 8 - MEMORY / 8 - MEMORY / 16) << 10) / 20) as usize;

#[test]
fn streams_that_do_not_fit_into_the_control_groups_memory_are_told_to_reconnect() {
    let Some(group) = Group::new(MEMORY << 20) else {
        return println!("no control group can be made here; the unit tests have its reading");
    };
    let mut hub = group.hub("--journal memory --shards 2");
    let told = |line: &String| line.contains("fits into the control group's memory");
    let line = hub.began.iter().find(|line| told(line)).expect("a bound that is told");
    assert!(line.contains(&format!("streams={ROOM}")), "{line}");
    let mut streams: Vec<_> = (0..ROOM).map(|_| hub.subscribe("a")).collect();
    let mut surplus = hub.subscribe("a");
    assert_eq!(surplus.next(), None);
    assert!(surplus.retry.is_some());
    // The hub delivers more data than the group has memory, and some clients read none of it.
    streams.truncate(20);
    let data = "x".repeat(100_000);
    let mut publisher = hub.publisher();
    for _ in 0..1000 {
        publisher.publish(&[("a", &data)]);
    }
    assert!(hub.is_running(), "the kernel has ended it");
    hub.is_well();
    drop(hub);
    drop(group);
}

/// A clock that only the hub believes in.
struct Clock {
    file: File,
    library: String,
}

impl Clock {
    fn new() -> Self {
        let found = Command::new("faketime")
            .args(["-f", "+0", "printenv", "LD_PRELOAD"])
            .output()
            .expect("faketime is installed (Debian: faketime)");
        let library = String::from_utf8(found.stdout).expect("a path").trim().to_owned();
        Self { file: File::new("+0"), library }
    }

    fn hub(&self, flags: &[&str]) -> Hub {
        let mut command = program();
        command
            .args(["serve", "--listen", "127.0.0.1:0"])
            .args(flags)
            .env("LD_PRELOAD", &self.library)
            .env("FAKETIME_TIMESTAMP_FILE", self.file.path())
            .env("FAKETIME_NO_CACHE", "1")
            .env("NO_FAKE_STAT", "1")
            // As if an administrator or NTP set the clock: only the time of day changes.
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
        Hub::run(command)
    }

    /// Sets it so many seconds off the real one.
    fn set(&self, offset: &str) {
        let new = File::new(offset);
        fs::rename(new.path(), self.file.path()).expect("two files of ours");
    }
}

/// Reads until the hub sends a comment, so the stream is alive.
fn beats(stream: &mut Connection) {
    loop {
        let chunk = stream.chunk();
        assert!(!chunk.is_empty(), "the stream ended");
        if chunk.starts_with(b"2\r\n:") {
            return;
        }
    }
}

const SECRET: &str = "a secret of at least thirty-two bytes";

#[test]
fn a_change_of_the_clock_ends_no_stream_and_loses_nothing() {
    let (clock, folder) = (Clock::new(), Folder::new());
    let data = folder.path("data");
    let hub = clock.hub(&[
        "--journal",
        "disk",
        "--data-dir",
        &data,
        "--heartbeat",
        "1s",
        "--anonymous-publish",
        "--anonymous-subscribe",
        "--subscriber-key",
        SECRET,
    ]);
    let bearer = |expires: &str| {
        let made = tidings(&["token", "--subscribe", "*", "--key", SECRET, "--expires", expires]);
        assert_eq!(made.code, Some(0), "{}", made.error);
        format!("authorization: Bearer {}\r\n", made.out.trim())
    };
    let (short, long) = (bearer("30m"), bearer("7d"));
    let mut quiet = hub.connect();
    quiet.ask_for_stream("topic=quiet", "");
    let mut stream = hub.subscribe_with("topic=a", &short);
    let first = hub.publish("a", "0");
    assert_eq!(stream.event().data, "0");
    let status = |bearer: &str| {
        let mut connection = hub.connect();
        connection.ask_for_stream("topic=a", bearer);
        connection.head().expect("an answer").status
    };
    let mut expected = Vec::new();
    for (offset, is_expired) in
        [("+3600", true), ("+100000", true), ("-3600", false), ("+0", false)]
    {
        clock.set(offset);
        let data = format!("at {offset}");
        hub.publish("a", &data);
        assert_eq!(stream.event().data, data, "the open stream goes on");
        beats(&mut quiet);
        expected.push(data);
        // A returning subscriber gets the missed events in order, including those that are a day
        // old by now, which is as long as the journal keeps them by default.
        let resume = format!("{long}last-event-id: {first}\r\n");
        let mut resumed = hub.subscribe_with("topic=a", &resume);
        assert_eq!(resumed.data(expected.len()), expected);
        // Tokens are checked against the time of day when they are used.
        assert_eq!(status(&short), if is_expired { 401 } else { 200 });
    }
    assert_eq!(hub.metric("tidings_streams_closed_total{reason=\"expired\"}"), 0);
    assert_eq!(hub.metric("tidings_gaps_total"), 0);
}
