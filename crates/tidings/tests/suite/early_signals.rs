//! Signals that arrive while the hub starts.

use std::process::{Command, Stdio};

use crate::durability::Folder;
use crate::hub::{TIDINGS, finish};

/// Sends the signals as soon as the hub's socket can be seen, which is before a client can
/// connect. Ends with the hub's exit code, 128 and the signal's number if that killed it.
const SCRIPT: &str = r#"
socket=$1; shift
"$0" serve --listen "unix:$socket" --anonymous-subscribe --anonymous-publish &
hub=$!
until [ -S "$socket" ]; do kill -0 $hub || exit 99; done
for signal; do kill -"$signal" $hub; done
wait $hub
"#;

fn check(journal: &str, signals: &[&str]) {
    for round in 0..20 {
        let folder = Folder::of_temporary_files();
        let mut command = Command::new("sh");
        command.args(["-c", SCRIPT, TIDINGS, &format!("{}/hub.sock", folder.path())]);
        command.args(signals).env("TIDINGS_JOURNAL", journal);
        command.env("TIDINGS_DATA_DIR", format!("{}/data", folder.path()));
        if journal == "memory" {
            command.env("TIDINGS_DATA_DIR", "");
        }
        let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = finish(child.spawn().expect("a shell"));
        assert_eq!(ended.code, Some(0), "{signals:?}, round {round}: {}", ended.error);
    }
}

#[test]
fn a_hub_that_starts_to_listen_survives_a_hangup() {
    check("memory", &["HUP", "TERM"]);
    check("disk", &["HUP", "TERM"]);
}

#[test]
fn a_hub_that_starts_to_listen_stops_cleanly() {
    check("memory", &["TERM"]);
    check("disk", &["TERM"]);
    check("disk", &["INT"]);
}

#[cfg(feature = "nats")]
#[test]
fn a_start_that_waits_for_nats_ends_with_a_signal() {
    use std::io::{BufRead as _, BufReader};

    use crate::hub::{exit, program, signal};

    // A program that listens there later is not a NATS server.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = closed.local_addr().expect("it is bound");
    drop(closed);
    for name in ["TERM", "INT"] {
        let mut child = program()
            .args(["serve", "--listen", "127.0.0.1:0", "--nats-start-wait", "1h"])
            .arg(format!("--journal=nats://{address}"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it starts");
        let log = BufReader::new(child.stderr.take().expect("it was piped"));
        let mut lines = log.lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("waiting for NATS")));
        signal(child.id(), name);
        assert_eq!(exit(&mut child).code(), Some(0), "{name}");
    }
}
