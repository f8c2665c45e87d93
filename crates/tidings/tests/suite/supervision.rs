//! A hub under systemd: what it tells it, and the sockets that it gets from it.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::hub::{Hub, TIDINGS};
use crate::wire::PATIENCE;

/// The socket on which systemd is told things.
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
fn systemd_is_told_when_the_hub_is_ready_reloads_and_stops() {
    let supervisor = Supervisor::new();
    let mut command = Command::new(TIDINGS);
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
fn a_socket_of_systemds_is_listened_on_and_outlives_the_hub() {
    // What systemd does: the socket is the third descriptor of the process that it starts.
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
fn over_a_drains_window_streams_end_one_after_the_other() {
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
