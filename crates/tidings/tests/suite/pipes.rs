//! Commands whose output is no longer read, and output that cannot be written.

use std::io::{BufRead as _, BufReader, Read as _};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use crate::answers::{Answers, STREAM};
use crate::hub::{Hub, program};

/// How long a command may take to notice: far less than anything else that could end it.
const PATIENCE: Duration = Duration::from_secs(60);

fn start(arguments: &[&str]) -> Child {
    program()
        .args(arguments)
        .env("TIDINGS_SIGNING_KEY", "a secret of at least 32 bytes, of 0s")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// The exit code and standard error, once standard output is no longer read.
fn unread(mut child: Child) -> (Option<i32>, String) {
    drop(child.stdout.take());
    let begun = Instant::now();
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None if begun.elapsed() > PATIENCE => {
                let _ = child.kill();
                panic!("it continues although its output is not read");
            }
            None => std::thread::yield_now(),
        }
    };
    let mut error = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut error).expect("text");
    (status.code(), error)
}

#[test]
fn a_stream_ends_when_its_reader_closes_without_waiting_for_an_event() {
    let hub = Hub::start();
    let url = hub.url();
    let at_hub = format!("{url}/.well-known/mercure?topic=a");
    for arguments in [
        &["subscribe", "a", "--hub", &url][..],
        &["tail", &at_hub, "--data-only"],
        &["inspect", &at_hub],
    ] {
        let mut child = start(arguments);
        hub.wait_for_metric("tidings_subscribers", 1);
        hub.publisher().publish(&[("a", "hello")]);
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let found = lines.map_while(Result::ok).any(|line| line.contains("hello"));
        assert!(found, "{arguments:?}");
        // The reader has its lines and has closed, and no event follows.
        let (code, error) = unread(child);
        assert_eq!(code, Some(141), "{arguments:?}: {error}");
        assert!(!error.contains("tidings:"), "{arguments:?}: {error}");
        hub.wait_for_metric("tidings_subscribers", 0);
    }
}

#[test]
fn every_command_that_prints_ends_quietly_without_a_reader() {
    let url = Answers::of(&[format!("{STREAM}data: a\n\n")]).url();
    let cases = concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/decode.json");
    for arguments in [
        &["token", "--publish", "a"][..],
        &["token", "inspect", "nonsense"],
        &["check"],
        &["inspect", "--conformance", cases],
        &["inspect", cases],
        &["inspect", &url],
    ] {
        let (code, error) = unread(start(arguments));
        // A short text may be written before its reader closes.
        assert!(matches!(code, Some(141 | 0 | 3)), "{arguments:?}: {code:?} {error}");
        assert_eq!(error, "", "{arguments:?}");
    }
    let (code, error) = unread(start(&["--help"]));
    assert_eq!((code, error.as_str()), (Some(0), ""));
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error_that_says_so() {
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    for arguments in [
        &["token", "--publish", "a"][..],
        &["check"],
        &["inspect", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")],
    ] {
        let mut command = program();
        command.args(arguments).env("TIDINGS_SIGNING_KEY", "a secret of at least 32 bytes, of 0s");
        let ended = command.stdout(full()).output().expect("it starts");
        let error = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains("cannot write to standard output: No space"), "{error}");
        // If standard error is full too, the error cannot be reported, but the command must not
        // crash.
        let ended = command.stdout(full()).stderr(full()).status().expect("it starts");
        assert_eq!(ended.code(), Some(1), "{arguments:?}");
    }
}
