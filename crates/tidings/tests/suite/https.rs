//! The hub over TLS, as a process: its files, and the commands that speak to it.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::hub::{File, Hub, program, tidings, tidings_with};

/// A certificate for localhost and its key, in files, until dropped.
pub(crate) struct Certificate(PathBuf);

impl Certificate {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("https-{}-{number}", std::process::id());
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&folder).expect("a folder can be made");
        let certificate = Self(folder);
        certificate.renew(2124);
        certificate
    }

    fn renew(&self, year: i32) {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("names");
        params.not_before = date_time_ymd(2001, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("a certificate can be made");
        fs::write(self.cert(), certificate.pem()).expect("a file can be written");
        fs::write(self.key(), key.serialize_pem()).expect("a file can be written");
    }

    pub(crate) fn cert(&self) -> String {
        self.0.join("cert.pem").display().to_string()
    }

    pub(crate) fn key(&self) -> String {
        self.0.join("key.pem").display().to_string()
    }

    fn hub(&self) -> Hub {
        Hub::with(&["--tls-cert", &self.cert(), "--tls-key", &self.key()])
    }

    /// Publishes to the hub with the command, which trusts the current certificate.
    fn publish(&self, hub: &Hub) -> Option<i32> {
        let url = format!("https://{}", hub.address);
        let trusted = [("SSL_CERT_FILE", self.cert())];
        let trusted = trusted.each_ref().map(|(name, value)| (*name, value.as_str()));
        tidings_with(&trusted, &["publish", "a", "good", "--hub", &url]).code
    }
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn the_commands_speak_https_to_a_hub_whose_certificate_they_trust() {
    let certificate = Certificate::new();
    let hub = certificate.hub();
    assert_eq!(certificate.publish(&hub), Some(0));
    let url = format!("https://{}", hub.address);
    let cert = certificate.cert();
    let first = ["--from", "earliest", "--count", "1", "--format", "data"];
    let subscribe = [&["subscribe", "a", "--hub", &url][..], &first].concat();
    let ended = tidings_with(&[("SSL_CERT_FILE", &cert)], &subscribe);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "good\n"), "{}", ended.error);
    let stranger = Certificate::new();
    assert_eq!(stranger.publish(&hub), Some(1));
}

#[test]
fn a_new_certificate_is_used_and_an_invalid_one_is_not() {
    let certificate = Certificate::new();
    let hub = certificate.hub();
    assert_eq!(certificate.publish(&hub), Some(0));
    let (cert, key) = (fs::read(certificate.cert()).unwrap(), fs::read(certificate.key()).unwrap());
    certificate.renew(2125);
    assert_eq!(certificate.publish(&hub), Some(1), "the old one is still shown");
    hub.signal("HUP");
    hub.wait_for_log("using the new certificate");
    assert_eq!(certificate.publish(&hub), Some(0));

    let good = fs::read(certificate.cert()).unwrap();
    fs::write(certificate.key(), key).unwrap();
    fs::write(certificate.cert(), &good).unwrap();
    hub.signal("HUP");
    let line = hub.wait_for_log("keeps the old one");
    assert!(line.contains("does not match the certificate"), "{line}");
    assert_eq!(certificate.publish(&hub), Some(0));
    // The earlier contents of both files match again. No signal is sent: the hub notices the
    // change itself.
    fs::write(certificate.cert(), cert).unwrap();
    hub.wait_for_log("using the new certificate");
    assert_eq!(certificate.publish(&hub), Some(0));
}

#[test]
fn an_unusable_certificate_is_an_error_that_names_the_file() {
    let certificate = Certificate::new();
    let (cert, key) = (certificate.cert(), certificate.key());
    let check = |cert: &str, key: &str, says: &str| {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key];
        let ended = tidings(&serve);
        assert_eq!(ended.code, Some(1), "{}", ended.error);
        assert!(ended.error.contains(says), "{}", ended.error);
    };
    check("/no/such/file", &key, "cannot read /no/such/file");
    check(&cert, &cert, "contains no private key in PEM");
    check(&key, &key, "contains no certificate");
    let other = Certificate::new();
    check(&cert, &other.key(), "does not match the certificate");
}

