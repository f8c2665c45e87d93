//! Keys and tokens as an operator has them: flags, files, environment, and `tidings token`.

use std::process::Command;

use crate::durability::{Folder, on_disk};
use crate::hub::{File, Hub, tidings, tidings_with};
use crate::wire::Response;

const SECRET: &str = "!ChangeThisMercureHubJWTSecretKey!";
const ES256_PRIVATE: &str = include_str!("../../../tidings-hub/src/access/tokens/key_set/p256.pem");

/// The output of a command that must succeed.
fn printed(arguments: &[&str]) -> String {
    let ended = tidings(arguments);
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}{}", ended.out, ended.error);
    ended.out
}

fn token(arguments: &[&str]) -> String {
    let mut all = vec!["token", "--key", SECRET];
    all.extend(arguments);
    printed(&all).trim().to_owned()
}

fn wrong(arguments: &[&str], says: &str) {
    let ended = tidings(arguments);
    assert_eq!(ended.code, Some(2), "{arguments:?}: {}", ended.error);
    assert!(ended.error.contains(says), "{arguments:?}: {}", ended.error);
    for secret in [SECRET, "PRIVATE"] {
        assert!(!ended.error.contains(secret), "{}", ended.error);
    }
}

#[test]
fn a_token_of_the_command_is_accepted_by_the_hub_in_both_dialects() {
    let audience = "https://h.test/.well-known/mercure";
    let hub = Hub::with(&[
        "--publisher-key",
        SECRET,
        "--subscriber-key",
        SECRET,
        "--issuer",
        "https://a.test",
        "--audience",
        audience,
    ]);
    let new = ["--dialect", "1.0", "--issuer", "https://a.test", "--audience", audience];
    let mut reader = vec!["--subscribe", "urlpattern:https://a.test/books/:id"];
    reader.extend(new);
    let mut writer = vec!["--publish", "*"];
    writer.extend(new);
    let topic = "https://a.test/books/1";
    for (reads, writes) in [
        (token(&["--subscribe", "https://a.test/books/{id}"]), token(&["--publish", topic])),
        (token(&reader), token(&writer)),
    ] {
        let bearer = format!("authorization: Bearer {reads}\r\n");
        let mut stream = hub.subscribe_with(&format!("topic={topic}"), &bearer);
        let url = hub.url();
        printed(&["publish", topic, "secret", "--private", "--hub", &url, "--token", &writes]);
        assert_eq!(stream.event().data, "secret");
        let ended = tidings(&["publish", "other", "x", "--hub", &url, "--token", &reads]);
        assert_eq!(ended.code, Some(3), "{}", ended.error);
    }
    let ended = tidings(&["publish", topic, "x", "--hub", &hub.url()]);
    assert_eq!(ended.code, Some(3), "{}", ended.error);
    assert!(ended.error.contains("the request has none"), "{}", ended.error);
}

#[test]
fn a_token_signed_with_a_private_key_is_verified_with_its_public_key() {
    let private = File::new(ES256_PRIVATE);
    let public = Command::new("openssl")
        .args(["pkey", "-pubout", "-in", private.path()])
        .output()
        .expect("openssl is there");
    let public = File::new(&String::from_utf8(public.stdout).expect("PEM is text"));
    let made = printed(&["token", "--subscribe", "*", "--key-file", private.path()]);
    let inspect = ["token", "inspect", made.trim(), "--subscriber-key-file", public.path()];
    let said = printed(&inspect);
    assert!(said.contains("ES256") && said.contains("to subscribe: accepted"), "{said}");
    assert!(said.contains("to publish: refused: the hub has no key"), "{said}");
}

