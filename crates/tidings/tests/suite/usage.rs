//! Usage errors: their exit codes and their texts.

use crate::hub::{File, Hub, tidings, tidings_with};

/// Checks the exit code, and that standard error contains this text.
fn check(arguments: &[&str], code: i32, says: &str) {
    let ended = tidings(arguments);
    assert_eq!(ended.code, Some(code), "{arguments:?}: {}", ended.error);
    assert!(ended.error.contains(says), "{arguments:?}: {}", ended.error);
    assert_eq!(ended.out, "", "{arguments:?}");
}

#[test]
fn a_port_in_use_is_an_error_that_names_the_address() {
    let hub = Hub::start();
    let address = hub.address.to_string();
    check(
        &["serve", "--listen", &address],
        1,
        &format!("cannot listen on {address}: another program"),
    );
    check(&["serve", "--listen", "127.0.0.1:0", "--admin-listen", &address], 1, "another program");
}

#[test]
fn invalid_flags_are_usage_errors() {
    check(&["serve", "--lisen", "127.0.0.1:0"], 2, "--listen");
    check(&["serve", "--shards", "0"], 2, "--shards");
    check(&["serve", "--heartbeat", "soon"], 2, "--heartbeat");
    check(&["serve", "--heartbeat", "10ms"], 2, "1s to 1h");
    check(&["serve", "--heartbeat", "500000000y"], 2, "1s to 1h");
    check(&["serve", "--listen", "127.0.0.1"], 2, "HOST:PORT");
    check(&["serve", "--listen", ":9000"], 2, "use localhost:9000");
    check(&["serve", "--listen", "9000"], 2, "use localhost:9000");
    check(&["serve", "--listen", "127.0.0.1:99999"], 2, "not a port");
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
fn flags_of_serve_work_without_serve() {
    let hub = Hub::without_serve(&["--listen", "127.0.0.1:0", "--journal", "memory"]);
    hub.is_well();
    check(&["--heartbeat", "10ms"], 2, "1s to 1h");
    check(&["--lisen", "127.0.0.1:0"], 2, "'--listen'");
    check(&["--no-such-flag"], 2, "tidings serve");
    // The value of a flag is no command.
    check(&["--journal", "disk", "--data-dir", "journal", "--heartbeat", "10ms"], 2, "1s to 1h");
    // With a command, its flags count.
    check(&["--listen", "127.0.0.1:0", "publish", "a"], 2, "--listen");
}

#[test]
fn flags_of_other_programs_get_a_tip() {
    for arguments in [&["--port", "9000"][..], &["serve", "-p9000"], &["check", "--port=9000"]] {
        check(arguments, 2, "--listen localhost:9000");
    }
    check(&["serve", "--host", "0.0.0.0"], 2, "use --listen HOST:PORT");
    check(&["publish", "--topic", "a", "b"], 2, "tidings publish TOPIC DATA");
    check(&["subscribe", "a", "--url", "http://h.test"], 2, "use --hub URL");
}

#[test]
fn an_unknown_variable_causes_a_warning_that_names_the_nearest() {
    let says = "TIDINGS_LISTN is set but ignored: did you mean TIDINGS_LISTEN?";
    let set = [("TIDINGS_LISTN", "127.0.0.1:0"), ("TIDINGS_SERVICE_HOST", "10.0.0.1")];
    let checked = tidings_with(&set, &["check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.error);
    assert!(checked.out.contains(says) && !checked.out.contains("SERVICE_HOST"), "{}", checked.out);
    let key = "a secret of at least thirty-two bytes";
    let made = tidings_with(&set, &["token", "--publish", "*", "--key", key]);
    assert_eq!((made.code, made.error), (Some(0), format!("warning: {says}\n")));
    Hub::with_environment(&set).wait_for_log(says);
}

#[test]
fn a_command_has_only_the_request_options_that_it_uses() {
    let flags = ["--hub", "--token", "--header", "--timeout"];
    let commands = [
        ("publish", &flags[..]),
        ("subscribe", &flags),
        ("bench", &flags[1..]),
        ("tail", &flags[2..]),
        ("inspect", &flags[2..]),
        ("serve", &[]),
        ("check", &[]),
        ("token", &[]),
        ("journal", &[]),
        ("health", &flags[3..]),
        ("key", &[]),
        ("init", &[]),
        ("completions", &[]),
        ("man", &[]),
        ("version", &[]),
    ];
    for (command, used) in commands {
        let help = tidings(&[command, "--help"]).out;
        for flag in flags {
            let is_listed = help.contains(&format!("{flag} <"));
            assert_eq!(is_listed, used.contains(&flag), "{command} {flag}: {help}");
        }
    }
}

#[test]
fn commands_without_a_log_do_not_list_its_flags() {
    for (command, has_log) in [
        ("serve", true),
        ("publish", true),
        ("key", false),
        ("init", false),
        ("completions", false),
        ("man", false),
        ("version", false),
    ] {
        let help = tidings(&[command, "--help"]).out;
        assert_eq!(help.contains("--log-format"), has_log, "{command}: {help}");
    }
    // They are accepted everywhere.
    assert_eq!(tidings(&["version", "-v", "--log-format", "json"]).code, Some(0));
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

/// The options that are true or false, with their variables.
const YES_OR_NO: [(&str, &str); 7] = [
    ("--anonymous-publish", "TIDINGS_ANONYMOUS_PUBLISH"),
    ("--anonymous-subscribe", "TIDINGS_ANONYMOUS_SUBSCRIBE"),
    ("--demo", "TIDINGS_DEMO"),
    ("--ipv6-only", "TIDINGS_IPV6_ONLY"),
    ("--jwks-allow-internal", "TIDINGS_JWKS_ALLOW_INTERNAL"),
    ("--presence-events", "TIDINGS_PRESENCE_EVENTS"),
    ("--query-tokens", "TIDINGS_QUERY_TOKENS"),
];

#[test]
fn a_switch_that_is_neither_true_nor_false_is_a_usage_error() {
    for (flag, variable) in YES_OR_NO {
        for value in [
            "\"false\"",
            "disabled",
            "none",
            "null",
            "false ",
            "00",
            "2",
            "enabled",
            "y",
            "t",
            "n",
            "f",
            "Y",
            "N",
        ] {
            let ended = tidings_with(&[(variable, value)], &["check"]);
            assert_eq!(ended.code, Some(2), "{variable}={value:?}: {}", ended.out);
            for says in [value, flag, variable, "true, yes, on or 1", "false, no, off or 0"] {
                assert!(ended.error.contains(says), "{variable}={value:?}: {}", ended.error);
            }
            check(&["check", &format!("{flag}={value}")], 2, value);
        }
    }
    let config = File::new("[access]\nanonymous_publish = \"false\"");
    check(&["check", "--config", config.path()], 2, "expected a boolean");
}

#[test]
fn a_switch_that_is_false_grants_nothing() {
    let key = ("TIDINGS_PUBLISHER_KEY", "a secret of at least thirty-two bytes");
    for (value, says) in [
        ("false", "publish     clients with a token"),
        ("OFF", "publish     clients with a token"),
        ("0", "publish     clients with a token"),
        ("", "publish     clients with a token"),
        ("yes", "publish     every client"),
        ("1", "publish     every client"),
    ] {
        let ended = tidings_with(
            &[key, ("TIDINGS_ANONYMOUS_PUBLISH", value), ("TIDINGS_ANONYMOUS_SUBSCRIBE", "1")],
            &["check"],
        );
        assert_eq!(ended.code, Some(0), "{value:?}: {}", ended.error);
        assert!(ended.out.contains(says), "{value:?}: {}", ended.out);
    }
}

/// Every variable that a command's help names.
fn variables(command: &str) -> Vec<String> {
    let help = tidings(&[command, "--help"]).out;
    let named = help.split("[env: ").skip(1).filter_map(|rest| rest.split(['=', ']']).next());
    named.map(str::to_owned).collect()
}

#[test]
fn an_empty_variable_is_not_set() {
    let all = variables("check");
    assert!(all.len() > 35, "{all:?}");
    // Each alone, so that no other variable hides its effect.
    for variable in &all {
        let ended = tidings_with(&[(variable, "")], &["check"]);
        assert_eq!(ended.code, Some(0), "{variable}: {}", ended.error);
    }
    let empty: Vec<_> = all.iter().map(|variable| (variable.as_str(), "")).collect();
    let (with, without) = (tidings_with(&empty, &["check"]), tidings_with(&[], &["check"]));
    assert_eq!(with.code, Some(0), "{}", with.error);
    // The journal's folder differs, because a variable names it.
    let lines = |out: &str| -> Vec<String> {
        out.lines().filter(|line| !line.starts_with("journal")).map(str::to_owned).collect()
    };
    assert_eq!(lines(&with.out), lines(&without.out));
    // The other commands have other variables.
    let key = "a secret of at least thirty-two bytes";
    let token = ["token", "--publish", "*", "--key", key];
    for variable in variables("token") {
        let ended = tidings_with(&[(&variable, "")], &token);
        assert_eq!(ended.code, Some(0), "{variable}: {}", ended.error);
    }
}

#[test]
fn invalid_origins_are_usage_errors() {
    for flag in ["--cors-origin", "--publish-origin"] {
        for (origin, says) in [
            ("https://*.app.test", "wildcards are not supported"),
            ("http://localhost:*", "wildcards are not supported"),
            ("null", "sandboxed pages"),
            ("app.test", "no valid scheme"),
            ("https://app.test/", "without a path"),
        ] {
            check(&["check", flag, origin], 2, says);
            check(&["check", flag, origin], 2, origin);
        }
        for (origin, shown) in [
            ("https://app.test:443", "https://app.test\n"),
            ("https://b\u{fc}cher.test", "https://xn--bcher-kva.test\n"),
            ("capacitor://localhost", "capacitor://localhost\n"),
            ("tauri://localhost", "tauri://localhost\n"),
            ("chrome-extension://abcdefghijklmnop", "chrome-extension://abcdefghijklmnop\n"),
        ] {
            let ended = tidings(&["check", flag, origin]);
            assert_eq!(ended.code, Some(0), "{origin}: {}", ended.error);
            assert!(ended.out.contains(shown), "{origin}: {}", ended.out);
        }
    }
    check(&["check", "--allowed-host", "https://hub.test"], 2, "without scheme");
    check(&["check", "--issuer", " https://a.test"], 2, "begin or end with a space");
    check(&["check", "--audience", ""], 2, "must not be empty");
}

#[test]
fn an_anonymous_hub_without_a_host_name_causes_a_warning() {
    let warns = |flags: &[&str]| {
        let open = ["check", "--listen", "0.0.0.0:80", "--anonymous-subscribe"];
        let ended = tidings(&[&open[..], flags].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.error);
        ended.out.contains("set allowed_hosts")
    };
    assert!(warns(&[]));
    assert!(!warns(&["--allowed-host", "hub.test"]));
    assert!(!warns(&["--hub-url", "https://hub.test"]));
}

#[test]
fn a_value_in_quotation_marks_stops_the_start() {
    // Secrets may be any text.
    let any_text = ["TIDINGS_PUBLISHER_KEY", "TIDINGS_SUBSCRIBER_KEY"];
    for variable in variables("check").iter().filter(|name| !any_text.contains(&name.as_str())) {
        for value in ["\"x\"", "'x'", " "] {
            let ended = tidings_with(&[(variable, value)], &["check"]);
            assert_eq!(ended.code, Some(2), "{variable}={value}: {}{}", ended.out, ended.error);
            assert!(ended.error.contains(variable), "{variable}={value}: {}", ended.error);
        }
    }
    for (flag, value) in [
        ("--allowed-host", "\"hub.test\""),
        ("--allowed-host", "a.test,'hub.test'"),
        ("--issuer", "\"https://i.test\""),
        ("--audience", "'https://h.test'"),
        ("--data-dir", "\"\""),
    ] {
        check(&["check", flag, value], 2, "quotation mark");
        check(&["check", flag, value], 2, flag);
    }
    check(&["journal", "show", "--data-dir", "\"/a\""], 2, "quotation mark");
    check(&["publish", "a", "--token", "\"a secret\""], 2, "--token begins with a quotation mark");
    assert!(!tidings(&["publish", "a", "--token", "\"a secret\""]).error.contains("a secret"));
    // A flag is checked too if its variable is empty.
    let ended = tidings_with(&[("TIDINGS_AUDIENCE", "")], &["check", "--audience", "\"a\""]);
    assert!(ended.code == Some(2) && ended.error.contains("quotation mark"), "{}", ended.error);
    let config = File::new("[access]\nallowed_hosts = ['\"hub.test\"']");
    check(&["check", "--config", config.path()], 2, "access.allowed_hosts");
    check(&["check", "--config", config.path()], 2, "hub.test");
}

#[test]
fn names_that_no_request_can_have_are_usage_errors() {
    for name in [".hub.test", "hub..test", "hub\"test", "a;b", "h@hub.test", "hub.test:443"] {
        check(&["check", "--allowed-host", name], 2, "is not a host name");
    }
    check(&["check", "--hub-url", "https://\"hub.test\""], 2, "--hub-url");
    check(&["check", "--cors-origin", "https://.hub.test"], 2, "its host");
    #[cfg(feature = "nats")]
    for servers in ["nats://", "nats:///x", "nats://:4222", "nats://a,nats://", "tls://"] {
        check(&["check", "--journal", servers], 2, "nats://host:4222");
        let listed = servers.replace(',', "\", \"");
        let config = File::new(&format!("[journal]\nkind = \"nats\"\nservers = [\"{listed}\"]"));
        let ended = tidings_with(
            &[("TIDINGS_JOURNAL", "")],
            &["check", "--anonymous-subscribe", "--config", config.path()],
        );
        assert_eq!(ended.code, Some(2), "{servers}: {}", ended.error);
        assert!(ended.error.contains("journal.servers"), "{servers}: {}", ended.error);
    }
}