#[test]
fn a_bench_over_http_2_loses_nothing() {
    let certificate = Certificate::new();
    let hub = certificate.hub();
    let url = format!("https://{}", hub.address);
    let ended = tidings(&[
        "bench",
        &url,
        "--http2",
        "--insecure",
        "--subscribers",
        "150",
        "--updates",
        "20",
        "--rate",
        "0",
        "--json",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    let result: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!((&result["deliveries"], &result["lost"]), (&3000.into(), &0.into()));
}

const ISSUERS_KEY: &str = include_str!("../../../tidings-hub/src/access/tokens/key_set/p256.pem");
const ISSUERS_SET: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","alg":"ES256","use":"sig","kid":"1",
    "x":"bpayVIEHeSz14pzZzt6pnZ2zzqjxCV80QuDrEIGiLow","y":"GNiiudhzjtd-BXVjmRQyjkUgluwveoH0kiTrpVIupGA"}]}"#;

/// An issuer that publishes its keys, over TLS with this certificate, until the process ends.
fn issuer(certificate: &Certificate) -> SocketAddr {
    let chain = CertificateDer::from_pem_file(certificate.cert()).expect("a certificate");
    let key = PrivateKeyDer::from_pem_file(certificate.key()).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(
        rustls::crypto::aws_lc_rs::default_provider(),
    ))
    .with_safe_default_protocol_versions()
    .expect("the provider has them")
    .with_no_client_auth()
    .with_single_cert(vec![chain], key)
    .expect("they belong together");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(Arc::clone(&config));
            let mut stream = rustls::StreamOwned::new(connection.expect("a connection"), socket);
            let mut head = [0; 4096];
            // A client that does not trust the certificate disconnects before its request.
            if stream.read(&mut head).is_ok_and(|count| count > 0) {
                let length = ISSUERS_SET.len();
                let head = format!(
                    "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
                );
                let _ = stream.write_all(format!("{head}{ISSUERS_SET}").as_bytes());
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    address
}

#[test]
fn an_issuers_keys_are_fetched_over_https_from_trusted_servers() {
    let certificate = Certificate::new();
    let url = format!("https://localhost:{}/jwks", issuer(&certificate).port());
    let audience = "https://h.test/.well-known/mercure";
    let flags = ["--issuer", "https://issuer.test", "--audience", audience, "--jwks-url", &url];
    let private = File::new(ISSUERS_KEY);
    let mut make = vec!["token", "--key-file", private.path(), "--publish", "*"];
    make.extend(["--dialect", "1.0", "--issuer", "https://issuer.test", "--audience", audience]);
    let token = tidings(&make).out;
    let publish = |trusted: Option<&str>, allows: &[&str], log: &str| {
        let mut command = program();
        command.args(["serve", "--listen", "127.0.0.1:0", "--journal", "memory"]);
        command.args(flags).args(allows).envs(trusted.map(|path| ("SSL_CERT_FILE", path)));
        let hub = Hub::run(command);
        let ended = tidings(&["publish", "a", "x", "--hub", &hub.url(), "--token", token.trim()]);
        hub.wait_for_log(log);
        ended
    };
    let inside = ["--jwks-allow-internal"];
    let cert = certificate.cert();
    let taken = publish(Some(&cert), &inside, "fetched an issuer's keys");
    assert_eq!(taken.code, Some(0), "{}", taken.error);
    let stranger = Certificate::new().cert();
    for (trusted, allows) in
        [(None, &inside[..]), (Some(stranger.as_str()), &inside), (Some(cert.as_str()), &[])]
    {
        let refused = publish(trusted, allows, "cannot fetch an issuer's keys");
        assert_ne!(refused.code, Some(0));
        assert!(refused.error.contains("503"), "{}", refused.error);
    }
}
