//! Key sets from a real server that behaves, and from ones that do not.

use std::sync::atomic::{AtomicUsize, Ordering};

use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;
use crate::limits::KEY_SET_PAUSE;
use std::time::Duration;

#[test]
fn internal_addresses_are_recognised_in_every_form() {
    for address in [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "0.0.0.0",
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "fd12::1",
        "::ffff:127.0.0.1",
        "::ffff:169.254.169.254",
        "64:ff9b::a00:1",
        "2002:a00:1::",
        "ff02::1",
        "2001:db8::1",
        "::10.0.0.1",
    ] {
        assert!(is_internal(address.parse().unwrap()), "{address}");
    }
    for address in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "::ffff:8.8.8.8"] {
        assert!(!is_internal(address.parse().unwrap()), "{address}");
    }
}

#[test]
fn urls_that_must_not_be_fetched_are_refused() {
    let check = |url: &str, allow: bool| KeySetUrl::new(url, allow).map(drop);
    assert_eq!(check("http://a.test/jwks", false), Err(InvalidKeySetUrl::Cleartext));
    assert_eq!(check("http://127.0.0.1/jwks", true), Ok(()));
    assert_eq!(check("ftp://a.test/", true), Err(InvalidKeySetUrl::NoUrl));
    assert_eq!(check("file:///etc/passwd", true), Err(InvalidKeySetUrl::NoUrl));
    assert_eq!(check("jwks", true), Err(InvalidKeySetUrl::NoUrl));
    #[cfg(feature = "tls")]
    for address in ["127.0.0.1", "2130706433", "0x7f.1", "[::1]", "[::ffff:10.0.0.1]"] {
        let url = format!("https://{address}/jwks");
        assert_eq!(check(&url, false), Err(InvalidKeySetUrl::Internal), "{url}");
    }
    #[cfg(not(feature = "tls"))]
    assert_eq!(check("https://a.test/jwks", false), Err(InvalidKeySetUrl::NoTls));
}

/// What a server answers, whatever it is asked.
#[derive(Clone)]
enum Reply {
    Answer(String),
    /// It says nothing, or nothing more.
    Hang(String),
}

#[derive(Clone)]
struct Server {
    url: String,
    reply: Arc<parking_lot::Mutex<Reply>>,
    asked: Arc<AtomicUsize>,
}

