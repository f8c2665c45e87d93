//! `tidings check`: validates a configuration, and shows which access it grants.

use crate::hub::{File, Hub, tidings};

fn check(arguments: &[&str], says: &[&str]) {
    let ended = tidings(&[&["check"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    for words in says {
        assert!(ended.out.contains(words), "{words:?} is not in:\n{}", ended.out);
    }
}

#[test]
fn the_granted_access_is_shown_with_warnings_of_probable_mistakes() {
    check(
        &[],
        &[
            "http://127.0.0.1:8081  this machine only",
            "publish     every user of this machine",
            "may subscribe: those of this machine",
            "may publish: those of this machine",
        ],
    );
    check(
        &["--listen", "0.0.0.0:80", "--anonymous-publish"],
        &[
            "http://0.0.0.0:80  the network",
            "subscribe   no client",
            "publish     every client",
            "warning     every client on the network may publish",
            "warning     no client may subscribe",
            "warning     events cross the network unencrypted",
            "warning     metrics and health checks are off",
        ],
    );
    let config = File::new(
        "listen = [\"127.0.0.1:1\"]\n[access]\nanonymous_subscribe = true\n\
         cors_origins = [\"https://app.test\"]\n[streams]\nage_max = \"1h\"\n\
         [limits]\nstreams = 10\nstreams_per_address = 2\nstreams_per_second = 5\n\
         publishes_per_second = 7\nbody = \"2KiB\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n",
    );
    check(
        &["--config", config.path()],
        &[
            "may subscribe: https://app.test",
            "10 in all, 2 per address, new: 5/s, age: 1h",
            "publishes   7/s per address, body: 2.0 KiB",
            "trusted: 10.0.0.0/8",
        ],
    );
}

#[test]
fn keys_issuers_and_the_journal_are_shown() {
    check(
        &[
            "--publisher-key",
            "a secret of at least thirty-two bytes",
            "--anonymous-subscribe",
            "--query-tokens",
            "--journal",
            "disk",
            "--data-dir",
            "/a/folder",
        ],
        &[
            "subscribe   every client\n",
            "publish     clients with a token",
            "tokens      Mercure 0.x",
            "journal     in /a/folder, synced before each acknowledgement",
            "warning     proxies and browsers may log tokens in the query",
        ],
    );
    let config = File::new(
        "[access]\naudience = \"https://h.test/.well-known/mercure\"\n\
         [[access.issuers]]\nname = \"https://a.test\"\njwks_url = \"https://a.test/jwks\"\n\
         [presence]\nevents = true\n",
    );
    let keys = "issued by https://a.test, verified with its key set";
    if cfg!(feature = "tls") {
        check(
            &["--config", config.path()],
            &[
                "subscribe   clients with a token",
                "publish     clients with a token",
                keys,
                "presence",
            ],
        );
    }
    let journal = "journal     in memory, up to 64.0 MiB, and is lost when the hub stops";
    check(&[], &["tokens      none", journal]);
}

#[test]
#[cfg(unix)]
fn without_a_limit_on_streams_the_systems_limit_is_shown() {
    let mut command = std::process::Command::new("sh");
    command.args(["-c", "ulimit -n 1000; exec \"$0\" check", crate::hub::TIDINGS]);
    let output = command.output().expect("the program runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let words = text.split(" in all (limited by open files and memory)").next();
    let streams = words.and_then(|words| words.rsplit(' ').next()?.parse::<u32>().ok());
    assert!(streams.is_some_and(|streams| (1..1000).contains(&streams)), "{text}");
}

#[test]
fn a_hub_that_no_client_could_use_is_refused() {
    let closed = File::new("listen = [\"127.0.0.1:0\"]\n[access]\nanonymous_publish = false\n");
    for flags in [
        &["--listen", "0.0.0.0:0"][..],
        &["--listen", "unix:/nowhere/hub.sock"],
        &["--admin-listen", "0.0.0.0:0"],
        &["--config", closed.path()],
        &["--anonymous-subscribe=false"],
    ] {
        let ended = tidings(&[&["check"], flags].concat());
        assert_eq!(ended.code, Some(2), "{flags:?}: {}", ended.error);
        for words in ["no client could publish or subscribe", "--anonymous-subscribe", "key"] {
            assert!(ended.error.contains(words), "{flags:?}: {}", ended.error);
        }
    }
    for flags in [&["--listen", "0.0.0.0:0"][..], &["--config", closed.path()]] {
        let ended = tidings(&[&["serve", "--journal", "memory"], flags].concat());
        assert_eq!(ended.code, Some(2), "{flags:?}: {}", ended.error);
    }
}

#[test]
fn one_value_may_stand_for_a_list_of_one() {
    let rest =
        "anonymous_subscribe = true\npublisher_key = \"a secret of at least thirty-two bytes\"\n";
    let config = |[open, close]: [&str; 2]| {
        let list = |value: &str| format!("{open}\"{value}\"{close}");
        let text = format!(
            "listen = {}\n[access]\n{rest}issuers = {}\naudience = {}\nallowed_hosts = {}\n\
             publish_origins = {}\ncors_origins = {}\ncookie_name = {}\n[limits]\ntrusted_proxies = {}\n",
            list("127.0.0.1:1"),
            list("https://a.test"),
            list("https://h.test"),
            list("h.test"),
            list("https://p.test"),
            list("https://c.test"),
            list("c"),
            list("10.0.0.0/8"),
        );
        let config = File::new(&text);
        let ended = tidings(&["check", "--config", config.path()]);
        assert_eq!(ended.code, Some(0), "{text}: {}", ended.error);
        ended.out
    };
    let one = config(["", ""]);
    for shown in [
        "127.0.0.1:1",
        "https://a.test",
        "h.test",
        "https://p.test",
        "https://c.test",
        "10.0.0.0/8",
    ] {
        assert!(one.contains(shown), "{shown}: {one}");
    }
    assert_eq!(one, config(["[", "]"]));
}

#[test]
fn an_invalid_configuration_is_a_usage_error() {
    for (text, says) in [
        ("[limits]\nstreams = 0", "limits.streams is 0; it must be between 1 and"),
        ("[limits]\ntopics = 1001", "between 1 and 1000"),
        ("[limits]\nhead = \"1KiB\"", "at least 8KiB"),
        ("[limits]\ntrusted_proxies = [\"proxy.test\"]", "is neither an address nor a network"),
        ("[streams]\nage_max = \"1s\"", "streams.age_max is 1s; it must be at least 10s"),
        ("[limits]\nbody = \"1XB\"", "write a number with a unit (B, kB, KiB, MB, MiB, GB, GiB)"),
        ("[streams]\nheartbeat = 3", "expected a time with its unit, such as \"15s\""),
        ("[limits]\nstream = 1", "did you mean \"limits.streams\"?"),
        ("[tls]\ncert = \"a\"", "a certificate needs its key"),
    ] {
        let config = File::new(text);
        let ended = tidings(&["check", "--config", config.path()]);
        assert_eq!(ended.code, Some(2), "{text}: {}", ended.error);
        assert!(ended.error.contains(says), "{text}: {}", ended.error);
    }
}

#[test]
fn the_smallest_limit_for_requests_is_shown_and_suffices_for_the_largest_request() {
    const K: usize = 1 << 10;
    let config = |requests: &str| {
        File::new(&format!(
            "[access]\nanonymous_publish = true\nanonymous_subscribe = true\n\
             [limits]\nbody = \"1100KiB\"\nhead = \"9KiB\"\nrequests = \"{requests}\"\n"
        ))
    };
    let check = |requests: &str| tidings(&["check", "--config", config(requests).path()]);
    let refused = check("1MiB");
    assert_eq!(refused.code, Some(2), "{}", refused.error);
    let least = refused.error.split("at least ").nth(1).and_then(|rest| rest.split(',').next());
    let least = least.expect("it says how much");
    assert_eq!(check(least).code, Some(0), "{least} is enough: {}", check(least).error);
    let kib: usize = least.strip_suffix("KiB").and_then(|kib| kib.parse().ok()).expect("a size");
    assert_eq!(kib, 4 * (1100 + 9));
    assert_eq!(check(&format!("{}KiB", kib - 1)).code, Some(2));
    let largest = File::new(
        "[access]\nanonymous_publish = true\n[limits]\nbody = \"1GiB\"\nrequests = \"4194303KiB\"\n",
    );
    assert_eq!(tidings(&["check", "--config", largest.path()]).code, Some(0));

    let config = config(least);
    let hub = Hub::with(&["--config", config.path()]);
    let body = format!("topic=a&data={}", "y".repeat(1100 * K - 13));
    let head = format!(
        "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\nx: {}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n",
        "x".repeat(8 * K + K / 2),
        body.len()
    );
    let mut connection = hub.connect();
    connection.send(head.as_bytes());
    connection.send(body.as_bytes());
    assert_eq!(connection.response().status, 200);
}
