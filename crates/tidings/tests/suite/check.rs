//! `tidings check`: what a configuration opens, and to whom.

use crate::hub::{File, tidings};

fn check(arguments: &[&str], says: &[&str]) {
    let ended = tidings(&[&["check"], arguments].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    for words in says {
        assert!(ended.out.contains(words), "{words:?} is not in:\n{}", ended.out);
    }
}

#[test]
fn it_says_who_may_do_what_and_warns_of_what_is_probably_not_meant() {
    check(
        &[],
        &["http://127.0.0.1:8081  this machine only", "publish     everybody on this machine"],
    );
    check(
        &["--listen", "0.0.0.0:80", "--anonymous-publish"],
        &[
            "http://0.0.0.0:80  the network",
            "subscribe   nobody",
            "publish     everybody who reaches it",
            "warning     everybody on the network may publish",
            "warning     nobody may subscribe",
            "warning     events cross the network in clear",
            "warning     nobody can ask for metrics",
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
            "may read: https://app.test",
            "10 in all, 2 per address, new: 5/s, age: 1h",
            "publishes   7/s per address, body: 2.0 KiB",
            "trusted: 10.0.0.0/8",
        ],
    );
}

#[test]
fn it_knows_keys_issuers_and_the_journal() {
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
            "subscribe   everybody who reaches it",
            "publish     whoever has a token",
            "tokens      of Mercure 0.x",
            "journal     in /a/folder, synced before each acknowledgement",
            "warning     tokens in the query",
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
                "subscribe   whoever has a token",
                "publish     whoever has a token",
                keys,
                "presence",
            ],
        );
    }
    check(&[], &["tokens      none", "journal     in memory, 64.0 MiB, and ends with the hub"]);
}

#[test]
fn what_is_wrong_ends_with_the_exit_code_of_usage() {
    for (text, says) in [
        ("[limits]\nstreams = 0", "limits.streams is 0; it has to be between 1 and"),
        ("[limits]\ntopics = 1001", "between 1 and 1000"),
        ("[limits]\nhead = \"1KiB\"", "at least 8KiB"),
        ("[limits]\ntrusted_proxies = [\"proxy.test\"]", "is no address and no network"),
        ("[streams]\nage_max = \"1s\"", "streams.age_max is 1s; it has to be at least 10s"),
        ("[limits]\nstream = 1", "did you mean \"limits.streams\"?"),
        ("[tls]\ncert = \"a\"", "a certificate needs its key"),
    ] {
        let config = File::new(text);
        let ended = tidings(&["check", "--config", config.path()]);
        assert_eq!(ended.code, Some(2), "{text}: {}", ended.error);
        assert!(ended.error.contains(says), "{text}: {}", ended.error);
    }
}
