//! NATS servers in processes of their own, for tests and benchmarks: one, or a cluster of three,
//! with JetStream, each on a loopback address of its own and on ports from the system.

#![allow(dead_code, unreachable_pub, reason = "whoever includes this uses a part of it")]

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take before the test fails: a machine may be busy, and an election takes
/// up to ten seconds on one that is not.
const PATIENCE: Duration = Duration::from_secs(90);

/// Servers that know each other. Dropping them kills them and removes what they kept.
pub struct Nats {
    folder: PathBuf,
    servers: Vec<Server>,
}

/// Further lines of configuration.
#[derive(Clone, Copy, Default)]
pub struct Settings<'a> {
    /// As `max_payload: 4K`.
    pub server: &'a str,
    /// As `sync_interval: always`.
    pub jetstream: &'a str,
}

/// Where a server runs.
pub struct Place {
    pub address: IpAddr,
    /// What starts a command there: its first words, as `ip netns exec NAME`.
    pub prefix: Vec<String>,
}

impl Place {
    /// A loopback address for one server alone, so that its ports stay free while it is stopped. The
    /// seed of a test does not decide it, so that tests with the same seed have different ones.
    pub fn of_its_own() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number =
            (u64::from(std::process::id()) << 32) | COUNT.fetch_add(1, Ordering::Relaxed) as u64;
        let mut random = fastrand::Rng::with_seed(number);
        let [b, c, d] = [(); 3].map(|()| random.u8(1..250));
        Self { address: IpAddr::from([127, b, c, d]), prefix: Vec::new() }
    }
}

struct Server {
    name: String,
    program: PathBuf,
    prefix: Vec<String>,
    config: PathBuf,
    log: PathBuf,
    clients: SocketAddr,
    monitor: SocketAddr,
    child: Option<Child>,
}

impl Nats {
    /// One server.
    pub fn one() -> Self {
        Self::one_with(Settings::default())
    }

    /// One server that is too old for the hub.
    pub fn old() -> Self {
        let program = program("NATS_SERVER_OLD", "nats-server-old");
        Self::start_all(&program, vec![Place::of_its_own()], Settings::default())
    }

    /// A cluster of three.
    pub fn cluster() -> Self {
        Self::cluster_with(Settings::default())
    }

    /// A cluster of three with further lines of configuration.
    pub fn cluster_with(settings: Settings<'_>) -> Self {
        Self::cluster_at((0..3).map(|_| Place::of_its_own()).collect(), settings)
    }

    /// A cluster in these places, with further lines of configuration.
    pub fn cluster_at(places: Vec<Place>, settings: Settings<'_>) -> Self {
        Self::start_all(&program("NATS_SERVER", "nats-server"), places, settings)
    }

    /// One server with further lines of configuration.
    pub fn one_with(settings: Settings<'_>) -> Self {
        let program = program("NATS_SERVER", "nats-server");
        Self::start_all(&program, vec![Place::of_its_own()], settings)
    }

