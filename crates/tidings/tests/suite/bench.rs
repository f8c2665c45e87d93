//! `tidings bench`: what it says of a hub.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use crate::hub::{Hub, TIDINGS, tidings};

#[test]
fn a_hub_that_loses_nothing_is_measured_as_such() {
    let hub = Hub::start();
    let url = hub.url();
    let ended = tidings(&[
        "bench",
        &url,
        "--subscribers",
        "20",
        "--messages",
        "50",
        "--rate",
        "0",
        "--size",
        "100",
        "--json",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    let result: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(result["deliveries"], 1000);
    for nothing in ["lost", "duplicates", "out_of_order", "streams_ended"] {
        assert_eq!(result[nothing], 0, "{nothing}");
    }
    let latency = &result["latency_milliseconds"];
    assert!(
        latency["p50"].as_f64() > Some(0.0) && latency["max"].as_f64() >= latency["p99"].as_f64()
    );
    hub.wait_for_metric("tidings_deliveries_total", 1000);
    assert_eq!(hub.metric("tidings_updates_total"), 50);
}

#[test]
fn a_hub_that_lets_nobody_publish_refuses_it() {
    let hub = Hub::with(&["--anonymous-subscribe"]);
    let ended = tidings(&["bench", &hub.url(), "--subscribers", "2", "--messages", "2"]);
    assert_eq!(ended.code, Some(3), "{}", ended.error);
    assert!(ended.error.contains("401"), "{}", ended.error);
}

#[test]
fn over_a_restart_its_streams_come_back_and_it_says_how_that_went() {
    let folder = std::env::temp_dir().join(format!("tidings-restart-{}", std::process::id()));
    let data = folder.display().to_string();
    let old = Hub::with(&["--data-dir", &data, "--journal", "disk"]);
    let address = old.address.to_string();
    let mut bench = Command::new(TIDINGS)
        .args(["bench", &old.url(), "--reconnect", "--json", "--subscribers", "20"])
        .args(["--messages", "40", "--rate", "8"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut told = BufReader::new(bench.stderr.take().expect("it is piped")).lines();
    let opened = told.next().expect("its streams are open").expect("text");
    assert!(opened.contains("20 streams are open"), "{opened}");
    // Dropping it kills it.
    drop(old);
    let mut command = Command::new(TIDINGS);
    command.args(["serve", "--listen", &address, "--data-dir", &data, "--journal", "disk"]);
    let new = Hub::run(command);
    let ended = bench.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{told:?}");
    let result: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!((&result["deliveries"], &result["lost"]), (&800.into(), &0.into()), "{result}");
    assert_eq!((&result["duplicates"], &result["out_of_order"]), (&0.into(), &0.into()));
    let away = &result["reconnecting"];
    assert_eq!((&away["returns"], &away["still_away"]), (&20.into(), &0.into()), "{result}");
    assert!(away["all_back_after_seconds"].as_f64() >= Some(2.9), "{away}");
    drop(new);
    let _ = std::fs::remove_dir_all(&folder);
}
