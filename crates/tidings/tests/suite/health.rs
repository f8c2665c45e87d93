//! `tidings health`.

use std::net::TcpListener;

use crate::answers::Answers;
use crate::hub::{File, Hub, tidings, tidings_with};

fn check(arguments: &[&str], code: i32, says: &str) {
    let ended = tidings(&[&["health"], arguments].concat());
    let said = format!("{}{}", ended.out, ended.error);
    assert_eq!(ended.code, Some(code), "{arguments:?}: {said}");
    assert!(said.contains(says), "{arguments:?}: {said}");
}

#[test]
fn a_hub_that_works_is_well() {
    let hub = Hub::start();
    let address = hub.address.to_string();
    let url = hub.url();
    check(&[&url], 0, "ok");
    check(&[&url, "--ready"], 0, "ready");
    check(&["--listen", &address], 0, "ok");
    // As in a container: the variables of the hub itself.
    let port = hub.address.port();
    let everywhere = format!("0.0.0.0:{port}");
    for variables in [
        &[("TIDINGS_LISTEN", everywhere.as_str())][..],
        &[("TIDINGS_LISTEN", "127.0.0.1:1"), ("TIDINGS_ADMIN_LISTEN", &everywhere)],
    ] {
        let ended = tidings_with(variables, &["health"]);
        assert_eq!(ended.code, Some(0), "{variables:?}: {}", ended.error);
    }
    let config = File::new(&format!("listen = [\"{address}\", \"127.0.0.1:1\"]\n"));
    check(&["--config", config.path()], 0, "ok");
}

#[cfg(unix)]
#[test]
fn a_hub_on_a_unix_socket_is_asked_there() {
    let folder = std::env::temp_dir().join(format!("tidings-health-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder");
    let socket = format!("unix:{}", folder.join("admin.sock").display());
    let _hub = Hub::with(&["--admin-listen", &socket, "--anonymous-subscribe"]);
    check(&["--admin-listen", &socket], 0, "ok");
    std::fs::remove_dir_all(&folder).expect("the folder");
}

#[test]
fn a_login_in_the_url_is_sent_as_basic_authentication() {
    let answers = Answers::of(&["HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_owned()]);
    let url = answers.url().replace("http://", "http://user:secret@");
    check(&[&url], 0, "ok");
    let request = answers.request();
    assert_eq!(request.header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
    assert_eq!(request.head[0], "GET /healthz HTTP/1.1");
}

#[test]
fn a_hub_that_does_not_work_is_not_well() {
    // A port that was in use a moment ago, so probably no program listens on it.
    let free = TcpListener::bind("127.0.0.1:0").and_then(|one| one.local_addr()).expect("a port");
    check(&[&format!("http://{free}")], 1, "no response");
    let failing =
        Answers::of(&["HTTP/1.1 503 Service Unavailable\r\n\r\nthe disk is full".to_owned()]);
    check(&[&failing.url()], 1, "(503 Service Unavailable): the disk is full");
    // The main address of a hub on the network has no health check.
    let other = Answers::of(&["HTTP/1.1 404 Not Found\r\n\r\n".to_owned()]);
    check(&[&other.url()], 1, "--admin-listen");
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", silent.local_addr().expect("an address"));
    check(&[&url, "--timeout", "50ms"], 1, "within 50ms");
    // Docker reserves the exit code 2.
    check(&["ftp://a.test"], 1, "not ftp");
    check(&["--listen", "8081"], 1, "use localhost:8081");
    let hostile = Answers::of(&["HTTP/1.1 503 Service Unavailable\r\n\r\n\x1b[2J".to_owned()]);
    check(&[&hostile.url()], 1, "\\u{1b}[2J");
}

#[test]
fn a_hub_with_a_certificate_is_not_asked_over_http() {
    let says = "give the URL with the name of its certificate";
    check(&["--listen", "localhost:1", "--tls-cert", "cert.pem"], 1, says);
    let ended = tidings_with(&[("TIDINGS_TLS_CERT", "cert.pem")], &["health"]);
    assert_eq!(ended.code, Some(1), "{}", ended.error);
    assert!(ended.error.contains(says), "{}", ended.error);
}