    fn start_all(program: &Path, places: Vec<Place>, settings: Settings<'_>) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        // Cargo names a folder for integration tests and benchmarks only.
        let parent = option_env!("CARGO_TARGET_TMPDIR").map_or_else(std::env::temp_dir, Into::into);
        let folder = parent.join(format!("nats-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder can be made");
        let ports: Vec<_> = places.iter().map(ports).collect();
        let routes: Vec<_> = places
            .iter()
            .zip(&ports)
            .map(|(place, ports)| format!("nats://{}:{}", place.address, ports[2]))
            .collect();
        let mut servers = Vec::new();
        for (index, (place, [clients, monitor, routing])) in places.iter().zip(ports).enumerate() {
            let name = format!("n{}", index + 1);
            let address = place.address;
            let store = folder.join(&name);
            let mut text = format!(
                "server_name: {name}\nlisten: \"{address}:{clients}\"\nhttp: \"{address}:{monitor}\"\n\
                 jetstream {{\n store_dir: {store:?}\n max_memory_store: 256M\n \
                 max_file_store: 8G\n {}\n}}\n{}\n",
                settings.jetstream, settings.server
            );
            if places.len() > 1 {
                let routes = routes.join(", ");
                // Writing to a string can't fail.
                let _ = writeln!(
                    text,
                    "cluster {{ name: test, listen: \"{address}:{routing}\", routes: [{routes}] }}"
                );
            }
            let config = folder.join(format!("{name}.conf"));
            fs::write(&config, text).expect("a configuration can be written");
            servers.push(Server {
                program: program.to_owned(),
                prefix: place.prefix.clone(),
                config,
                log: folder.join(format!("{name}.log")),
                clients: (address, clients).into(),
                monitor: (address, monitor).into(),
                child: None,
                name,
            });
        }
        let mut nats = Self { folder, servers };
        for index in 0..nats.servers.len() {
            nats.launch(index);
        }
        nats.wait_until_well();
        nats
    }

    /// The servers as a hub is told them.
    pub fn url(&self) -> String {
        let all: Vec<_> =
            self.servers.iter().map(|one| format!("nats://{}", one.clients)).collect();
        all.join(",")
    }

    pub fn len(&self) -> usize {
        self.servers.len()
    }

    pub fn pid(&self, index: usize) -> u32 {
        self.servers[index].child.as_ref().expect("it runs").id()
    }

    /// Starts a server that was killed, and waits until it is one of the cluster again.
    pub fn start(&mut self, index: usize) {
        self.launch(index);
        self.wait_until_well();
    }

    /// Starts a server that was killed.
    pub fn launch(&mut self, index: usize) {
        let server = &mut self.servers[index];
        let log = fs::File::options().create(true).append(true).open(&server.log);
        let log = log.expect("a log can be written");
        let mut command = match server.prefix.split_first() {
            Some((first, rest)) => {
                let mut command = Command::new(first);
                command.args(rest).arg(&server.program);
                command
            }
            None => Command::new(&server.program),
        };
        let child = command
            .arg("--config")
            .arg(&server.config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        server.child = Some(child.unwrap_or_else(|error| {
            panic!("{} can't be started: {error}", server.program.display())
        }));
    }

    /// `kill -9`.
    pub fn kill(&mut self, index: usize) {
        self.servers[index].kill();
    }

    /// Ends a server as its operator would.
    pub fn stop(&mut self, index: usize) {
        self.signal(index, "TERM");
        if let Some(mut child) = self.servers[index].child.take() {
            child.wait().expect("a child");
        }
    }

    /// Sends a signal by its name, as `STOP`.
    pub fn signal(&self, index: usize, name: &str) {
        let script = format!("kill -{name} {}", self.pid(index));
        let status = Command::new("sh").args(["-c", &script]).status().expect("a shell");
        assert!(status.success(), "{script}");
    }

    /// The folder that a server keeps its streams in.
    pub fn store(&self, index: usize) -> PathBuf {
        self.folder.join(&self.servers[index].name)
    }

    /// Waits until every server answers and has what it is to have.
    pub fn wait_until_well(&self) {
        for server in &self.servers {
            self.until(&format!("{} is well", server.name), || {
                server.monitor("/healthz").is_some_and(|(status, _)| status == 200)
            });
        }
    }

    /// What a server says of itself under this path of its monitoring port.
    pub fn monitor(&self, index: usize, path: &str) -> Value {
        let (_, body) = self.servers[index].monitor(path).expect("it answers");
        body
    }

    /// The server that leads the stream, once there is one that all agree on who answer.
    pub fn leader(&self, stream: &str) -> usize {
        let mut found = None;
        self.until(&format!("{stream} has a leader"), || {
            let mut named = None;
            for server in self.servers.iter().filter(|one| one.child.is_some()) {
                let said = server.monitor("/jsz?streams=true&accounts=true");
                let name = said.and_then(|(_, jsz)| {
                    let accounts = jsz["account_details"].as_array()?.clone();
                    let streams = accounts.iter().filter_map(|one| one["stream_detail"].as_array());
                    let mut all = streams.flatten();
                    let one = all.find(|one| one["name"] == stream)?;
                    one["cluster"]["leader"].as_str().map(str::to_owned)
                });
                match (name, &named) {
                    (Some(name), None) => named = Some(name),
                    (Some(name), Some(before)) if name == *before => {}
                    _ => return false,
                }
            }
            let running = |one: &&Server| one.child.is_some();
            let all = self.servers.iter();
            found = all.clone().position(|one| running(&one) && Some(&one.name) == named.as_ref());
            found.is_some()
        });
        found.expect("it was found")
    }

    /// Asks JetStream something, as `STREAM.PURGE.name`, through any server that answers.
    pub fn api(&self, request: &str, body: &str) -> Value {
        let subject = format!("$JS.API.{request}");
        let mut answer = None;
        self.until(&format!("{request} is answered"), || {
            answer = self.servers.iter().find_map(|one| ask(one.clients, &subject, body));
            answer.is_some()
        });
        answer.expect("it was answered")
    }

    fn until(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so() {
            if Instant::now() > until {
                panic!("it never came to this: {what}\n{}", self.logs());
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    }

    /// The end of what each server said.
    pub fn logs(&self) -> String {
        let mut text = String::new();
        for server in &self.servers {
            let log = fs::read_to_string(&server.log).unwrap_or_default();
            for line in log.lines().rev().take(30).collect::<Vec<_>>().into_iter().rev() {
                // Writing to a string can't fail.
                let _ = writeln!(text, "{}: {line}", server.name);
            }
        }
        text
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
        }
        for server in &mut self.servers {
            server.kill();
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

impl Server {
    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// The status and the body under a path of the monitoring port, if it answers.
    fn monitor(&self, path: &str) -> Option<(u16, Value)> {
        let mut socket = connect(self.monitor)?;
        write!(socket, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        Some((status, serde_json::from_str(body).ok()?))
    }
}

fn connect(address: SocketAddr) -> Option<TcpStream> {
    let socket = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    // A server that stands still accepts, and says nothing.
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    Some(socket)
}

/// One request in the protocol of NATS clients, and its answer.
fn ask(address: SocketAddr, subject: &str, body: &str) -> Option<Value> {
    let mut socket = connect(address)?;
    write!(
        socket,
        "CONNECT {{\"verbose\":false}}\r\nSUB _INBOX.test 1\r\n\
         PUB {subject} _INBOX.test {}\r\n{body}\r\n",
        body.len()
    )
    .ok()?;
    let mut lines = BufReader::new(socket);
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok().filter(|count| *count > 0)?;
        if let Some(message) = line.strip_prefix("MSG ") {
            let length = message.trim().rsplit(' ').next()?.parse().ok()?;
            let mut body = vec![0; length];
            lines.read_exact(&mut body).ok()?;
            return serde_json::from_slice(&body).ok();
        }
        if line.starts_with("-ERR") {
            return None;
        }
    }
}

/// Three ports that are free at that address.
fn ports(place: &Place) -> [u16; 3] {
    // Where a namespace has the address, nobody else listens at it.
    if !place.address.is_loopback() {
        return [4222, 8222, 6222];
    }
    // All are held until all are known, so that they differ.
    let listeners = [(); 3].map(|()| TcpListener::bind((place.address, 0)).expect("a free port"));
    listeners.map(|one| one.local_addr().expect("it is bound").port())
}

/// The server's program: the one that the variable names, or that `cargo xtask setup` installed.
fn program(variable: &str, name: &str) -> PathBuf {
    if let Some(path) = std::env::var_os(variable) {
        return path.into();
    }
    let test = std::env::current_exe().expect("a test is a program");
    // One of the folders around it is the one that cargo builds into.
    let folders = test.ancestors().map(|one| one.join("tools").join(name).join("bin"));
    let mut programs = folders.map(|folder| folder.join("nats-server"));
    programs.find(|program| program.is_file()).unwrap_or_else(|| {
        panic!(
            "this test needs a nats-server: `cargo xtask setup` installs one, {variable}=PATH names another"
        )
    })
}
