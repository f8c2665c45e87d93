//! The addresses of a hub: IPv4, IPv6 and Unix sockets.

use std::fs;
use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener, TcpStream};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::process::Command;

use crate::durability::Folder;
use crate::hub::{File, Hub, TIDINGS, eventually, program, tidings};
use crate::wire::PATIENCE;

const OPEN: [&str; 2] = ["--anonymous-subscribe", "--anonymous-publish"];

/// A path for a socket, short enough for one.
struct Socket(Folder, String);

impl Socket {
    fn new() -> Self {
        let folder = Folder::of_temporary_files();
        let path = format!("{}/hub.sock", folder.path());
        Self(folder, path)
    }

    fn place(&self) -> String {
        format!("unix:{}", self.1)
    }

    fn exists(&self) -> bool {
        fs::symlink_metadata(&self.1).is_ok()
    }

    /// Sends a request, and returns the status and a reader that is past the head.
    fn ask(
        &self,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> (u16, BufReader<UnixStream>) {
        let mut stream = UnixStream::connect(&self.1).expect("the hub accepts");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time that is not zero");
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\
             content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
        .expect("the hub reads");
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).expect("a status line");
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        while line != "\r\n" {
            line.clear();
            reader.read_line(&mut line).expect("a head");
        }
        (status.expect("a status"), reader)
    }
}

/// Reads lines until one is `line`.
fn wait_for_line(reader: &mut impl BufRead, wanted: &str) {
    let mut line = String::new();
    while line.trim_end() != wanted {
        line.clear();
        assert_ne!(reader.read_line(&mut line).expect("a stream"), 0, "it ended before {wanted:?}");
    }
}

fn hub_on(socket: &Socket, flags: &[&str]) -> Hub {
    Hub::with(&[&["--listen", &socket.place()], &OPEN[..], flags].concat())
}

#[test]
fn a_unix_socket_serves_everything_that_an_address_does_on_the_direct_lane() {
    let socket = Socket::new();
    let mut hub = hub_on(&socket, &["-v"]);
    let found = fs::symlink_metadata(&socket.1).expect("a socket");
    assert!(found.file_type().is_socket());
    assert_eq!(found.permissions().mode() & 0o777, 0o660);
    let (status, mut stream) = socket.ask("GET", "/.well-known/mercure?topic=a", "", "");
    assert_eq!(status, 200);
    assert!(hub.wait_for_log("stream opened").contains("lane=direct"));
    hub.publish("a", "one");
    wait_for_line(&mut stream, "data: one");
    let (status, _) = socket.ask("POST", "/.well-known/mercure", "", "topic=a&data=two");
    assert_eq!(status, 200);
    wait_for_line(&mut stream, "data: two");
    // A disconnect is noticed at once, and a drain ends the other streams.
    let (_, other) = socket.ask("GET", "/.well-known/mercure?topic=a", "", "");
    hub.wait_for_log("stream opened");
    drop(other);
    assert!(hub.wait_for_log("stream closed").contains("reason=client"));
    hub.signal("TERM");
    let mut rest = String::new();
    stream.read_to_string(&mut rest).expect("text");
    assert!(rest.contains("\"draining\""), "{rest}");
    assert_eq!(hub.exit().code(), Some(0));
    assert!(!socket.exists(), "the file is removed at the end");
}

#[test]
fn a_slow_reader_on_a_unix_socket_receives_every_event() {
    let socket = Socket::new();
    let hub = hub_on(&socket, &[]);
    let (_, mut stream) = socket.ask("GET", "/.well-known/mercure?topic=a", "", "");
    let large = "x".repeat(100_000);
    for number in 0..30 {
        hub.publish("a", &format!("{number}{large}"));
    }
    for number in 0..30 {
        wait_for_line(&mut stream, &format!("data: {number}{large}"));
    }
}

