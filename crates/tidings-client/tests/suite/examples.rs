//! The examples work as described.

use std::process::Stdio;

use tokio::process::Command;

use crate::server::soon;

/// Runs an example, and checks that its lines on standard output have these, in this order.
async fn check(name: &str, says: &[&str]) {
    // Tests are in `deps/`, examples beside it.
    let tests = std::env::current_exe().unwrap();
    let path = tests.parent().unwrap().parent().unwrap().join("examples").join(name);
    let child = Command::new(path).stdin(Stdio::null()).kill_on_drop(true).output();
    let output = soon("the example ends", child).await.expect("`cargo test` builds examples too");
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{name}: {text}{errors}");
    let mut lines = text.lines();
    for said in says {
        assert!(lines.any(|line| line.contains(said)), "{name} does not say {said:?}: {text}");
    }
}

#[tokio::test]
async fn answers_of_language_models_are_whole_or_truncated() {
    check("language_model", &["Good tidings", "of great joy", "truncated"]).await;
}

#[tokio::test]
async fn a_stream_resumes_after_its_server_was_lost() {
    check("resume", &["open, after \"\"", "3", "reconnecting in", "open, after \"3\"", "4", "10"])
        .await;
}

#[tokio::test]
async fn a_plain_loop_reads_a_stream() {
    check("blocking", &["one", "two", "three"]).await;
}

#[tokio::test]
async fn a_policy_decides_what_is_retried() {
    check("retry_policy", &["404", "503", "here", "429 Too Many Requests: over the quota"]).await;
}
