//! A hub under systemd: its notifications, and the sockets that systemd passes.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::hub::{Hub, TIDINGS, program};
use crate::wire::PATIENCE;

/// The socket for notifications to systemd.
struct Supervisor(UnixDatagram, PathBuf);

impl Supervisor {
    fn new() -> Self {
        let name = format!("tidings-notify-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("a socket can be made");
        socket.set_read_timeout(Some(PATIENCE)).expect("a socket of ours");
        Self(socket, path)
    }

    fn hears(&self, words: &str) {
        let mut message = [0; 1024];
        let length = self.0.recv(&mut message).expect("systemd is told something");
        let message = std::str::from_utf8(&message[..length]).expect("text");
        assert!(message.contains(words), "{message:?} is not {words:?}");
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.1);
    }
}

#[test]
fn systemd_is_notified_when_the_hub_is_ready_reloads_and_stops() {
    let supervisor = Supervisor::new();
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--journal", "memory"]);
    command.env("NOTIFY_SOCKET", &supervisor.1);
    let mut hub = Hub::run(command);
    supervisor.hears("READY=1");
    hub.signal("HUP");
    supervisor.hears("RELOADING=1");
    supervisor.hears("READY=1");
    hub.signal("TERM");
    supervisor.hears("STOPPING=1");
    assert_eq!(hub.exit().code(), Some(0));
}

#[test]
fn the_hub_listens_on_a_socket_from_systemd_that_outlives_it() {
    // As systemd does, passes the socket as descriptor 3 of the started process.
    let script = "import os, socket, sys\n\
        listener = socket.create_server(('127.0.0.1', 0))\n\
        os.dup2(listener.fileno(), 3)\n\
        os.set_inheritable(3, True)\n\
        os.environ.update(LISTEN_FDS='1', LISTEN_PID=str(os.getpid()))\n\
        os.execv(sys.argv[1], [sys.argv[1], 'serve', '--listen', '127.0.0.1:1'])";
    let mut command = Command::new("python3");
    command.args(["-c", script, TIDINGS]).env("TIDINGS_JOURNAL", "memory");
    let mut hub = Hub::run(command);
    assert_ne!(hub.address.port(), 1);
    hub.is_well();
    hub.signal("TERM");
    assert_eq!(hub.exit().code(), Some(0));
}

#[test]
fn during_a_drain_streams_end_one_after_the_other() {
    let mut hub = Hub::with(&["--drain", "2s"]);
    let streams: Vec<_> = (0..20).map(|_| hub.subscribe("a")).collect();
    hub.wait_for_metric("tidings_subscribers", 20);
    hub.signal("TERM");
    hub.wait_for_log("draining");
    // Publishers are served until the window's end.
    hub.publish("a", "meanwhile");
    let mut had_it = 0;
    for mut stream in streams {
        let first = stream.event();
        let notice = if first.data == "meanwhile" {
            had_it += 1;
            stream.event()
        } else {
            first
        };
        assert_eq!(notice.notice()["kind"], "draining");
        let retry = stream.retry.expect("a time to come back");
        assert!((Duration::from_secs(1)..=Duration::from_secs(8)).contains(&retry), "{retry:?}");
        assert_eq!(stream.next(), None);
    }
    assert!(had_it > 0, "no stream was open when the drain had begun");
    assert_eq!(hub.exit().code(), Some(0));
}

/// A fenced block of the documentation that begins with this line.
fn documented(first_line: &str) -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operating.md");
    let text = std::fs::read_to_string(path).expect("the documentation");
    let begin = text.find(first_line).expect("the block");
    text[begin..].split("\n```").next().expect("its text").to_owned()
}

#[test]
fn systemd_accepts_the_units_in_the_documentation() {
    let folder = std::env::temp_dir().join(format!("tidings-units-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let write = |name: &str| {
        let unit = documented(&format!("# /etc/systemd/system/{name}"));
        let path = folder.join(name);
        // The program is elsewhere while it is tested.
        std::fs::write(&path, unit.replace("/usr/local/bin/tidings", TIDINGS)).expect("a folder");
        path
    };
    let (service, socket) = (write("tidings.service"), write("tidings.socket"));
    let run = |arguments: &[&str]| {
        let mut analyze = Command::new("systemd-analyze");
        let ended = analyze.args(arguments).args([&service, &socket][..].iter().take(
            // Only services have a sandbox.
            if arguments[0] == "verify" { 2 } else { 1 },
        ));
        let ended = ended.output().expect("systemd-analyze is installed (Debian: systemd)");
        let said = String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned();
        (ended.status.success(), said)
    };
    let verified = run(&["verify", "--man=no"]);
    // In tenths, from 0, the best value; a service without a sandbox has 96.
    let sandbox = run(&["security", "--offline=yes", "--threshold=20"]);
    let _ = std::fs::remove_dir_all(&folder);
    // On a system without the referenced units, systemd warns about those. It must not warn about
    // ours.
    let ours: Vec<_> = verified.1.lines().filter(|line| line.contains("tidings")).collect();
    assert!(ours.is_empty(), "{}", verified.1);
    assert!(sandbox.0, "{}", sandbox.1);
}
