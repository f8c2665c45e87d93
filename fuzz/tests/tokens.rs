//! Tokens and keys: what a hub signs it accepts, and nothing else; no key is shown.

use serde_json::{Map, Value, json};
use tidings_hub::{
    Access, Dialect, Key, SigningKey, TokenGrant, TokenReport, Tokens, inspect_token, sign_token,
};
use tidings_seed::fuzz::{Change, changed, pieces};

const SECRET: &str = "a secret of thirty-two bytes, and of some more";

fn access() -> Access {
    let key = Key::read(SECRET, None).expect("a key");
    let mut access = Access::default();
    access.tokens = Tokens::default().publisher_key(Some(key.clone())).subscriber_key(Some(key));
    access
}

fn inspect(token: &str) -> Option<TokenReport> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(inspect_token(token, access())).ok()
}

fn is_accepted(token: &str) -> bool {
    inspect(token).is_some_and(|report| report.verdicts.iter().any(|(_, one)| one.is_ok()))
}

fn sign(claims: &Map<String, Value>) -> String {
    let key = SigningKey::read(SECRET, None).expect("a key");
    sign_token(claims, Dialect::Deployed, &key).expect("a secret can sign")
}

fn claims(text: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(text).ok()
}

const CLAIMS: [&[u8]; 7] = [
    br#"{"mercure":{"publish":["*"],"subscribe":["a/{x}"],"payload":{"a":[1,null]}}}"#,
    br#"{"mercure":{"publish":[]},"exp":9999999999,"nbf":0.5,"iat":1}"#,
    br#"{"https://mercure.rocks/":{"subscribe":["a"]},"mercure":null,"jti":"x"}"#,
    br#"{"authorization_details":[{"type":"https://mercure.rocks/authorization-detail","actions":["publish"],"topics":[{"match":"/a/:b","match_type":"urlpattern"}],"payload":{}}],"exp":9999999999,"aud":["x"]}"#,
    br#"{"mercure":{"publish":"*"}}"#,
    br#"{"exp":-1}"#,
    br"{}",
];

const PIECES: [&[u8]; 14] = [
    b"null",
    b"1e400",
    b"[",
    b"]",
    b"{}",
    b"\"",
    b",",
    b":",
    b"{x}",
    b"\"exp\":1",
    b"\"nbf\":1e300",
    b"\\ud800",
    b"0",
    b".",
];

#[test]
fn a_token_that_the_hub_signs_is_read_as_it_was_made() {
    tidings_seed::fuzz!((u8, Vec<Change>), 1500, |input| {
        let text = changed(input, &CLAIMS, &PIECES);
        let Some(claims) = claims(&text) else { return };
        let token = sign(&claims);
        let Some(report) = inspect(&token) else { return assert!(token.len() > 8192) };
        assert_eq!(report.claims, claims);
        assert_eq!(
            (report.algorithm.as_str(), report.token_type.as_deref()),
            ("HS256", Some("JWT"))
        );
        for (used, verdict) in report.verdicts {
            let Ok(granted) = verdict else { continue };
            // The claim of 0.x, read slowly. A claim with the long name replaces the other.
            let claim = claims.get("https://mercure.rocks/").or(claims.get("mercure"));
            let list = claim.and_then(|claim| claim.get(used.to_string()));
            let grants_any = list.and_then(Value::as_array).is_some_and(|list| !list.is_empty());
            assert_eq!(granted == TokenGrant::Something, grants_any, "{used} of {claims:?}");
            let time = |name: &str| claims.get(name).map(|time| time.as_f64().expect("a number"));
            assert!(time("exp").is_none_or(|exp| exp > 1.7e9), "{claims:?}");
            assert!(time("nbf").is_none_or(|nbf| (0.0..1e11).contains(&nbf)), "{claims:?}");
        }
    });
}

