use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use super::*;

/// The files of a certificate and its key, until dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tidings-tls-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn certificate(&self) -> PathBuf {
        self.0.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.0.join("key.pem")
    }

    fn write(&self, from: i32, until: i32) {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(from, 1, 1);
        params.not_after = date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        fs::write(self.certificate(), params.self_signed(&key).unwrap().pem()).unwrap();
        fs::write(self.key(), key.serialize_pem()).unwrap();
    }

    fn read(&self) -> Result<Tls, TlsError> {
        Tls::of_files(self.certificate(), self.key())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn shown(tls: &Tls) -> Vec<u8> {
    tls.0.shown.0.read().certified.cert[0].to_vec()
}

/// Checks that the files are refused for this reason, and that what was shown still is.
fn check_old_stays(tls: &Tls, reason: &str) {
    let before = shown(tls);
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains(reason), "{error}");
    assert_eq!(shown(tls), before);
    assert!(tls.problem().is_none());
}

#[test]
fn the_validity_of_a_certificate_is_read() {
    let folder = Folder::new();
    folder.write(2001, 2124);
    let Validity { not_before, not_after } =
        folder.read().unwrap().0.shown.0.read().validity.unwrap();
    assert_eq!(httpdate::fmt_http_date(not_before), "Mon, 01 Jan 2001 00:00:00 GMT");
    assert_eq!(httpdate::fmt_http_date(not_after), "Sat, 01 Jan 2124 00:00:00 GMT");
}

#[test]
fn a_reload_uses_new_files() {
    let folder = Folder::new();
    folder.write(2001, 2124);
    let tls = folder.read().unwrap();
    let first = shown(&tls);
    assert_eq!(tls.reload().unwrap(), Reload::Unchanged);
    folder.write(2001, 2125);
    assert_eq!(shown(&tls), first);
    assert_eq!(tls.reload().unwrap(), Reload::Changed);
    assert_ne!(shown(&tls), first);
    assert_eq!(tls.reload().unwrap(), Reload::Unchanged);
}

#[test]
fn invalid_files_leave_the_old_certificate_in_place() {
    let (folder, other) = (Folder::new(), Folder::new());
    folder.write(2001, 2124);
    other.write(2001, 2124);
    let tls = folder.read().unwrap();
    let good = (fs::read(folder.certificate()).unwrap(), fs::read(folder.key()).unwrap());

    folder.write(2001, 2002);
    check_old_stays(&tls, "expired on Tue, 01 Jan 2002");
    folder.write(2120, 2124);
    check_old_stays(&tls, "is valid only from Mon, 01 Jan 2120");
    fs::copy(other.certificate(), folder.certificate()).unwrap();
    fs::write(folder.key(), &good.1).unwrap();
    check_old_stays(&tls, "does not match the certificate");
    fs::write(folder.certificate(), "").unwrap();
    check_old_stays(&tls, "contains no certificate");
    fs::write(folder.certificate(), &good.0).unwrap();
    fs::write(folder.key(), &good.0).unwrap();
    check_old_stays(&tls, "contains no private key in PEM");
    fs::remove_file(folder.key()).unwrap();
    check_old_stays(&tls, "cannot read");
    fs::write(folder.key(), &good.1).unwrap();
    assert_eq!(tls.reload().unwrap(), Reload::Unchanged);
}

#[test]
fn an_expired_certificate_is_accepted_if_there_is_no_better_one() {
    let folder = Folder::new();
    folder.write(2001, 2002);
    let tls = folder.read().unwrap();
    assert!(tls.problem().unwrap().to_string().contains("expired on"));
    folder.write(2001, 2003);
    assert_eq!(tls.reload().unwrap(), Reload::Changed);
    folder.write(2001, 2124);
    assert_eq!(tls.reload().unwrap(), Reload::Changed);
    assert!(tls.problem().is_none());
}
