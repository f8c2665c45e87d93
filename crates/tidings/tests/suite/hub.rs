//! A hub in a separate process.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::wire::{Connection, PATIENCE, Response, Stream, escaped};

/// The command under test.
pub(crate) const TIDINGS: &str = env!("CARGO_BIN_EXE_tidings");

/// A path where no folder can be created. A hub without a folder or another journal fails at once,
/// instead of sharing the developer's own folder with all other tests.
const NO_FOLDER: &str = "/dev/null/the-test-names-no-folder";

/// The command under test, to be given arguments.
pub(crate) fn program() -> Command {
    let mut command = Command::new(TIDINGS);
    command.env("XDG_STATE_HOME", NO_FOLDER);
    command
}

/// A hub on a free port of the loopback. Dropping it kills it.
pub(crate) struct Hub {
    child: Child,
    pub(crate) address: SocketAddr,
    /// Its output before the line with its addresses.
    pub(crate) began: Vec<String>,
    log: Mutex<Receiver<String>>,
    /// Whether its log is not read.
    is_unread: Arc<AtomicBool>,
}

impl Hub {
    /// A hub for development.
    pub(crate) fn start() -> Self {
        Self::with(&[])
    }

    /// A hub with further flags.
    pub(crate) fn with(flags: &[&str]) -> Self {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0"]).args(flags);
        if !flags.contains(&"--data-dir") {
            command.env("TIDINGS_JOURNAL", "memory");
        }
        Self::run(command)
    }

    /// A hub that is started without the word `serve`.
    pub(crate) fn without_serve(flags: &[&str]) -> Self {
        let mut command = program();
        command.args(flags);
        Self::run(command)
    }

    /// A hub with these variables in its environment.
    pub(crate) fn with_environment(variables: &[(&str, &str)]) -> Self {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--journal", "memory"]);
        command.envs(variables.iter().copied());
        Self::run(command)
    }

    /// A hub with further flags that keeps so many updates.
    pub(crate) fn that_keeps(count: usize, flags: &[&str]) -> Self {
        let config = File::new(&format!(
            "[access]\nanonymous_publish = true\nanonymous_subscribe = true\n\
             [[journal.retention]]\ncount = {count}\n"
        ));
        let mut flags = flags.to_vec();
        flags.extend(["--config", config.path()]);
        Self::with(&flags)
    }

    /// A hub that may open so many files.
    pub(crate) fn with_descriptors(count: usize) -> Self {
        let mut command = Command::new("sh");
        let script =
            format!("ulimit -n {count}; exec \"$0\" serve --listen 127.0.0.1:0 --journal memory");
        command.args(["-c", &script, TIDINGS]);
        Self::run(command)
    }

    /// A hub that this command starts.
    pub(crate) fn run(mut command: Command) -> Self {
        let mut child = command
            .env("XDG_STATE_HOME", NO_FOLDER)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the hub's program starts");
        let stderr = child.stderr.take().expect("it was piped");
        // Room for more than any test logs; further lines are discarded.
        let (lines, log) = sync_channel(10_000);
        let is_unread = Arc::new(AtomicBool::new(false));
        let unread = Arc::clone(&is_unread);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let _ = lines.try_send(line);
                // The pipe stays open, as that of a reader that hangs.
                while unread.load(Ordering::Acquire) {
                    thread::park_timeout(PATIENCE);
                }
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut hub = Self { child, address, began: Vec::new(), log: Mutex::new(log), is_unread };
        // Other addresses may be printed before: those of the servers of its journal.
        let served = |line: &str| {
            let (before, rest) = line.split_once("://")?;
            let is_http = before.ends_with("http") || before.ends_with("https");
            let authority = rest.split('/').next().filter(|_| is_http)?;
            authority.replace("localhost:", "127.0.0.1:").parse().ok()
        };
        let mut address = None;
        hub.began = hub.log_until_one_is("an address", |line| {
            address = served(line);
            address.is_some()
        });
        hub.began.pop();
        hub.address = address.expect("the last line has one");
        hub
    }

    /// The next line of the log that has `text` in it.
    pub(crate) fn wait_for_log(&self, text: &str) -> String {
        self.log_until(text).pop().expect("at least that line")
    }

    /// The lines of the log up to the next one that contains `text`.
    pub(crate) fn log_until(&self, text: &str) -> Vec<String> {
        self.log_until_one_is(text, |line| line.contains(text))
    }