impl Server {
    async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks", listener.local_addr().unwrap());
        let server = Self { url, reply: Arc::new(reply.into()), asked: Arc::default() };
        let this = server.clone();
        tokio::spawn(async move {
            loop {
                let (mut socket, _) = listener.accept().await.unwrap();
                this.asked.fetch_add(1, Ordering::SeqCst);
                let reply = this.reply.lock().clone();
                tokio::spawn(async move {
                    let mut head = [0; 4096];
                    let _ = socket.read(&mut head).await;
                    let (bytes, hangs) = match reply {
                        Reply::Answer(bytes) => (bytes, false),
                        Reply::Hang(bytes) => (bytes, true),
                    };
                    let _ = socket.write_all(bytes.as_bytes()).await;
                    if hangs {
                        std::future::pending::<()>().await;
                    }
                });
            }
        });
        server
    }

    fn set(&self, reply: Reply) {
        *self.reply.lock() = reply;
    }

    fn key_set(&self) -> Arc<KeySet> {
        Arc::new(KeySet::new(KeySetUrl::new(&self.url, true).unwrap()).unwrap())
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

fn ok(body: &str) -> Reply {
    let length = body.len();
    Reply::Answer(format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}

const KEY: &str = include_str!("p256.pem");

fn jwk(name: &str) -> serde_json::Value {
    let key = EncodingKey::from_ec_pem(KEY.as_bytes()).unwrap();
    let mut jwk = Jwk::from_encoding_key(&key, jsonwebtoken::Algorithm::ES256).unwrap();
    jwk.common.key_id = Some(name.to_owned());
    serde_json::to_value(jwk).unwrap()
}

fn set_of(names: &[&str]) -> String {
    serde_json::json!({ "keys": names.iter().map(|name| jwk(name)).collect::<Vec<_>>() })
        .to_string()
}

fn names(keys: &[Key]) -> Vec<&str> {
    keys.iter().filter_map(Key::name).collect()
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_for_an_unknown_name() {
    let server = Server::start(ok(&set_of(&["one"]))).await;
    let set = server.key_set();
    for name in [None, Some("one"), None] {
        assert_eq!(names(&set.keys(name).await.unwrap()), ["one"]);
    }
    assert_eq!(server.asked(), 1);
    // The issuer changes its keys: the new one is found once it may be looked for.
    server.set(ok(&set_of(&["two"])));
    let begun = Instant::now();
    while names(&set.keys(Some("two")).await.unwrap()) != ["two"] {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::task::yield_now().await;
    }
    assert!(begun.elapsed() < Duration::from_secs(10));
    assert_eq!(server.asked(), 2);
}

#[tokio::test]
async fn unknown_names_do_not_fetch_more_often_than_allowed() {
    let server = Server::start(ok(&set_of(&["one"]))).await;
    let set = server.key_set();
    let begun = Instant::now();
    let mut asked = 0;
    while begun.elapsed() < 3 * KEY_SET_PAUSE {
        let keys = set.keys(Some(&format!("unknown {asked}"))).await.unwrap();
        assert_eq!(names(&keys), ["one"]);
        asked += 1;
        tokio::task::yield_now().await;
    }
    let bound = begun.elapsed().as_millis() / KEY_SET_PAUSE.as_millis() + 1;
    assert!(server.asked() as u128 <= bound, "{} of {asked}, {bound} allowed", server.asked());
}

#[tokio::test]
async fn concurrent_requests_wait_for_one_answer() {
    let server = Server::start(ok(&set_of(&["one"]))).await;
    let set = server.key_set();
    let mut waiting = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let set = Arc::clone(&set);
        waiting.spawn(async move { set.keys(Some("one")).await.is_some() });
    }
    while let Some(found) = waiting.join_next().await {
        assert!(found.unwrap());
    }
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_misbehaving_server_adds_no_keys_and_removes_none() {
    let elsewhere = Server::start(ok(&set_of(&["evil"]))).await;
    let secret = serde_json::json!({ "keys": [{ "kty": "oct", "k": "AAAA", "kid": "one" }] });
    let mut encryption = jwk("one");
    encryption["use"] = "enc".into();
    let mut lying = jwk("one");
    lying["alg"] = "RS256".into();
    let mut short = jwk("one");
    short["x"] = "AAAA".into();
    let only = |key: serde_json::Value| ok(&serde_json::json!({ "keys": [key] }).to_string());
    let many: Vec<_> = (0..=KEY_SET_KEYS).map(|at| jwk(&at.to_string())).collect();
    for (what, reply) in [
        (
            "redirect",
            Reply::Answer(format!(
                "HTTP/1.1 302 Found\r\nlocation: {}\r\ncontent-length: 0\r\n\r\n",
                elsewhere.url
            )),
        ),
        ("failure", Reply::Answer("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n".to_owned())),
        ("no HTTP", Reply::Answer("junk".to_owned())),
        ("no JSON", ok("<html>")),
        ("no set", ok("{}")),
        ("empty", ok(r#"{"keys":[]}"#)),
        ("a secret", ok(&secret.to_string())),
        ("for encryption", only(encryption)),
        ("another algorithm's", only(lying)),
        ("no point of the curve", only(short)),
        ("too many", ok(&serde_json::json!({ "keys": many }).to_string())),
        ("too long", ok(&format!("{}{}", set_of(&["one"]), " ".repeat(KEY_SET_BYTES)))),
        (
            "cut off",
            Reply::Answer("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":[".to_owned()),
        ),
        ("silent", Reply::Hang(String::new())),
        ("never done", Reply::Hang("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{".to_owned())),
    ] {
        let server = Server::start(reply.clone()).await;
        let begun = Instant::now();
        assert!(server.key_set().keys(Some("one")).await.is_none(), "{what}");
        assert!(begun.elapsed() < 20 * KEY_SET_TIME, "{what}");
        // A set with good keys keeps them.
        let server = Server::start(ok(&set_of(&["one"]))).await;
        let set = server.key_set();
        assert!(set.keys(None).await.is_some());
        server.set(reply);
        let tries = server.asked();
        while server.asked() == tries {
            assert_eq!(names(&set.keys(Some("other")).await.unwrap()), ["one"], "{what}");
            tokio::task::yield_now().await;
        }
        assert_eq!(names(&set.keys(Some("one")).await.unwrap()), ["one"], "{what}");
    }
    assert_eq!(elsewhere.asked(), 0);
}

#[tokio::test]
async fn a_name_with_an_internal_address_is_not_connected_to() {
    let server = Server::start(ok(&set_of(&["one"]))).await;
    let url = server.url.replace("127.0.0.1", "localhost");
    let source = KeySetUrl { url: Url::parse(&url).unwrap(), allow_internal: false };
    let set = Arc::new(KeySet::new(source).unwrap());
    assert!(set.keys(None).await.is_none());
    assert_eq!(server.asked(), 0);
}