#[test]
fn a_unix_socket_has_the_configured_mode_and_owner() {
    let socket = Socket::new();
    let own = fs::metadata("/proc/self").expect("a process");
    // Only root can give files away.
    let (owner, group) = match own.uid() {
        0 => (4711, 4712),
        _ => (own.uid(), own.gid()),
    };
    let (owner_text, group_text) = (owner.to_string(), group.to_string());
    let flags = ["--socket-mode", "0606", "--socket-owner", &owner_text];
    let _hub = hub_on(&socket, &[&flags[..], &["--socket-group", &group_text]].concat());
    let found = fs::symlink_metadata(&socket.1).expect("a socket");
    assert_eq!(found.permissions().mode() & 0o777, 0o606);
    assert_eq!((found.uid(), found.gid()), (owner, group));
    for (flags, says) in [
        (["--socket-mode", "9"], "must be octal"),
        (["--socket-owner", "nobody-has-this-name"], "no such user"),
        (["--socket-group", "nobody-has-this-name"], "no such group"),
        (["--listen", "unix:"], "needs a path"),
        (["--listen", "unix:@hub"], "neither mode nor owner"),
        (["--admin-listen", "unix:"], "needs a path"),
    ] {
        let ended = tidings(&[&["serve"], &flags[..]].concat());
        assert_eq!(ended.code, Some(2), "{}", ended.error);
        assert!(ended.error.contains(says), "{}", ended.error);
    }
    let long = format!("unix:/tmp/{}", "a".repeat(200));
    let ended = tidings(&["serve", "--listen", &long]);
    assert!(ended.error.contains("the system allows about 100 for a socket"), "{}", ended.error);
    let ended = tidings(&["serve", "--listen", "unix:/nowhere/hub.sock"]);
    assert!(ended.error.contains("its folder does not exist"), "{}", ended.error);
}

#[test]
fn a_stale_socket_is_replaced_and_no_other_file_is() {
    let socket = Socket::new();
    let mut killed = hub_on(&socket, &[]);
    killed.signal("KILL");
    killed.exit();
    assert!(socket.exists());
    let mut hub = hub_on(&socket, &[]);
    // Not one that is in use,
    let refused = |place: &str, says: &str| {
        let ended = tidings(&["serve", "--listen", place]);
        assert_eq!(ended.code, Some(1), "{}", ended.error);
        let says = format!("cannot listen on {place}: {says}");
        assert!(ended.error.contains(&says), "{}", ended.error);
    };
    refused(&socket.place(), "another program is listening there");
    assert_eq!(socket.ask("GET", "/", "", "").0, 200);
    // nor anything else,
    let file = format!("{}/file", socket.0.path());
    fs::write(&file, "mine").expect("a file can be written");
    refused(&format!("unix:{file}"), "a file that is not a socket exists at this path");
    assert_eq!(fs::read_to_string(&file).expect("the file"), "mine");
    // nor, at the end, a file that another program has put there meanwhile.
    fs::remove_file(&socket.1).expect("the socket");
    fs::write(&socket.1, "mine").expect("a file can be written");
    hub.signal("TERM");
    hub.exit();
    assert_eq!(fs::read_to_string(&socket.1).expect("the file"), "mine");
}

#[test]
fn on_a_unix_socket_nothing_is_open_by_default() {
    let socket = Socket::new();
    let mut child = program()
        .args(["serve", "--listen", &socket.place(), "--journal", "memory"])
        .arg("--anonymous-subscribe")
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    eventually("the socket is there", || UnixStream::connect(&socket.1).is_ok());
    assert_eq!(socket.ask("GET", "/.well-known/mercure?topic=a", "", "").0, 200);
    assert_eq!(socket.ask("POST", "/.well-known/mercure", "", "topic=a").0, 401);
    // Paths for operators are not served to the clients of a proxy.
    assert_eq!(socket.ask("GET", "/metrics", "", "").0, 404);
    crate::hub::signal(child.id(), "TERM");
    assert_eq!(crate::hub::exit(&mut child).code(), Some(0));
    let mut said = String::new();
    child.stderr.take().expect("it was piped").read_to_string(&mut said).expect("text");
    assert!(said.contains(&format!("Listens on {}.", socket.place())), "{said}");
    assert!(said.contains("May publish: no client"), "{said}");
    let curl = format!("  curl --unix-socket {} http://localhost/.well-known/mercure", socket.1);
    assert!(said.contains(&curl), "{said}");
    assert!(!said.contains("the page"), "{said}");
}

#[test]
fn metrics_and_health_are_served_on_a_separate_unix_socket() {
    let socket = Socket::new();
    let hub = Hub::with(&[&["--admin-listen", &socket.place()], &OPEN[..]].concat());
    assert_eq!(socket.ask("GET", "/readyz", "", "").0, 200);
    assert_eq!(socket.ask("GET", "/metrics", "", "").0, 200);
    assert_eq!(socket.ask("GET", "/.well-known/mercure?topic=a", "", "").0, 404);
    assert_eq!(hub.get("/metrics").status, 404);
}