    fn log_until_one_is(&self, what: &str, mut is_it: impl FnMut(&str) -> bool) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        let log = self.log.lock().expect("it is not poisoned");
        while let Ok(line) = log.recv_timeout(until.saturating_duration_since(Instant::now())) {
            let is_last = is_it(&line);
            seen.push(line);
            if is_last {
                return seen;
            }
        }
        panic!("the hub never said {what:?}, but:\n{}", seen.join("\n"))
    }

    /// From now on the hub's output is not read.
    pub(crate) fn stop_reading_the_log(&self) {
        self.is_unread.store(true, Ordering::Release);
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn connect(&self) -> Connection {
        Connection::open(self.address)
    }

    pub(crate) fn get(&self, path: &str) -> Response {
        let mut connection = self.connect();
        connection.send(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes());
        connection.response()
    }

    /// Opens a stream and checks that it is one.
    pub(crate) fn subscribe(&self, topic: &str) -> Stream {
        self.subscribe_with(&format!("topic={}", escaped(topic)), "")
    }

    /// Opens a stream with this query and these header lines, each with its line end.
    pub(crate) fn subscribe_with(&self, query: &str, headers: &str) -> Stream {
        let mut connection = self.connect();
        connection.ask_for_stream(query, headers);
        Stream::of(connection)
    }

    pub(crate) fn publisher(&self) -> Publisher {
        Publisher(self.connect())
    }

    /// Publishes one update and returns its id.
    pub(crate) fn publish(&self, topic: &str, data: &str) -> String {
        self.publisher().publish(&[(topic, data)]).remove(0)
    }

    pub(crate) fn metrics(&self) -> Metrics {
        Metrics(self.get("/metrics").text())
    }

    /// The sum of a metric over all its labels.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        self.metrics().sum(name)
    }

    /// Waits until the metric is `value`.
    pub(crate) fn wait_for_metric(&self, name: &str, value: u64) {
        let what = format!("{name} is {value}");
        eventually(&what, || self.metric(name) == value);
    }

    /// Checks that the hub still works.
    pub(crate) fn is_well(&self) {
        assert_eq!(self.get("/healthz").status, 200);
        let mut stream = self.subscribe("https://well.test/");
        self.publish("https://well.test/", "well");
        assert_eq!(stream.event().data, "well");
    }

    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("a running process").count()
    }

    /// Sends a signal by its name, as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }

    /// Waits for the process to end by itself.
    pub(crate) fn exit(&mut self) -> ExitStatus {
        exit(&mut self.child)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        if thread::panicking() {
            for line in self.log.get_mut().into_iter().flat_map(|log| log.try_iter()).take(100) {
                eprintln!("hub: {line}");
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        self.is_unread.store(false, Ordering::Release);
    }
}

/// All metrics at one moment.
pub(crate) struct Metrics(String);

impl Metrics {
    /// The sum of a metric over all its labels.
    pub(crate) fn sum(&self, name: &str) -> u64 {
        let value = |line: &str| {
            let (key, value) = line.rsplit_once(' ')?;
            let is_it = key == name || key.split('{').next() == Some(name);
            is_it.then(|| value.parse::<f64>().expect("a number") as u64)
        };
        self.0.lines().filter_map(value).sum()
    }
}

/// A connection that publishes.
pub(crate) struct Publisher(Connection);

impl Publisher {
    /// Publishes these pairs of topic and data in one request, and returns their ids.
    pub(crate) fn publish(&mut self, updates: &[(&str, &str)]) -> Vec<String> {
        self.publish_body(&body(updates))
    }

    /// Publishes a [`body`].
    pub(crate) fn publish_body(&mut self, body: &[u8]) -> Vec<String> {
        self.0.send(
            format!(
                "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
                 content-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
                body.len()
            )
            .as_bytes(),
        );
        self.0.send(body);
        let answer = self.0.response();
        let text = answer.text();
        assert_eq!(answer.status, 200, "{text}");
        let id = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
            line["id"].as_str().expect("an id").to_owned()
        };
        text.lines().map(id).collect()
    }
}

/// A request's body for pairs of topic and data.
pub(crate) fn body(updates: &[(&str, &str)]) -> Vec<u8> {
    let line = |(topic, data): &(&str, &str)| {
        format!("{}\n", serde_json::json!({ "topics": [topic], "data": data }))
    };
    updates.iter().map(line).collect::<String>().into_bytes()
}

/// A file that is removed when it is dropped.
pub(crate) struct File(PathBuf);

impl File {
    pub(crate) fn new(text: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}-{number}.toml", std::process::id());
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::write(&path, text).expect("a file can be written");
        Self(path)
    }

    /// Writes another text into the file.
    pub(crate) fn write(&self, text: &str) {
        fs::write(&self.0, text).expect("a file can be written");
    }

    pub(crate) fn path(&self) -> &str {
        self.0.to_str().expect("a path that is text")
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Waits until `is_so`, and fails with the text `what` if this takes too long.
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < until, "it never came to this: {what}");
        thread::park_timeout(Duration::from_millis(10));
    }
}

pub(crate) fn signal(pid: u32, name: &str) {
    let script = format!("kill -{name} {pid}");
    let status = Command::new("sh").args(["-c", &script]).status().expect("a shell");
    assert!(status.success(), "{script}");
}

/// Waits for a process to end by itself, and kills one that does not.
pub(crate) fn exit(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().expect("a child") {
            return status;
        }
        if Instant::now() > until {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the process did not end");
        }
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Runs the command to its end.
pub(crate) fn tidings(arguments: &[&str]) -> Finished {
    tidings_with(&[], arguments)
}

/// Runs the command to its end, with these variables in its environment.
pub(crate) fn tidings_with(variables: &[(&str, &str)], arguments: &[&str]) -> Finished {
    let child = program()
        .args(arguments)
        .env("TIDINGS_JOURNAL", "memory")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    finish(child)
}

/// The output and the exit code of a command.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) error: String,
}

/// Waits for a command with little output.
pub(crate) fn finish(mut child: Child) -> Finished {
    let status = exit(&mut child);
    let read = |pipe: Option<&mut dyn std::io::Read>| {
        let mut text = String::new();
        if let Some(pipe) = pipe {
            pipe.read_to_string(&mut text).expect("UTF-8");
        }
        text
    };
    let out = read(child.stdout.as_mut().map(|pipe| pipe as _));
    let error = read(child.stderr.as_mut().map(|pipe| pipe as _));
    Finished { code: status.code(), out, error }
}
