//! `tidings bench`: what it says of a hub.

use crate::hub::{Hub, tidings};

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
