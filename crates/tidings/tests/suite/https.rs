//! The hub over TLS, as a process: its files, and the commands that speak to it.

use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::hub::{Hub, tidings, tidings_with};

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

    /// Publishes to the hub with the command, which trusts the certificate that is there now.
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
    let subscribe = ["subscribe", "a", "--from", "earliest", "--count", "1", "--hub", &url];
    let ended = tidings_with(&[("SSL_CERT_FILE", &cert)], &subscribe);
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "good\n"), "{}", ended.error);
    let stranger = Certificate::new();
    assert_eq!(stranger.publish(&hub), Some(1));
}

#[test]
fn a_new_certificate_is_shown_and_a_wrong_one_is_not() {
    let certificate = Certificate::new();
    let hub = certificate.hub();
    assert_eq!(certificate.publish(&hub), Some(0));
    let (cert, key) = (fs::read(certificate.cert()).unwrap(), fs::read(certificate.key()).unwrap());
    certificate.renew(2125);
    assert_eq!(certificate.publish(&hub), Some(1), "the old one is still shown");
    hub.signal("HUP");
    hub.wait_for_log("a new certificate is shown");
    assert_eq!(certificate.publish(&hub), Some(0));

    let good = fs::read(certificate.cert()).unwrap();
    fs::write(certificate.key(), key).unwrap();
    fs::write(certificate.cert(), &good).unwrap();
    hub.signal("HUP");
    let line = hub.wait_for_log("the old one stays");
    assert!(line.contains("is not that of the certificate"), "{line}");
    assert_eq!(certificate.publish(&hub), Some(0));
    // What was in both files before fits again; nobody asks for it here: it is found.
    fs::write(certificate.cert(), cert).unwrap();
    hub.wait_for_log("a new certificate is shown");
    assert_eq!(certificate.publish(&hub), Some(0));
}

#[test]
fn a_certificate_that_cannot_be_had_is_told_clearly() {
    let certificate = Certificate::new();
    let (cert, key) = (certificate.cert(), certificate.key());
    let check = |cert: &str, key: &str, says: &str| {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key];
        let ended = tidings(&serve);
        assert_eq!(ended.code, Some(1), "{}", ended.error);
        assert!(ended.error.contains(says), "{}", ended.error);
    };
    check("/no/such/file", &key, "/no/such/file cannot be read");
    check(&cert, &cert, "holds no private key in PEM");
    check(&key, &key, "holds no certificate");
    let other = Certificate::new();
    check(&cert, &other.key(), "is not that of the certificate");
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
        "--messages",
        "20",
        "--rate",
        "0",
        "--json",
    ]);
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    let result: serde_json::Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!((&result["deliveries"], &result["lost"]), (&3000.into(), &0.into()));
}