#[test]
fn a_proxy_on_a_unix_socket_is_believed_if_it_is_trusted() {
    let opens = |socket: &Socket, client: &str| {
        let headers = format!("x-forwarded-for: {client}\r\n");
        let (status, mut stream) =
            socket.ask("GET", "/.well-known/mercure?topic=a&tidings=notices", &headers, "");
        assert_eq!(status, 200);
        // A stream that is told to reconnect ends; the others get their first notice.
        let mut line = String::new();
        while !line.starts_with("event:") {
            line.clear();
            if stream.read_line(&mut line).expect("a stream") == 0 {
                return None;
            }
        }
        Some(stream)
    };
    let config = |trusted: &str| {
        File::new(&format!(
            "[access]\nanonymous_subscribe = true\n[limits]\nstreams_per_address = 1\n{trusted}"
        ))
    };
    let socket = Socket::new();
    let trusting = config("trusted_proxies = [\"unix\"]\n");
    let hub = Hub::with(&["--listen", &socket.place(), "--config", trusting.path()]);
    let first = opens(&socket, "192.0.2.7:1234");
    assert!(first.is_some());
    assert!(opens(&socket, "192.0.2.7:1235").is_none());
    let second = opens(&socket, "192.0.2.8");
    assert!(second.is_some());
    drop((first, second, hub));

    let socket = Socket::new();
    let plain = config("");
    let _hub = Hub::with(&["--listen", &socket.place(), "--config", plain.path()]);
    let first = opens(&socket, "192.0.2.7");
    assert!(first.is_some());
    assert!(
        opens(&socket, "192.0.2.8").is_none(),
        "all clients of the socket count as one address"
    );
}

#[test]
fn the_hub_listens_on_a_unix_socket_from_systemd_that_outlives_it() {
    let socket = Socket::new();
    let script = "import os, socket, sys\n\
        address = socket.create_server(('127.0.0.1', 0))\n\
        path = socket.socket(socket.AF_UNIX)\n\
        path.bind(sys.argv[2])\n\
        path.listen()\n\
        os.dup2(os.dup(address.fileno()), 13)\n\
        os.dup2(path.fileno(), 14)\n\
        os.dup2(13, 3)\n\
        os.dup2(14, 4)\n\
        os.environ.update(LISTEN_FDS='2', LISTEN_PID=str(os.getpid()))\n\
        os.execv(sys.argv[1], [sys.argv[1], 'serve', '--anonymous-subscribe'])";
    let mut command = Command::new("python3");
    command.args(["-c", script, TIDINGS, &socket.1]).env("TIDINGS_JOURNAL", "memory");
    let mut hub = Hub::run(command);
    let (status, _stream) = socket.ask("GET", "/.well-known/mercure?topic=a", "", "");
    assert_eq!(status, 200);
    hub.signal("TERM");
    assert_eq!(hub.exit().code(), Some(0));
    assert!(socket.exists(), "it is systemd's");
}

/// Whether the machine has both families.
fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

#[test]
fn the_unspecified_ipv6_address_listens_on_ipv4_too() {
    if !has_ipv6() {
        return println!("skipped: this machine has no IPv6");
    }
    let hub = Hub::with(&[&["--listen", "[::]:0"], &OPEN[..]].concat());
    // The earlier flag names another address; the last line of the greeting lists all.
    let said = hub.wait_for_log("Listens on ");
    let port = port_of(&said, "[::]:");
    assert!(said.contains("(every IPv6 and IPv4 address)"), "{said}");
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4");
    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("IPv6");

    let hub = Hub::with(&[&["--listen", "[::]:0", "--ipv6-only"], &OPEN[..]].concat());
    let said = hub.wait_for_log("Listens on ");
    let port = port_of(&said, "[::]:");
    assert!(said.contains("(every IPv6 address)"), "{said}");
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect_err("no IPv4");
    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("IPv6");

    // Both named are both served, each by its own.
    let port = TcpListener::bind("[::]:0").and_then(|one| one.local_addr()).expect("a port").port();
    let (every, ipv4) = (format!("[::]:{port}"), format!("0.0.0.0:{port}"));
    let hub = Hub::with(&[&["--listen", &every, "--listen", &ipv4], &OPEN[..]].concat());
    let said = hub.wait_for_log("Listens on ");
    assert!(said.contains(&format!("{every} (every IPv6 address), {ipv4} (every IPv4")), "{said}");
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("IPv4");
    TcpStream::connect((Ipv6Addr::LOCALHOST, port)).expect("IPv6");
    drop(hub);

    // The paths for operators, likewise.
    let hub = Hub::with(&[&["--admin-listen", "[::]:0"], &OPEN[..]].concat());
    let said = hub.wait_for_log("Metrics, health checks and the operator's page on ");
    TcpStream::connect((Ipv4Addr::LOCALHOST, port_of(&said, "[::]:"))).expect("IPv4");
}

fn port_of(said: &str, before: &str) -> u16 {
    let (_, rest) = said.split_once(before).expect("an address");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a port")
}
