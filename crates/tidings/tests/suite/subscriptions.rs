//! `tidings subscriptions` and `tidings token revoke`.

use std::process::{Child, Stdio};

use crate::hub::{Finished, Hub, finish, program, tidings};

const SECRET: &str = "!ChangeThisMercureHubJWTSecretKey!";

fn token(arguments: &[&str]) -> String {
    let made = tidings(&[&["token", "--key", SECRET], arguments].concat());
    assert_eq!(made.code, Some(0), "{}", made.error);
    made.out.trim().to_owned()
}

fn hub() -> Hub {
    Hub::with(&["--publisher-key", SECRET, "--subscriber-key", SECRET, "--anonymous-subscribe"])
}

fn run(hub: &Hub, token: &str, arguments: &[&str]) -> Finished {
    tidings(&[arguments, &["--hub", &hub.url(), "--token", token]].concat())
}

/// A subscriber with its own token, once its stream is open.
fn subscriber(hub: &Hub, token: &str, topic: &str) -> Child {
    let before = hub.metric("tidings_subscribers");
    let child = program()
        .args(["subscribe", topic, "--hub", &hub.url(), "--token", token])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    hub.wait_for_metric("tidings_subscribers", before + 1);
    child
}

#[test]
fn subscriptions_are_listed_and_ended() {
    let hub = hub();
    let all = token(&["--publish", "*", "--subscribe", "*"]);
    let own = token(&["--subscribe", "https://a.test/1"]);
    assert_eq!(run(&hub, &all, &["subscriptions", "list"]).out, "");
    let first = subscriber(&hub, &own, "https://a.test/1");
    let mut second = subscriber(&hub, &all, "https://a.test/2 b");
    let listed = run(&hub, &all, &["subscriptions", "list"]);
    assert_eq!(listed.code, Some(0), "{}", listed.error);
    assert_eq!(listed.out.lines().count(), 2, "{}", listed.out);
    let listed = run(&hub, &all, &["subscriptions", "list", "https://a.test/1"]);
    let [line] = listed.out.lines().collect::<Vec<_>>()[..] else { panic!("{}", listed.out) };
    let (id, topic) = line.split_once("  ").expect("two columns");
    assert_eq!(topic, "https://a.test/1");
    let json = run(&hub, &all, &["subscriptions", "list", "https://a.test/2 b", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["subscriptions"][0]["topic"], "https://a.test/2 b");

    let ended = run(&hub, &all, &["subscriptions", "end", id]);
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    // Its token is revoked too, so it cannot reconnect.
    let told = finish(first);
    assert_eq!(told.code, Some(3), "{}", told.error);
    assert!(told.error.contains("the token was revoked"), "{}", told.error);
    hub.wait_for_metric("tidings_subscribers", 1);
    let again = run(&hub, &all, &["subscriptions", "end", id]);
    assert_eq!(again.code, Some(3), "{}", again.error);
    let wrong = run(&hub, &all, &["subscriptions", "end", "https://a.test/1"]);
    assert_eq!(wrong.code, Some(2), "{}", wrong.error);
    let refused = run(&hub, &token(&["--subscribe", "a"]), &["subscriptions", "list"]);
    assert_eq!(refused.code, Some(3), "{}", refused.error);
    let without = tidings(&["subscriptions", "list", "--hub", &hub.url()]);
    assert_eq!(without.code, Some(3), "{}", without.error);
    assert!(without.error.contains("set --token"), "{}", without.error);
    let _ = second.kill();
    let _ = second.wait();
}

#[test]
fn a_token_is_revoked_by_its_text_or_its_id() {
    let hub = hub();
    let all = token(&["--publish", "*"]);
    let by_text = token(&["--publish", "*"]);
    let by_id = token(&["--publish", "*", "--id", "an id/with ü"]);
    for (revoked, named, shown) in
        [(&by_text, by_text.as_str(), ""), (&by_id, "an id/with ü", "an id/with ü")]
    {
        assert_eq!(run(&hub, revoked, &["publish", "a", "b"]).code, Some(0));
        let done = run(&hub, &all, &["token", "revoke", named]);
        assert_eq!(done.code, Some(0), "{}", done.error);
        assert!(done.out.starts_with(&format!("revoked {shown}")), "{}", done.out);
        let refused = run(&hub, revoked, &["publish", "a", "b"]);
        assert_eq!(refused.code, Some(3), "{}", refused.error);
    }
    let refused = run(&hub, &token(&["--publish", "a"]), &["token", "revoke", "7"]);
    assert_eq!(refused.code, Some(3), "{}", refused.error);
    // An id may have two dots, as a token has.
    let done = run(&hub, &all, &["token", "revoke", "a.b.c"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "revoked a.b.c\n"), "{}", done.error);
    // A token that was cut off.
    let part = run(&hub, &all, &["token", "revoke", &by_text[..60]]);
    assert_eq!(part.code, Some(3), "{}", part.error);
    assert!(part.error.contains("the beginning of one"), "{}", part.error);
    let without_id = run(&hub, &all, &["token", "revoke", "eyJhbGciOiJIUzI1NiJ9.e30.c2ln"]);
    assert_eq!(without_id.code, Some(2), "{}", without_id.error);
}
