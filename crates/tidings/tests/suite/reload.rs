//! `SIGHUP`: the configuration is read again.

use crate::hub::{File, Hub, tidings};

fn publish(hub: &Hub) -> Option<i32> {
    tidings(&["publish", "a", "x", "--hub", &hub.url()]).code
}

#[test]
fn a_good_configuration_takes_the_old_ones_place_and_a_bad_one_does_not() {
    let access =
        |publish| format!("[access]\nanonymous_subscribe = true\nanonymous_publish = {publish}\n");
    let config = File::new(&access(true));
    let hub = Hub::with(&["--config", config.path()]);
    let mut stream = hub.subscribe("a");
    assert_eq!(publish(&hub), Some(0));
    assert_eq!(stream.event().data, "x");

    config.write(&access(false));
    hub.signal("HUP");
    hub.wait_for_log("the configuration was read again");
    assert_eq!(publish(&hub), Some(3));

    config.write("[acces]\nanonymous_publish = true\n");
    hub.signal("HUP");
    let line = hub.wait_for_log("the old one stays");
    assert!(line.contains("did you mean"), "{line}");
    assert_eq!(publish(&hub), Some(3));

    config.write(&(access(true) + "[limits]\nstreams = 1\n[streams]\nheartbeat = \"20s\"\n"));
    hub.signal("HUP");
    let line = hub.wait_for_log("with the next start only");
    assert!(line.contains("streams.heartbeat"), "{line}");
    hub.wait_for_log("the configuration was read again");
    let mut turned_away = hub.subscribe("a");
    assert_eq!(turned_away.next(), None);
    assert_eq!(publish(&hub), Some(0));
    assert_eq!(stream.event().data, "x", "an open stream goes on");
}

#[test]
fn the_keys_of_tokens_are_read_again_too() {
    let token = |key: &str| {
        let made = tidings(&["token", "--publish", "*", "--key", key]);
        assert_eq!(made.code, Some(0), "{}", made.error);
        made.out.trim().to_owned()
    };
    let publish = |hub: &Hub, token: &str| {
        tidings(&["publish", "a", "x", "--hub", &hub.url(), "--token", token]).code
    };
    let (old, new) =
        ("a secret of at least thirty-two bytes", "another one of at least thirty-two bytes");
    let key = File::new(old);
    let config = File::new(&format!(
        "[access]\nanonymous_subscribe = true\npublisher_key_file = {:?}\n",
        key.path()
    ));
    let hub = Hub::with(&["--config", config.path()]);
    assert_eq!(publish(&hub, &token(old)), Some(0));
    assert_eq!(publish(&hub, &token(new)), Some(3));

    key.write(new);
    hub.signal("HUP");
    hub.wait_for_log("the configuration was read again");
    assert_eq!(publish(&hub, &token(old)), Some(3));
    assert_eq!(publish(&hub, &token(new)), Some(0));

    key.write("short");
    hub.signal("HUP");
    hub.wait_for_log("the old one stays");
    assert_eq!(publish(&hub, &token(new)), Some(0));
}
