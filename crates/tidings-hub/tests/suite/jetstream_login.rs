//! Logins of hubs at NATS servers.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};
use serde_json::{Value, json};
use tidings_hub::{NatsError, NatsJournal, NatsLogin, NatsOptions};

use crate::jetstream::{hub, on, options};
use crate::nats::{Nats, Place, Settings};

fn server(configuration: &str) -> Nats {
    Nats::one_with(Settings { server: configuration, ..Settings::default() })
}

async fn lets_in(options: NatsOptions) {
    let server = hub(options).await;
    server.tell("a", "1").await;
    assert_eq!(server.subscribe("topic=a&lastEventID=earliest").await.data(1).await, ["1"]);
    server.hub.stop().await;
}

async fn refuses(options: NatsOptions) {
    let error = NatsJournal::open(options).await.expect_err("nobody is let in");
    assert!(matches!(error, NatsError::Refused { .. }), "{error}");
}

#[test]
fn by_a_user_and_a_password_or_a_token_in_the_url() {
    on(server("authorization { user: ann, password: \"s3 cr:t\" }"), async |nats| {
        refuses(options(&nats)).await;
        let url = nats.url().replace("://", "://ann:s3%20cr%3At@");
        let named = options(&nats).servers(vec![url]);
        assert!(!named.shown().contains("s3"), "{}", named.shown());
        lets_in(named.clone()).await;
        let twice = named.login(NatsLogin::Token("x".to_owned()));
        let error = NatsJournal::open(twice).await.unwrap_err();
        assert!(matches!(error, NatsError::Setting { .. }), "{error}");
    });
    on(server("authorization { token: \"a-token\" }"), async |nats| {
        let url = nats.url().replace("://", "://a-token@");
        lets_in(options(&nats).servers(vec![url])).await;
        let login = NatsLogin::Token("a-token".to_owned());
        lets_in(options(&nats).login(login).stream("OTHER".to_owned())).await;
        let login = NatsLogin::Token("another".to_owned());
        refuses(options(&nats).login(login)).await;
    });
}

#[test]
fn by_an_nkey() {
    let user = KeyPair::new_user();
    let configuration = format!("authorization {{ users: [ {{ nkey: {} }} ] }}", user.public_key());
    on(server(&configuration), async |nats| {
        refuses(options(&nats)).await;
        let login = NatsLogin::Nkey(user.seed().unwrap());
        lets_in(options(&nats).login(login)).await;
        let login = NatsLogin::Nkey(KeyPair::new_user().seed().unwrap());
        refuses(options(&nats).login(login)).await;
    });
}

#[test]
fn a_start_without_the_right_to_read_revocations_reports_it() {
    let denied = "$JS.API.STREAM.INFO.TIDINGS_REVOKED";
    let permissions = format!("permissions: {{ publish: {{ deny: {denied:?} }} }}");
    let user = format!("{{ user: ann, password: p, {permissions} }}");
    let configuration = format!("authorization {{ users: [ {user} ] }}");
    on(server(&configuration), async |nats| {
        let url = nats.url().replace("://", "://ann:p@");
        // Another failure would be tried again for as long.
        let start_wait = Duration::from_secs(24 * 3600);
        let options = options(&nats).servers(vec![url]).start_wait(start_wait);
        let error = NatsJournal::open(options).await.expect_err("it cannot be read");
        let words = error.to_string();
        assert!(matches!(error, NatsError::NotCreated { .. }), "{words}");
        assert!(words.to_lowercase().contains("permissions violation"), "{words}");
        assert!(words.contains(denied), "{words}");
    });
}

/// A JWT as NATS has them.
fn jwt(issuer: &KeyPair, subject: &KeyPair, name: &str, nats: Value) -> String {
    let encode = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({
        "jti": name, "iat": 1_700_000_000, "iss": issuer.public_key(), "name": name,
        "sub": subject.public_key(), "nats": nats,
    });
    let header = json!({ "typ": "JWT", "alg": "ed25519-nkey" });
    let signed = format!("{}.{}", encode(&header), encode(&claims));
    let signature = issuer.sign(signed.as_bytes()).expect("it has its seed");
    format!("{signed}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn by_a_credentials_file() {
    let (operator, account, user) =
        (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
    let system = KeyPair::new_account();
    let of_operator = json!({
        "type": "operator", "version": 2, "system_account": system.public_key(),
    });
    let of_operator = jwt(&operator, &operator, "o", of_operator);
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
        "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1,
        "consumer": -1,
    });
    let mut of_system = json!({ "type": "account", "version": 2, "limits": limits });
    for name in ["mem_storage", "disk_storage", "streams", "consumer"] {
        // The system's account has no streams.
        of_system["limits"][name] = 0.into();
    }
    let of_system = jwt(&operator, &system, "s", of_system);
    let of_account = json!({ "type": "account", "version": 2, "limits": limits });
    let of_account = jwt(&operator, &account, "a", of_account);
    let of_user = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1 });
    let of_user = jwt(&account, &user, "u", of_user);
    let configuration = format!(
        "operator: {of_operator}\n         resolver: MEMORY\nresolver_preload: {{ {}: {of_account}, {}: {of_system} }}",
        account.public_key(),
        system.public_key()
    );
    let folder = Folder::new("credentials");
    let file = folder.write(
        "hub.creds",
        &format!(
            "-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().unwrap()
        ),
    );
    on(server(&configuration), async |nats| {
        refuses(options(&nats)).await;
        let login = NatsLogin::Credentials(file);
        lets_in(options(&nats).login(login)).await;
        let login = NatsLogin::Credentials(folder.0.join("missing.creds"));
        let error = NatsJournal::open(options(&nats).login(login)).await.unwrap_err();
        assert!(error.to_string().contains("missing.creds"), "{error}");
    });
}

#[test]
fn over_tls_with_certificates_of_both_sides() {
    let folder = Folder::new("certificates");
    let place = Place::of_its_own();
    let address = place.address;
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = rcgen::KeyPair::generate().unwrap();
    let ca = folder.write("ca.pem", &params.self_signed(&key).unwrap().pem());
    let issuer = Issuer::new(params, key);
    let issue = |name: &str| {
        let params = CertificateParams::new([address.to_string()]).unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (
            folder.write(&format!("{name}.pem"), &certificate.pem()),
            folder.write(&format!("{name}-key.pem"), &key.serialize_pem()),
        )
    };
    let (of_server, of_hub) = (issue("server"), issue("hub"));
    let configuration = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {ca:?}, verify: true }}",
        of_server.0, of_server.1
    );
    let settings = Settings { server: &configuration, ..Settings::default() };
    on(Nats::cluster_at(vec![place], settings), async |nats| {
        let named = options(&nats).ca(Some(ca.clone()));
        lets_in(named.clone().certificate(Some(of_hub))).await;
        let briefly = std::time::Duration::from_millis(100);
        for wrong in [
            // The hub shows no certificate.
            named.start_wait(briefly),
            // The system's authorities do not know the server's.
            options(&nats)
                .servers(vec![nats.url().replace("nats://", "tls://")])
                .start_wait(briefly),
        ] {
            NatsJournal::open(wrong).await.unwrap_err();
        }
    });
}

/// A folder that is removed in the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let new = tempfile::Builder::new().prefix(name).tempdir_in(env!("CARGO_TARGET_TMPDIR"));
        Self(new.expect("a folder can be made").keep())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("a file can be written");
        path
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