#[test]
fn inspecting_a_token_says_why_a_hub_would_refuse_it() {
    let refused = |token: &str, flags: &[&str], says: &str| {
        let mut arguments = vec!["token", "inspect", token, "--subscriber-key", SECRET];
        arguments.extend(flags);
        let ended = tidings(&arguments);
        assert_eq!(ended.code, Some(3), "{}{}", ended.out, ended.error);
        assert!(ended.out.contains(says), "{says:?} is not said: {}", ended.out);
    };
    let good = token(&["--subscribe", "a", "--payload", "{\"user\":5}"]);
    let said = printed(&["token", "inspect", &good]);
    for words in ["Mercure 0.x", "HS256", "\"user\": 5", "expires: in", "Not verified"] {
        assert!(said.contains(words), "{words:?} is not said: {said}");
    }
    refused("junk", &[], "three parts");
    refused(&format!("{good}x"), &[], "signature");
    refused(&token(&["--subscribe", "a", "--expires", "0s"]), &[], "expired");
    refused(&good, &["--dialect", "1.0"], "--dialect");
    let new = |audience: &str, issuer: &str| {
        token(&["--dialect", "1.0", "--subscribe", "a", "--audience", audience, "--issuer", issuer])
    };
    let hub = ["--audience", "h", "--issuer", "i"];
    refused(&new("other", "i"), &hub, "(aud) must be one of [\"h\"]; the token has \"other\"");
    refused(
        &new("h", "other"),
        &hub,
        "(iss) is not one of the hub's; the token has \"other\", and the hub accepts [\"i\"]",
    );
    refused(&new("h", "i"), &[], "the hub has no issuer");
    refused(&new("h", "i"), &["--issuer", "i"], "set --audience");
}

#[test]
fn inspecting_a_token_shows_where_it_grants_nothing() {
    let keys = ["--publisher-key", SECRET, "--subscriber-key", SECRET];
    let inspect =
        |token: &str| printed(&[&["token", "inspect", token], &keys[..]].concat()).to_owned();
    let said = inspect(&token(&["--subscribe", "a"]));
    assert!(said.contains("to publish: accepted, but grants nothing\n"), "{said}");
    assert!(said.contains("to subscribe: accepted\n"), "{said}");
    let said = inspect(&token(&["--publish", "a"]));
    assert!(said.contains("to publish: accepted\n"), "{said}");
    assert!(said.contains("to subscribe: accepted, but grants nothing: public updates"), "{said}");
}

#[test]
fn a_selector_of_the_other_dialect_causes_a_warning() {
    let names = ["--audience", "h", "--issuer", "i", "--key", SECRET];
    for (dialect, selector, says) in [
        ("0.x", "urlpattern:https://a.test/:id", "is a URL pattern of Mercure 1.0"),
        ("1.0", "https://a.test/{id}", "is a URI template of Mercure 0.x"),
        ("0.x", "https://a.test/{id}", ""),
        ("1.0", "urlpattern:https://a.test/:id", ""),
    ] {
        let flags = ["token", "--dialect", dialect, "--subscribe", selector];
        let ended = tidings(&[&flags[..], &names].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.error);
        assert_eq!(ended.error.is_empty(), says.is_empty(), "{}", ended.error);
        assert!(ended.error.contains(says), "{}", ended.error);
    }
}

#[test]
fn an_invalid_token_is_not_created() {
    wrong(&["token", "--key", SECRET], "--publish or --subscribe");
    wrong(&["token", "--publish", "*"], "--key-file");
    wrong(&["token", "--publish", "*", "--key", "short"], "256");
    wrong(&["token", "--publish", "*", "--key", SECRET, "--algorithm", "HS512"], "512");
    wrong(&["token", "--publish", "*", "--key", SECRET, "--algorithm", "RS256"], "PEM");
    wrong(&["token", "--publish", "*", "--key", SECRET, "--algorithm", "none"], "not an algorithm");
    wrong(&["token", "--publish", "*", "--key", SECRET, "--expires", "soon"], "--expires");
    wrong(&["token", "--publish", "*", "--key", SECRET, "--payload", "{"], "JSON");
    wrong(&["token", "--publish", "*", "--key", SECRET, "--dialect", "1.0"], "--audience");
    wrong(&["token", "--publish", "*", "--key-file", "/no/such/file"], "/no/such/file");
    let new = ["token", "--publish", "*", "--key", SECRET, "--dialect", "1.0"];
    let of = ["--issuer", "i", "--audience", "a", "--payload"];
    for payload in ["null", "[]", "\"text\""] {
        wrong(&[&new[..], &of, &[payload]].concat(), "object");
    }
}