#[test]
fn a_token_that_was_changed_is_never_accepted() {
    let token = sign(json!({ "mercure": { "publish": ["*"] } }).as_object().expect("an object"));
    assert!(is_accepted(&token));
    let none = "eyJhbGciOiJub25lIn0.eyJtZXJjdXJlIjp7InB1Ymxpc2giOlsiKiJdfX0.";
    let pieces: [&[u8]; 6] = [b".", b"=", b"+", b"/", b"\n", b"eyJhbGciOiJub25lIn0"];
    tidings_seed::fuzz!((u8, Vec<Change>), 3000, |input| {
        let text = changed(input, &[token.as_bytes(), token.as_bytes(), none.as_bytes()], &pieces);
        let Ok(text) = std::str::from_utf8(&text) else { return };
        assert_eq!(is_accepted(text), text == token, "{text:?}");
    });
}

#[test]
fn every_text_is_a_key_for_its_algorithm_or_an_error_that_does_not_show_it() {
    const P256: &[u8] =
        include_bytes!("../../crates/tidings-hub/src/access/tokens/key_set/p256.pem");
    const NAMES: [&str; 8] = ["", "HS256", "HS384", "HS512", "RS256", "ES256", "EdDSA", "none"];
    let public = String::from_utf8_lossy(P256).replace("PRIVATE", "PUBLIC");
    let examples = [P256, public.as_bytes(), SECRET.as_bytes(), &[b'x'; 64]];
    let pieces: [&[u8]; 7] = [
        b"-----BEGIN PUBLIC KEY-----\n",
        b"-----END PUBLIC KEY-----\n",
        b"RSA ",
        b"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE",
        b"{\"kty\":",
        b"\n",
        b"\0",
    ];
    tidings_seed::fuzz!((u8, (u8, Vec<Change>)), 3000, |(name, input)| {
        let text = changed(input, &examples, &pieces);
        let text = String::from_utf8_lossy(&text);
        let name = NAMES[usize::from(*name) % NAMES.len()];
        let Ok(algorithm) = (!name.is_empty()).then(|| name.parse()).transpose() else {
            return assert_eq!(name, "none");
        };
        let shows = |shown: &str| {
            let lines = text.lines().filter(|line| line.len() > 8 && !line.contains("-----"));
            lines.into_iter().any(|line| shown.contains(line))
        };
        match Key::read(&text, algorithm) {
            Ok(key) => {
                assert!(algorithm.is_none_or(|algorithm| key.algorithm() == algorithm));
                let is_secret = key.algorithm().to_string().starts_with("HS");
                assert_eq!(is_secret, !text.contains("-----BEGIN"), "{text:?}");
                assert!(!text.contains("PRIVATE KEY") || is_secret, "{text:?}");
                let bits = match key.algorithm().to_string().as_str() {
                    "HS256" => 256,
                    "HS384" => 384,
                    "HS512" => 512,
                    _ => 0,
                };
                assert!(8 * text.trim_end_matches(['\r', '\n']).len() + 16 >= bits);
                assert!(!shows(&format!("{key:?}")), "{key:?}");
            }
            Err(error) => assert!(!shows(&error.to_string()), "{error}"),
        }
        if let Ok(key) = SigningKey::read(&text, algorithm) {
            let signed = sign_token(&Map::new(), Dialect::Deployed, &key).expect("it can sign");
            assert_eq!(signed.split('.').count(), 3);
            assert!(!shows(&format!("{key:?}")), "{key:?}");
        }
    });
}

#[test]
fn no_text_is_a_token_without_a_signature() {
    tidings_seed::fuzz!(Vec<u8>, 5000, |choices| {
        let examples: [&[u8]; 3] = [
            b"eyJhbGciOiJIUzI1NiJ9",
            b"eyJhbGciOiJub25lIn0",
            b"eyJtZXJjdXJlIjp7InB1Ymxpc2giOlsiKiJdfX0",
        ];
        let text = pieces(choices, &[b".", b"e30", b"bnVsbA", b"A"], &examples);
        assert!(!is_accepted(&String::from_utf8_lossy(&text)));
    });
}
