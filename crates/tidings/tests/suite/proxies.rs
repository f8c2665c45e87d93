//! Proxies of the environment, and logins in URLs.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;

use crate::answers::{Answers, NO_CONTENT, STREAM};
use crate::hub::{Finished, Hub, finish, program};

/// Runs a command where this is `http_proxy`.
fn behind(proxy: &str, arguments: &[&str]) -> Finished {
    let child = program()
        .args(arguments)
        .env("http_proxy", proxy)
        .env_remove("no_proxy")
        .env_remove("NO_PROXY")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    finish(child)
}

/// An address that refuses connections for as long as this lives: a connection has its port.
struct Refusing {
    held: TcpStream,
    _listener: TcpListener,
}

impl Refusing {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let held =
            TcpStream::connect(listener.local_addr().expect("it is bound")).expect("it accepts");
        Self { held, _listener: listener }
    }

    fn address(&self) -> SocketAddr {
        self.held.local_addr().expect("it is connected")
    }

    /// With a login.
    fn url(&self) -> String {
        format!("http://user:secret@{}", self.address())
    }
}

#[test]
fn requests_to_this_machine_never_use_a_proxy() {
    let hub = Hub::start();
    let proxy = Refusing::new();
    let url = hub.url().replace("127.0.0.1", "localhost");
    let published = behind(&proxy.url(), &["publish", "a", "1", "--hub", &url]);
    assert_eq!(published.code, Some(0), "{}", published.error);
    let from =
        ["subscribe", "a", "--data-only", "--from", "earliest", "--count", "1", "--hub", &url];
    assert_eq!(behind(&proxy.url(), &from).out, "1\n");
}

#[test]
fn an_error_names_the_failed_proxy_and_not_the_hub() {
    let proxy = Refusing::new();
    let named = format!("through the proxy http://{}", proxy.address());
    for arguments in [
        &["publish", "a", "1", "--hub", "http://hub.invalid"][..],
        &["subscribe", "a", "--hub", "http://hub.invalid"],
        &["tail", "http://hub.invalid/"],
        &["inspect", "http://hub.invalid/"],
    ] {
        let ended = behind(&proxy.url(), arguments);
        assert_eq!(ended.code, Some(1), "{}", ended.error);
        assert!(ended.error.contains(&named), "{}", ended.error);
        assert!(ended.error.contains("no_proxy"), "{}", ended.error);
        assert!(!ended.error.contains("is it running"), "{}", ended.error);
        assert!(!ended.error.contains("secret"), "{}", ended.error);
    }
}

#[test]
fn an_answer_of_a_proxy_is_reported_as_such() {
    let proxy = Answers::of(&["HTTP/1.1 502 Bad Gateway\r\n\r\nno route".to_owned()]);
    let ended = behind(&proxy.url(), &["tail", "http://hub.invalid/"]);
    assert_eq!(ended.code, Some(3), "{}", ended.error);
    assert!(ended.error.contains("through the proxy http://127.0.0.1:"), "{}", ended.error);
    assert!(proxy.request().head[0].starts_with("GET http://hub.invalid/ "));
}

#[test]
fn a_login_in_the_url_is_sent_and_never_shown() {
    for command in ["tail", "inspect"] {
        let answers = Answers::of(&[format!("{STREAM}data: a\n\n"), NO_CONTENT.to_owned()]);
        let url = answers.url().replace("http://", "http://user:secret@");
        let ended = crate::hub::tidings(&[command, &url, "--count", "1"]);
        assert_eq!(ended.code, Some(0), "{}", ended.error);
        // `user:secret` in base64.
        assert_eq!(answers.request().header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
        assert!(!ended.error.contains("secret") && !ended.out.contains("secret"));
    }
    let refusing = Refusing::new();
    let nobody = &*refusing.url();
    for arguments in [
        &["tail", nobody][..],
        &["inspect", nobody],
        &["publish", "a", "1", "--hub", nobody],
        &["subscribe", "a", "--hub", nobody],
        &["tail", "http://user:secret@:x"],
        &["publish", "a", "1", "--hub", "http://user:secret@:x"],
    ] {
        let ended = crate::hub::tidings(arguments);
        assert_ne!(ended.code, Some(0), "{arguments:?}");
        assert!(!ended.error.contains("secret"), "{arguments:?}: {}", ended.error);
    }
}
