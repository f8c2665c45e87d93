//! Every scenario holds for the production code, and fails for each faulty twin of it.

use std::process::{Command, Output};

/// The faulty twins: the part, the twin, the scenario that finds its fault, and what that says.
const TWINS: &[(&str, &str, &str, &str)] = &[
    ("follower", "woken_first", "every_update_wakes_the_follower", "deadlock"),
    ("follower", "news_last", "a_reset_reaches_the_follower", "deadlock"),
    ("follower", "progress_first", "a_journal_that_waits_for_its_follower_is_woken", "deadlock"),
    ("follower", "bytes_first", "bytes_wait_until_they_are_taken", "after 2 of 3 updates"),
    ("follower", "bytes_read_late", "bytes_wait_until_they_are_taken", "after 2 of 3 updates"),
    ("follower", "relaxed", "bytes_wait_until_they_are_taken", "after 2 of 3 updates"),
    ("body_lane", "body_registers_late", "every_piece_arrives_in_order", "deadlock"),
    ("body_lane", "shard_registers_late", "a_dropped_body_wakes_the_shard", "deadlock"),
    ("body_lane", "watcher_registers_late", "a_watcher_learns_of_the_end", "deadlock"),
    ("admission", "looks_then_counts", "no_more_streams_than_permits", "right: 1"),
    (
        "admission",
        "address_checked_before",
        "an_address_has_no_more_streams_than_its_share",
        "right: 1",
    ),
    (
        "admission",
        "share_removed_late",
        "bytes_come_back_to_the_budget",
        "more bytes than its share",
    ),
    ("admission", "holders_read_early", "bytes_come_back_to_the_budget", "still in the table"),
    (
        "presence",
        "revoked_read_before",
        "a_stream_that_opens_while_its_token_is_revoked_ends",
        "nothing ends the stream",
    ),
    (
        "presence",
        "revoked_noted_after",
        "a_stream_that_opens_while_its_token_is_revoked_ends",
        "nothing ends the stream",
    ),
    ("presence", "room_looked_at_first", "a_subscriber_that_waits_for_room_gets_it", "deadlock"),
];

#[test]
fn the_followers_scenarios_hold_in_every_interleaving() {
    check("follower");
}

#[test]
fn the_body_lanes_scenarios_hold_in_every_interleaving() {
    check("body_lane");
}

#[test]
fn admissions_scenarios_hold_in_every_interleaving() {
    check("admission");
}

#[test]
fn presences_scenarios_hold_in_every_interleaving() {
    check("presence");
}

#[test]
fn every_faulty_twin_is_found_by_its_scenario() {
    let mut missing = variants();
    missing.retain(|(_, variant, _)| variant != "sound");
    for (part, twin, scenario, says) in TWINS {
        // A fault can leave the checker's own state broken, so each runs in its own process.
        let output = run(part, twin, scenario);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{part} {twin}: {scenario} does not find the fault");
        assert!(text.contains(says), "{part} {twin}: {scenario} fails for another reason:\n{text}");
        missing.retain(|(of, variant, _)| of != part || variant != twin);
    }
    assert!(missing.is_empty(), "no scenario is named for these twins: {missing:?}");
}

/// Runs the scenarios of the production code of one part.
fn check(part: &str) {
    let mut count = 0;
    for (_, variant, scenario) in variants().iter().filter(|(of, ..)| of == part) {
        if variant != "sound" {
            continue;
        }
        let output = run(part, variant, scenario);
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{part}: {scenario}:\n{text}");
        print!("{scenario}: {}", String::from_utf8_lossy(&output.stdout));
        count += 1;
    }
    assert!(count > 0, "{part} has no scenario");
}

/// All parts, variants and scenarios.
fn variants() -> Vec<(String, String, String)> {
    let output = command().output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("names are text");
    let words = |line: &str| -> Option<_> {
        let mut words = line.split(' ').map(str::to_owned);
        Some((words.next()?, words.next()?, words.next()?))
    };
    text.lines().filter_map(words).collect()
}

fn run(part: &str, variant: &str, scenario: &str) -> Output {
    command().args([part, variant, scenario]).output().expect("it starts")
}

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidings-interleavings"));
    command.env("RUST_BACKTRACE", "0");
    command
}
