//! How the command ends when it is used wrongly.

use crate::hub::{File, Hub, tidings};

/// Checks the exit code, and that standard error says this.
fn check(arguments: &[&str], code: i32, says: &str) {
    let ended = tidings(arguments);
    assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.error);
    assert!(ended.error.contains(says), "{arguments:?}: {}", ended.error);
    assert_eq!(ended.out, "", "{arguments:?}");
}

#[test]
fn a_port_that_is_taken_is_told_clearly() {
    let hub = Hub::start();
    let address = hub.address.to_string();
    check(
        &["serve", "--listen", &address],
        1,
        &format!("cannot listen on {address}: somebody else"),
    );
    check(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", &address], 1, "somebody else");
}

#[test]
fn flags_that_make_no_sense_are_usage_errors() {
    check(&["serve", "--lisen", "127.0.0.1:0"], 2, "--listen");
    check(&["serve", "--shards", "0"], 2, "--shards");
    check(&["serve", "--heartbeat", "soon"], 2, "--heartbeat");
    check(&["serve", "--heartbeat", "10ms"], 2, "1s to 1h");
    check(&["serve", "--heartbeat", "500000000y"], 2, "1s to 1h");
    check(&["serve", "--listen", "127.0.0.1"], 2, "HOST:PORT");
    check(&["serve", "--listen", "127.0.0.1:99999"], 2, "no port");
    check(&["serve", "--listen", "no-such-host:0"], 2, "neither localhost nor an IP");
    check(&["serve", "--cors-origin", "https://a.test/path"], 2, "without a path");
    check(&["serv"], 2, "serve");
    check(&["publish"], 2, "TOPIC");
    check(&["subscribe"], 2, "TOPIC");
    check(&["subscribe", "a", "--count", "0"], 2, "--count");
    check(&["publish", "a", "--hub", "ftp://h.test"], 2, "not ftp");
    check(&["publish", "a", "-H", "nonsense"], 2, "Name: value");
}

#[test]
fn an_unknown_key_of_the_configuration_is_an_error_that_names_the_nearest() {
    let serve = |text: &str, says: &str| {
        let config = File::new(text);
        let ended = tidings(&["serve", "--listen", "127.0.0.1:0", "--config", config.path()]);
        assert_ne!(ended.code, Some(0));
        assert!(ended.error.contains(says), "{}", ended.error);
        assert!(ended.error.contains(config.path()), "{}", ended.error);
    };
    serve("lisen = []", "did you mean \"listen\"?");
    serve("[streams]\nhartbeat = \"3s\"", "did you mean \"streams.heartbeat\"?");
    serve("[streams]\nheartbeat = 3", "line 2");
    serve("listen = [", "line 1");
    check(&["serve", "--config", "/no/such/file"], 2, "/no/such/file");
}