#[test]
fn a_hub_that_no_client_could_use_or_with_contradictory_settings_does_not_start() {
    let check = |flags: &[&str], says: &str| {
        let mut arguments = vec!["serve", "--listen", "127.0.0.1:0"];
        arguments.extend(flags);
        wrong(&arguments, says);
    };
    check(&["--publisher-key", SECRET], "--subscriber-key");
    check(&["--subscriber-key", SECRET], "--publisher-key");
    check(
        &["--publisher-key", "short", "--anonymous-subscribe"],
        "the publisher key: the key has 40 bits",
    );
    check(&["--publisher-key", SECRET, "--publisher-key-file", "x"], "remove one");
    check(&["--publisher-key-file", "/no/such/file"], "/no/such/file");
    check(&["--publisher-algorithm", "HS256"], "no key");
    check(&["--publisher-key", ES256_PRIVATE, "--anonymous-subscribe"], "the key is private");
    check(&["--publisher-key", "{\"keys\":[]}", "--anonymous-subscribe"], "--jwks-url");
    check(&["--issuer", "i", "--audience", "a"], "no keys");
    let keys = ["--publisher-key", SECRET, "--subscriber-key", SECRET];
    let with = |flags: &[&'static str], says: &str| check(&[&keys[..], flags].concat(), says);
    with(&["--issuer", "i"], "--audience");
    with(&["--audience", "a"], "--issuer");
    with(&["--issuer", "i", "--issuer", "i", "--audience", "a"], "twice");
    with(&["--dialect", "1.0"], "--issuer");
    with(
        &["--dialect", "1.0", "--issuer", "i", "--audience", "a", "--query-tokens"],
        "--query-tokens",
    );
    with(&["--jwks-url", "http://127.0.0.1/", "--jwks-allow-internal"], "--issuer");
    with(
        &["--issuer", "i", "--audience", "a", "--jwks-url", "http://127.0.0.1/"],
        "--jwks-allow-internal",
    );
    with(&["--hub-url", "h.test"], "--hub-url");
    with(&["--cookie-name", "a b"], "cookie");
    with(&["--cookie-name", "a,b c"], "\"b c\"");
    check(&["--presence-events"], "--subscriber-key");
    let config = File::new("[access]\npublisher_kye = \"x\"");
    let ended = tidings(&["serve", "--listen", "127.0.0.1:0", "--config", config.path()]);
    assert!(ended.error.contains("access.publisher_key"), "{}", ended.error);
}

#[test]
fn a_configuration_file_can_set_everything_that_flags_can() {
    let key = File::new(&format!("{SECRET}\n"));
    let config = File::new(&format!(
        "[access]\npublisher_key_file = {key:?}\nsubscriber_key_file = {key:?}\n\
         audience = \"https://h.test/.well-known/mercure\"\ndialect = \"all\"\n\
         anonymous_subscribe = true\n\
         [[access.issuers]]\nname = \"https://own.test\"\nkey = \"the issuer's own secret, long enough\"\n\
         [presence]\nevents = true\n",
        key = key.path()
    ));
    let hub = Hub::with(&["--config", config.path()]);
    let publishes = token(&["--publish", "*"]);
    printed(&["publish", "a", "x", "--hub", &hub.url(), "--token", &publishes]);
    let own = printed(&[
        "token",
        "--key",
        "the issuer's own secret, long enough",
        "--dialect",
        "1.0",
        "--publish",
        "*",
        "--issuer",
        "https://own.test",
        "--audience",
        "https://h.test/.well-known/mercure",
    ]);
    printed(&["publish", "a", "x", "--hub", &hub.url(), "--token", own.trim()]);
}

#[test]
fn the_variables_of_mercures_own_hub_are_read() {
    let hub = Hub::with_environment(&[
        ("MERCURE_PUBLISHER_JWT_KEY", SECRET),
        ("MERCURE_SUBSCRIBER_JWT_KEY", SECRET),
    ]);
    let ended = tidings(&["publish", "a", "x", "--hub", &hub.url()]);
    assert_eq!(ended.code, Some(3), "{}", ended.error);
    let publishes = token(&["--publish", "*"]);
    printed(&["publish", "a", "x", "--hub", &hub.url(), "--token", &publishes]);
}

#[test]
fn ignored_variables_of_mercure_cause_a_warning() {
    let secret = "a secret of the cloud";
    let variables = [
        ("MERCURE_PUBLISHER_JWT_KEY", SECRET),
        ("MERCURE_SUBSCRIBER_JWT_KEY", SECRET),
        ("MERCURE_TRUSTED_ISSUERS", "https://issuer.test"),
        ("MERCURE_EXTRA_DIRECTIVES", secret),
        ("MERCURE_TRANSPORT_URL", secret),
        ("MERCURE_LICENSE", ""),
    ];
    let hub = Hub::with_environment(&variables);
    let log = hub.log_until("MERCURE_TRANSPORT_URL is set but ignored").join("\n");
    let checked = tidings_with(&variables, &["check"]).out;
    for said in [&log, &checked] {
        for words in ["MERCURE_TRUSTED_ISSUERS is set but ignored", "--issuer", "--journal"] {
            assert!(said.contains(words), "{words:?} is not said:\n{said}");
        }
        assert!(!said.contains(secret) && !said.contains("MERCURE_LICENSE"), "{said}");
    }
    // The replacement works.
    let issuer = ["check", "--issuer", "https://issuer.test", "--audience", "https://h.test"];
    let checked = tidings_with(&variables, &issuer).out;
    assert!(!checked.contains("MERCURE_TRUSTED_ISSUERS"), "{checked}");
}

#[test]
fn an_issuer_can_be_declared_an_authorization_server() {
    let file = |name: &str| {
        File::new(&format!(
            "[access]\naudience = \"https://h.test/.well-known/mercure\"\n\
             cookie_name = [\"mine\", \"mercureAuthorization\"]\n\
             [[access.issuers]]\nname = \"https://own.test\"\nkey = \"{SECRET}\"\n\
             [[access.issuers]]\nname = \"{name}\"\nkey = \"{SECRET}\"\n\
             authorization_server = true\n"
        ))
    };
    let config = file("https://server.test");
    let hub = Hub::with(&["--config", config.path()]);
    let path = "/.well-known/oauth-protected-resource/.well-known/mercure";
    let metadata = hub.get(path).text();
    assert!(metadata.contains(r#""authorization_servers":["https://server.test"]"#), "{metadata}");
    assert!(metadata.contains(r#""mercure_cookie":"mine""#), "{metadata}");
    let config = file("server");
    wrong(&["serve", "--listen", "127.0.0.1:0", "--config", config.path()], "https URL");
}

#[test]
fn neither_keys_nor_tokens_reach_the_log() {
    let hub =
        Hub::with(&["--publisher-key", SECRET, "--anonymous-subscribe", "--query-tokens", "-vv"]);
    let bad = token(&["--publish", "*", "--expires", "0s"]);
    let good = token(&["--publish", "*"]);
    for token in [&good, &bad] {
        tidings(&["publish", "a", "x", "--hub", &hub.url(), "--token", token]);
    }
    hub.get(&format!("/.well-known/mercure?topic=a&authorization={bad}"));
    let narrow = token(&["--publish", "other"]);
    tidings(&["publish", "a", "x", "--hub", &hub.url(), "--token", &narrow]);
    hub.get("/.well-known/mercure/subscriptions");
    let metrics = hub.get("/metrics").text();
    let mut log = hub.log_until("a token was refused");
    log.extend(hub.log_until("a token was refused"));
    log.extend(hub.log_until("the token does not grant this request"));
    log.extend(hub.log_until("listing subscriptions needs a token"));
    let log = log.join("\n");
    assert!(log.contains("expired"), "{log}");
    let parts = bad.split('.').chain(good.split('.')).chain(narrow.split('.'));
    for secret in parts.chain([SECRET]) {
        assert!(!log.contains(secret) && !metrics.contains(secret), "{secret}: {log}");
    }
}

fn asked(hub: &Hub, method: &str, path: &str, token: &str) -> Response {
    let mut connection = hub.connect();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
    );
    connection.send(request.as_bytes());
    connection.response()
}

#[test]
fn a_revoked_token_stays_revoked_after_the_hub_is_killed() {
    let folder = Folder::new();
    let keys = ["--publisher-key", SECRET, "--subscriber-key", SECRET];
    let hub = on_disk(&folder, None, &keys);
    let guard = token(&["--publish", "*"]);
    let [first, second, stays] = ["first", "second", "stays"]
        .map(|user| token(&["--subscribe", "*", "--payload", &format!("\"{user}\"")]));
    let authorized = |token: &str| format!("authorization: Bearer {token}\r\n");
    let mut streams = Vec::new();
    for token in [&first, &stays] {
        streams.push(hub.subscribe_with("topic=a", &authorized(token)));
    }
    hub.wait_for_metric("tidings_subscribers", 2);
    let list = asked(&hub, "GET", "/.well-known/mercure/subscriptions", &stays).text();
    let list: serde_json::Value = serde_json::from_str(&list).expect("JSON");
    let all = list["subscriptions"].as_array().expect("a list");
    let one = all.iter().find(|one| one["payload"] == "first").expect("the first is listed");
    let path = one["id"].as_str().expect("a path").to_owned();
    assert_eq!(asked(&hub, "DELETE", &path, &guard).status, 204);
    assert_eq!(streams[0].event().event_type, "tidings");
    let by_id = "/.well-known/mercure/tokens/some%2Fid";
    assert_eq!(asked(&hub, "DELETE", by_id, &guard).status, 204);
    // It is killed, not stopped by a signal that it handles.
    drop(hub);
    let hub = on_disk(&folder, None, &keys);
    let refused = asked(&hub, "GET", "/.well-known/mercure?topic=a&lastEventID=earliest", &first);
    assert_eq!(refused.status, 401);
    assert!(refused.text().contains("revoked"), "{}", refused.text());
    for token in [&second, &stays] {
        hub.subscribe_with("topic=a", &authorized(token));
    }
}

#[test]
fn a_time_in_milliseconds_causes_a_warning() {
    // exp, iat and nbf, by an application that took its clock's milliseconds.
    let wrong = "eyJhbGciOiJIUzI1NiJ9.eyJtZXJjdXJlIjp7InN1YnNjcmliZSI6WyJhIl19LCJpYXQiOjE3NjQwMDAwMDAwMDAsIm5iZiI6MTc2NDAwMDAwMDAwMCwiZXhwIjoxNzk1MDAwMDAwMDAwfQ.c2ln";
    let said = printed(&["token", "inspect", wrong]);
    for says in [
        "exp is probably in milliseconds",
        "so the token never expires",
        "so the token never becomes valid",
        "iat is probably in milliseconds",
    ] {
        assert!(said.contains(says), "{says:?} is not in:\n{said}");
    }
    let right = "eyJhbGciOiJIUzI1NiJ9.eyJtZXJjdXJlIjp7InN1YnNjcmliZSI6WyJhIl19LCJpYXQiOjE3NjQwMDAwMDAsIm5iZiI6MTc2NDAwMDAwMCwiZXhwIjo0Nzk1MDAwMDAwfQ.c2ln";
    let said = printed(&["token", "inspect", right]);
    assert!(!said.contains("warning"), "{said}");
}

#[test]
fn a_key_file_with_a_suspicious_character_causes_a_warning() {
    for (text, says) in [
        (format!("{SECRET} \n"), "the publisher key begins or ends with a space"),
        (format!("\u{feff}{SECRET}"), "the publisher key begins with a byte order mark"),
        (format!("\"{SECRET}\"\r\n"), "the publisher key is in quotation marks"),
    ] {
        let file = File::new(&text);
        let flags = ["--publisher-key-file", file.path(), "--anonymous-subscribe"];
        let said = printed(&[&["check"], &flags[..]].concat());
        assert!(said.contains(&format!("warning     {says}")), "{said}");
        Hub::with(&flags).log_until(says);
        let made = printed(&["token", "--publish", "*", "--key", SECRET]);
        let inspect = ["token", "inspect", made.trim()];
        let ended = tidings(&[&inspect[..], &flags[..2]].concat());
        assert!(ended.out.contains(says), "{}", ended.out);
    }
    for text in [format!("{SECRET}\n"), format!("{SECRET}\r\n"), SECRET.to_owned()] {
        let file = File::new(&text);
        let said =
            printed(&["check", "--publisher-key-file", file.path(), "--anonymous-subscribe"]);
        assert!(!said.contains("publisher key"), "{said}");
    }
}
