//! `SIGHUP`: the configuration is read again.

use crate::hub::{File, Hub, tidings};

fn publish(hub: &Hub) -> Option<i32> {
    tidings(&["publish", "a", "x", "--hub", &hub.url()]).code
}

#[test]
fn a_valid_configuration_replaces_the_old_one_and_an_invalid_one_does_not() {
    let access =
        |publish| format!("[access]\nanonymous_subscribe = true\nanonymous_publish = {publish}\n");
    let config = File::new(&access(true));
    let hub = Hub::with(&["--config", config.path()]);
    let mut stream = hub.subscribe("a");
    assert_eq!(publish(&hub), Some(0));
    assert_eq!(stream.event().data, "x");

    config.write(&access(false));
    hub.signal("HUP");
    hub.wait_for_log("reloaded the configuration");
    assert_eq!(publish(&hub), Some(3));

    config.write("[acces]\nanonymous_publish = true\n");
    hub.signal("HUP");
    let line = hub.wait_for_log("keeps the old one");
    assert!(line.contains("did you mean"), "{line}");
    assert_eq!(publish(&hub), Some(3));

    config.write("[access]\nanonymous_subscribe = false\n");
    hub.signal("HUP");
    hub.wait_for_log("no client could publish or subscribe");
    hub.subscribe("a");

    config.write(&(access(true) + "[limits]\nstreams = 1\n[streams]\nheartbeat = \"20s\"\n"));
    hub.signal("HUP");
    let line = hub.wait_for_log("need a restart");
    assert!(line.contains("streams.heartbeat"), "{line}");
    hub.wait_for_log("reloaded the configuration");
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
    hub.wait_for_log("reloaded the configuration");
    assert_eq!(publish(&hub, &token(old)), Some(3));
    assert_eq!(publish(&hub, &token(new)), Some(0));

    key.write("short");
    hub.signal("HUP");
    hub.wait_for_log("keeps the old one");
    assert_eq!(publish(&hub, &token(new)), Some(0));
}

/// Whether the hub answers on the separate socket for operators.
#[cfg(all(unix, feature = "tls"))]
fn answers_operators(socket: &std::path::Path) -> bool {
    use std::io::{Read as _, Write as _};

    let mut connection = std::os::unix::net::UnixStream::connect(socket).expect("the hub listens");
    connection.set_read_timeout(Some(crate::wire::PATIENCE)).expect("a socket of ours");
    connection
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .expect("the hub reads");
    let mut answer = [0; 15];
    connection.read_exact(&mut answer).is_ok() && answer == *b"HTTP/1.1 200 OK"
}

#[cfg(all(unix, feature = "tls"))]
#[test]
fn the_hub_answers_and_ends_while_a_reload_waits_for_the_systems_certificates() {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;

    use crate::hub::{eventually, program};

    let folder = std::env::temp_dir().join(format!("tidings-reload-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let (pipe, operators) = (folder.join("certificates.pem"), folder.join("operators.sock"));
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("coreutils has mkfifo").success());
    let open = "[access]\nanonymous_subscribe = true\nanonymous_publish = true\n";
    // A key set is fetched over https, with certificates that are read from the pipe.
    let with_keys = |set: &str| {
        format!(
            "{open}audience = \"https://hub.test\"\n\
             issuers = [{{ name = \"https://issuer.test\", jwks_url = \"https://issuer.test/{set}\" }}]\n"
        )
    };
    // It cannot be opened as long as nothing reads.
    let certificates = || {
        let mut writer = None;
        eventually("the hub reads the certificates", || {
            let mut options = std::fs::File::options();
            writer = options.write(true).custom_flags(libc::O_NONBLOCK).open(&pipe).ok();
            writer.is_some()
        });
        writer.expect("it is open")
    };
    let config = File::new(open);
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--journal", "memory"]);
    command.arg("--admin-listen").arg(format!("unix:{}", operators.display()));
    command.args(["--config", config.path()]).env("SSL_CERT_FILE", &pipe);
    let mut hub = Hub::run(command);
    let mut stream = hub.subscribe("a");

    config.write(&with_keys("one"));
    hub.signal("HUP");
    let mut writer = certificates();
    for _ in 0..3 {
        assert!(answers_operators(&operators));
        hub.publish("a", "meanwhile");
        assert_eq!(stream.event().data, "meanwhile");
    }
    // A second change is read when the first reading has ended.
    config.write("[access]\nanonymous_subscribe = true\n");
    hub.signal("HUP");
    assert!(answers_operators(&operators));
    let certificate = crate::https::Certificate::new();
    let text = std::fs::read(certificate.cert()).expect("a certificate");
    writer.write_all(&text).expect("the hub reads");
    drop(writer);
    hub.wait_for_log("reloaded the configuration");
    hub.wait_for_log("reloaded the configuration");
    assert_eq!(publish(&hub), Some(3));

    config.write(&with_keys("two"));
    hub.signal("HUP");
    let _writer = certificates();
    hub.signal("TERM");
    assert_eq!(hub.exit().code(), Some(0));
    let _ = std::fs::remove_dir_all(&folder);
}
