//! `tidings bench`, and its report about a hub.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;

use crate::durability::{Folder, on_disk};
use crate::hub::{Hub, program, tidings};

#[test]
fn bench_reports_no_loss_if_the_hub_loses_nothing() {
    let hub = Hub::start();
    let url = hub.url();
    let ended = tidings(&[
        "bench",
        &url,
        "--subscribers",
        "20",
        "--updates",
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
fn bench_fails_if_the_hub_refuses_its_publishes() {
    let hub = Hub::with(&["--anonymous-subscribe"]);
    let ended = tidings(&["bench", &hub.url(), "--subscribers", "2", "--updates", "2"]);
    assert_eq!(ended.code, Some(3), "{}", ended.error);
    assert!(ended.error.contains("401"), "{}", ended.error);
}

#[test]
fn bench_reports_how_its_streams_reconnect_after_a_restart() {
    let folder = Folder::new();
    let old = on_disk(&folder, None, &[]);
    let address = old.address;
    let mut bench = program()
        .args(["bench", &old.url(), "--reconnect", "--json", "--subscribers", "20"])
        // The former name of --updates.
        .args(["--messages", "40", "--rate", "8"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut told = BufReader::new(bench.stderr.take().expect("it is piped")).lines();
    let opened = told.next().expect("its streams are open").expect("text");
    assert!(opened.contains("opened 20 streams"), "{opened}");
    // Dropping it kills it.
    drop(old);
    let new = on_disk(&folder, Some(address), &[]);
    let ended = bench.wait_with_output().expect("it ends");
    assert_eq!(ended.status.code(), Some(0), "{told:?}");
    let result: serde_json::Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!((&result["deliveries"], &result["lost"]), (&800.into(), &0.into()), "{result}");
    assert_eq!((&result["duplicates"], &result["out_of_order"]), (&0.into(), &0.into()));
    let away = &result["reconnecting"];
    assert_eq!((&away["returns"], &away["still_away"]), (&20.into(), &0.into()), "{result}");
    assert!(away["all_back_after_seconds"].as_f64() >= Some(2.9), "{away}");
    drop(new);
}
