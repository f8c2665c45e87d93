//! The rights that tokens give, and the answers to requests without them.

use serde_json::{Value, json};
use tidings_hub::{Access, Dialect, Dialects, Issuer, IssuerKeys, Key, Limits, Tokens};

use crate::client::{Answer, HUB, Request};
use crate::server::{Server, on_both_lanes, open};
use crate::token::{
    AUDIENCE, ISSUER, PUBLISHER_SECRET, SUBSCRIBER_SECRET, access, are_listed, claims, coming,
    deployed, detail, now, publisher, signed, subscriber, with_keys,
};

const METADATA: &str =
    "resource_metadata=\"https://h.test/.well-known/oauth-protected-resource/.well-known/mercure\"";

const METADATA_PATH: &str = "/.well-known/oauth-protected-resource/.well-known/mercure";

fn stream(topic: &str) -> Request {
    Request::get(&format!("{HUB}?topic={topic}"))
}

fn form() -> Request {
    Request::form("topic=a&data=x")
}

/// The request is refused with this status and challenge; nothing is published.
async fn refused(server: &Server, request: Request, status: u16, error: Option<&str>) -> Answer {
    let shown = format!("{request:?}");
    let answer = server.ask(request).await;
    assert_eq!(answer.status(), status, "{shown}\n{}", answer.text());
    let challenge = match error {
        None => format!("Bearer {METADATA}"),
        Some(error) => format!("Bearer error=\"{error}\", {METADATA}"),
    };
    assert_eq!(answer.header("www-authenticate"), Some(challenge.as_str()), "{shown}");
    assert!(answer.text().trim().len() > 20, "{shown}: {}", answer.text());
    assert_eq!(server.metric("tidings_journal_last_position").await, 0.0, "{shown}");
    answer
}

#[test]
fn a_token_is_accepted_in_every_place_where_it_is_allowed() {
    let build = || {
        let mut access = access();
        access.anonymous_subscribe = false;
        access.tokens.in_query = true;
        open().access(access)
    };
    on_both_lanes(build, async |server| {
        let old = subscriber(&["a"]);
        let new = coming(&claims("subscribe", json!([{ "match": "a" }])), SUBSCRIBER_SECRET);
        for request in [
            stream("a").bearer(&old),
            stream("a").bearer(&new),
            stream("a").header("authorization", format!("bEARER  {old}")),
            stream("a").header("cookie", format!("x=1; mercureAuthorization={old}; y=2")),
            stream("a").header("cookie", format!("__Secure-mercure_access_token={new}")),
            stream("a").header("cookie", format!("name=ü; mercureAuthorization={old}")),
            stream("a").header(
                "cookie",
                format!("mercureAuthorization=bad; __Secure-mercure_access_token={new}"),
            ),
            // What comes first counts, and the rest is not looked at.
            stream("a").bearer(&old).header("cookie", "mercureAuthorization=bad"),
        ] {
            let head = server.open(request).await.head;
            assert_eq!(head.header("cache-control"), Some("no-cache, no-transform"));
        }
        let head = server.open(stream(&format!("a&authorization={old}"))).await.head;
        assert_eq!(head.header("cache-control"), Some("private, no-cache, no-transform"));
        refused(server, stream("a"), 401, None).await;
        refused(
            server,
            stream("a").bearer("bad").header("cookie", format!("mercureAuthorization={old}")),
            401,
            Some("invalid_token"),
        )
        .await;
    });
}

#[test]
fn a_token_in_the_query_is_refused_unless_it_is_allowed() {
    on_both_lanes(with_keys, async |server| {
        let request = stream(&format!("a&authorization={}", subscriber(&["a"])));
        let answer = refused(server, request, 401, Some("invalid_request")).await;
        assert!(answer.text().contains("does not accept tokens in the query"), "{}", answer.text());
    });
}

#[test]
fn a_hub_of_1_0_refuses_a_token_in_the_query_and_does_not_pass_it_over() {
    let build = || open().access(access().dialects(Dialects::Only(Dialect::Coming)));
    on_both_lanes(build, async |server| {
        let token = coming(&claims("subscribe", json!([{ "match": "a" }])), SUBSCRIBER_SECRET);
        for query in [format!("authorization={token}"), "authorization=".to_owned()] {
            let path = format!("{HUB}?match=a&{query}");
            for request in [Request::get(&path), form().to(&path)] {
                let answer = refused(server, request, 400, Some("invalid_request")).await;
                assert!(answer.text().contains("query"), "{}", answer.text());
            }
        }
        // A header takes precedence over it.
        server.open(Request::get(&format!("{HUB}?match=a&authorization=x")).bearer(&token)).await;
    });
}

#[test]
fn cookies_may_have_other_names_in_both_dialects() {
    let build = || {
        let mut access = access();
        access.tokens.cookies = vec!["mine".to_owned(), "other".to_owned()];
        access.anonymous_subscribe = false;
        open().access(access)
    };
    on_both_lanes(build, async |server| {
        let old = subscriber(&["a"]);
        let new = coming(&claims("subscribe", json!([{ "match": "a" }])), SUBSCRIBER_SECRET);
        for token in [&old, &new] {
            for cookies in [
                format!("mine={token}"),
                format!("other={token}"),
                format!("other=x; mine={token}"),
            ] {
                server.open(stream("a").header("cookie", cookies)).await;
            }
            for name in ["mercureAuthorization", "__Secure-mercure_access_token"] {
                let usual = stream("a").header("cookie", format!("{name}={token}"));
                refused(server, usual, 401, None).await;
            }
        }
        assert_eq!(server.get(METADATA_PATH).await.json()["mercure_cookie"], "mine");
    });
}

#[test]
fn an_empty_cookie_hides_no_other_of_its_name() {
    on_both_lanes(with_keys, async |server| {
        let old = subscriber(&["a"]);
        for empty in ["mercureAuthorization=", "mercureAuthorization=\"\""] {
            let bad = format!("{empty}; mercureAuthorization=bad");
            refused(server, stream("a").header("cookie", bad), 401, Some("invalid_token")).await;
            let good = format!("{empty}; mercureAuthorization={old}; mercureAuthorization=bad");
            server.open(stream("a").header("cookie", good)).await;
            // A service has deleted the cookie.
            server.open(stream("a").header("cookie", empty)).await;
        }
    });
}

#[test]
fn a_cookie_that_the_hub_does_not_read_is_no_credential() {
    for (only, words, unread, read) in [
        (Dialect::Coming, "match=a", "mercureAuthorization", "__Secure-mercure_access_token"),
        (Dialect::Deployed, "topic=a", "__Secure-mercure_access_token", "mercureAuthorization"),
        (Dialect::Deployed, "topic=a", "mercure_access_token", "mercureAuthorization"),
    ] {
        let build = || open().access(access().dialects(Dialects::Only(only)));
        on_both_lanes(build, async |server| {
            let ask = |name: &str| {
                Request::get(&format!("{HUB}?{words}")).header("cookie", format!("{name}=bad"))
            };
            // Browsers send it by themselves, also after the hub has changed its dialect.
            server.open(ask(unread)).await;
            assert_eq!(server.ask(ask(read)).await.status(), 401, "{read}");
        });
    }
}

/// A hub whose URL has this scheme, and which needs a token to read.
fn at(scheme: &str) -> tidings_hub::HubBuilder {
    let mut access = access();
    access.anonymous_subscribe = false;
    let url = url::Url::parse(&format!("{scheme}://h.test{HUB}")).expect("a URL");
    access.hub_url = Some(url);
    open().access(access)
}

#[test]
fn over_plain_http_the_cookie_needs_no_prefix_and_over_https_it_does() {
    let new = coming(&claims("subscribe", json!([{ "match": "a" }])), SUBSCRIBER_SECRET);
    let plain = || stream("a").header("cookie", format!("mercure_access_token={new}"));
    let check = async |server: &Server, request: Request, is_read: bool| {
        let answer = if is_read {
            server.open(request.clone()).await.head
        } else {
            server.ask(request.clone()).await.head
        };
        assert_eq!(answer.status, if is_read { 200 } else { 401 }, "{request:?}");
        if !is_read {
            let answer = server.ask(request.clone()).await;
            let words = answer.text();
            for name in ["cookie mercure_access_token is not accepted", "__Secure-mercure_access"] {
                assert!(words.contains(name), "{name} is not in {words}");
            }
        }
        let mut asks = Request::get(METADATA_PATH);
        for name in ["host", "x-forwarded-proto", "forwarded"] {
            if let Some(value) = request.value(name) {
                asks = asks.header(name, value);
            }
        }
        let name = if is_read { "mercure_access_token" } else { "__Secure-mercure_access_token" };
        assert_eq!(server.ask(asks).await.json()["mercure_cookie"], name, "{request:?}");
    };
    on_both_lanes(
        || at("http"),
        async |server| {
            let is_plain = server.scheme() == "http";
            check(server, plain().header("host", "h.test"), is_plain).await;
            check(server, plain(), is_plain).await;
            // What a proxy says of its own connection can only make it stricter.
            check(server, plain().header("x-forwarded-proto", "https"), false).await;
            check(server, plain().header("forwarded", "for=192.0.2.7;proto=https"), false).await;
            check(server, plain().header("x-forwarded-proto", "http"), is_plain).await;
            // The one with the prefix takes precedence.
            let both = format!("mercure_access_token=bad; __Secure-mercure_access_token={new}");
            server.open(stream("a").header("cookie", both)).await;
            let both = format!("mercure_access_token={new}; mercureAuthorization=bad");
            let status =
                server.ask(Request::new("HEAD", &format!("{HUB}?match=a")).header("cookie", both));
            assert_eq!(status.await.status(), if is_plain { 200 } else { 401 });
        },
    );
    on_both_lanes(
        || at("https"),
        async |server| {
            check(server, plain().header("host", "h.test"), false).await;
            // On this machine, under a name of its own, a hub for the world is tried out.
            check(server, plain(), server.scheme() == "http").await;
        },
    );
}

#[test]
fn an_invalid_presentation_of_a_token_is_refused() {
    on_both_lanes(with_keys, async |server| {
        let token = subscriber(&["a"]);
        for value in [
            "",
            " ",
            "Bearer",
            "Bearer ",
            "Basic",
            "Bas(ic) dTpw",
            "token",
            &token,
            &format!("Bearer {token} x"),
            &format!("Bearer {token}ü"),
            // A token under another name is not ignored.
            &format!("Token {token}"),
            &format!("JWT {token}"),
            &format!("Basic token=\"{token}\""),
        ] {
            let words = Request::get(&format!("{HUB}?match=a")).header("authorization", value);
            refused(server, words, 400, Some("invalid_request")).await;
            refused(server, form().header("authorization", value), 400, Some("invalid_request"))
                .await;
            let old = stream("a").header("authorization", value);
            refused(server, old, 401, Some("invalid_request")).await;
        }
        let twice = Request::get(&format!("{HUB}?match=a")).bearer(&token).bearer(&token);
        refused(server, twice, 400, Some("invalid_request")).await;
    });
}

#[test]
fn the_login_of_a_proxy_in_front_is_passed_over() {
    let build = || {
        let mut access = access();
        access.anonymous_subscribe = false;
        open().access(access)
    };
    on_both_lanes(build, async |server| {
        let cookie = |token: &str| format!("mercureAuthorization={token}");
        for login in [
            "Basic dTpw",
            "basic dTpw",
            "Digest username=\"u\", realm=\"r\", nonce=\"n\", uri=\"/\", response=\"0.1.2\"",
            "Negotiate YIIJvwYGKwYBBQUCoIIJszCCCa+gJDAi",
            "NTLM TlRMTVNTUAABAAAAB4IIogAAAAA=",
            "Digest username=\"Jürgen\", realm=\"r\", nonce=\"n\", uri=\"/\", response=\"0\"",
        ] {
            let with = |request: Request| request.header("authorization", login);
            server.open(with(stream("a")).header("cookie", cookie(&subscriber(&["a"])))).await;
            // It gives nothing: without the cookie the request is anonymous.
            refused(server, with(stream("a")), 401, None).await;
            refused(server, with(form()), 401, None).await;
            let bad = with(stream("a")).header("cookie", cookie("bad"));
            refused(server, bad, 401, Some("invalid_token")).await;
        }
        let request = form().header("authorization", "Basic dTpw");
        let request = request.header("cookie", cookie(&publisher(&["a"])));
        let origin = format!("https://{}", server.address);
        server.ask(request.header("origin", origin)).await.id();
    });
}

#[test]
fn a_client_without_a_token_is_asked_for_one_and_one_with_the_wrong_token_is_told_so() {
    on_both_lanes(with_keys, async |server| {
        refused(server, form(), 401, None).await;
        refused(server, stream("a&tidings=authorized"), 401, None).await;
        refused(server, form().bearer(&publisher(&["b"])), 403, Some("insufficient_scope")).await;
        refused(server, form().bearer(&publisher(&[])), 403, Some("insufficient_scope")).await;
        // Each of an update's topics has to be granted.
        let both = Request::form("topic=a&topic=b&data=x").bearer(&publisher(&["a"]));
        refused(server, both, 403, Some("insufficient_scope")).await;
        let lines = Request::ndjson("{\"topics\":[\"a\"]}\n{\"topics\":[\"b\"]}")
            .bearer(&publisher(&["a"]));
        let answer = refused(server, lines, 403, Some("insufficient_scope")).await;
        assert_eq!(answer.header("content-type"), Some("application/problem+json"));
        // A subscriber's token is none of a publisher's.
        refused(server, form().bearer(&subscriber(&["a"])), 401, Some("invalid_token")).await;
        let claims = json!({ "mercure": { "subscribe": ["a"] } });
        let token = deployed(&claims, PUBLISHER_SECRET);
        refused(server, form().bearer(&token), 403, Some("insufficient_scope")).await;
        refused(server, stream("a").bearer(&token), 401, Some("invalid_token")).await;
        // A topic that no client may publish is refused with 400 even without a grant.
        let star = Request::form("topic=*").bearer(&publisher(&["b"]));
        assert_eq!(server.ask(star).await.status(), 400);
    });
}

#[test]
fn grants_to_publish_are_topics_templates_patterns_or_all() {
    on_both_lanes(with_keys, async |server| {
        let new = |topics: Value| coming(&claims("publish", topics), PUBLISHER_SECRET);
        for token in [
            publisher(&["*"]),
            publisher(&["x", "https://a.test/books/7"]),
            publisher(&["https://a.test/{kind}/{id}"]),
            new(json!([{ "match": "*" }])),
            new(json!([{ "match": "https://a.test/books/7" }])),
            new(json!([{ "match": "https://a.test/books/:id", "match_type": "urlpattern" }])),
            deployed(
                &json!({ "https://mercure.rocks/": { "publish": ["*"] }, "mercure": {} }),
                PUBLISHER_SECRET,
            ),
        ] {
            let request = Request::form("topic=https://a.test/books/7&data=x").bearer(&token);
            server.ask(request).await.id();
        }
    });
}

/// Tokens of 0.x and 1.0 that subscribers may not use, each with a word of why.
fn bad_tokens() -> Vec<(String, &'static str)> {
    let header = json!({ "alg": "HS256", "typ": "JWT" });
    let old = json!({ "mercure": { "subscribe": ["*"] } });
    let new = claims("subscribe", json!([{ "match": "*" }]));
    let secret = SUBSCRIBER_SECRET.as_bytes();
    let with = |claims: &Value, name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        claims
    };
    let without = |name: &str| {
        let mut claims = new.clone();
        claims.as_object_mut().expect("claims").remove(name);
        coming(&claims, SUBSCRIBER_SECRET)
    };
    let old_with = |name: &str, value: Value| deployed(&with(&old, name, value), SUBSCRIBER_SECRET);
    let new_with = |name: &str, value: Value| coming(&with(&new, name, value), SUBSCRIBER_SECRET);
    let typed = |header: Value, claims: &Value| signed(&header, claims, secret);
    let good = deployed(&old, SUBSCRIBER_SECRET);
    let (message, signature) = good.rsplit_once('.').expect("a token");
    let (head, body) = message.split_once('.').expect("a token");
    let detailed = |detail: Value| new_with("authorization_details", json!([detail]));
    let topics = |topics: Value| detailed(detail("subscribe", topics));
    let many: Vec<_> = (0..10_000).map(|at| format!("t{at}")).collect();
    let some: Vec<_> = (0..1001).map(|at| format!("t{at}")).collect();
    let hostile = ["{a:9999}".to_owned(), "{a}".repeat(40)];
    let mut tokens = vec![
        ("x".to_owned(), "three parts"),
        ("..".to_owned(), "header"),
        (format!("{good}.x"), "three parts"),
        (format!("{head}.{body}."), "signature"),
        (format!("{head}.{body}"), "three parts"),
        (format!("{message}.{signature}A"), "signature"),
        (format!("{head}.!!.{signature}"), "claims"),
        // Algorithms that no key is for, and no algorithm at all.
        (typed(json!({ "alg": "none" }), &old), "none"),
        (typed(json!({ "alg": "None" }), &old), "None"),
        (typed(json!({ "alg": "" }), &old), "signed with"),
        (typed(json!({ "alg": "HS384" }), &old), "HS384"),
        (typed(json!({ "alg": "RS256" }), &old), "RS256"),
        (typed(json!({ "alg": "EdDSA" }), &old), "EdDSA"),
        (typed(json!({ "alg": 7 }), &old), "algorithm"),
        (typed(json!({ "typ": "JWT" }), &old), "algorithm"),
        (typed(json!(["HS256"]), &old), "header"),
        (typed(header.clone(), &json!([])), "claims"),
        (typed(json!({ "alg": "HS256", "crit": ["exp"] }), &old), "crit"),
        // Keys that the token brings itself.
        (
            signed(
                &json!({ "alg": "HS256", "jwk": { "kty": "oct", "k": "AAAA" } }),
                &old,
                &[0, 0, 0],
            ),
            "signature",
        ),
        (
            signed(&json!({ "alg": "HS256", "jku": "https://evil.test/jwks" }), &old, b"evil"),
            "signature",
        ),
        (signed(&json!({ "alg": "HS256", "kid": "../../dev/null" }), &old, b""), "signature"),
        (signed(&header, &old, PUBLISHER_SECRET.as_bytes()), "signature"),
        // Times.
        (old_with("exp", json!(now() - 1)), "expired"),
        (old_with("exp", json!(0)), "expired"),
        (old_with("exp", json!(-1)), "exp"),
        (old_with("exp", json!("9999999999")), "exp"),
        (old_with("exp", json!(null)), "exp"),
        (old_with("nbf", json!(now() + 60)), "nbf"),
        (old_with("nbf", json!("0")), "nbf"),
        (new_with("exp", json!(now() - 1)), "expired"),
        (new_with("nbf", json!(now() + 60)), "nbf"),
        (without("exp"), "exp"),
        // The token's issuer and audience.
        (without("iss"), "iss"),
        (without("aud"), "aud"),
        (new_with("iss", json!("https://other.test")), "iss"),
        (new_with("iss", json!([ISSUER])), "iss"),
        (new_with("aud", json!("https://other.test")), "aud"),
        (new_with("aud", json!([])), "aud"),
        (new_with("aud", json!(["https://h.test/"])), "aud"),
        (new_with("aud", json!({})), "aud"),
        (typed(json!({ "alg": "HS256", "typ": "JWT" }), &new), "at+jwt"),
        (typed(json!({ "alg": "HS256" }), &new), "at+jwt"),
        // Grants that are not as they have to be.
        (old_with("mercure", json!({ "subscribe": "a" })), "mercure"),
        (old_with("mercure", json!({ "subscribe": [1] })), "mercure"),
        (old_with("mercure", json!([])), "mercure"),
        (old_with("mercure", json!({ "subscribe": ["a\nb"] })), "U+000A"),
        (old_with("mercure", json!({ "subscribe": [""] })), "empty"),
        (old_with("mercure", json!({ "subscribe": ["x".repeat(4097)] })), "4096"),
        (old_with("mercure", json!({ "publish": some })), "1000"),
        (old_with("mercure", json!({ "subscribe": some })), "1000"),
        (new_with("authorization_details", json!({})), "authorization_details"),
        (new_with("authorization_details", json!([{}])), "type"),
        (topics(json!(["a"])), "topics"),
        (topics(json!([])), "topics"),
        (topics(json!([{ "match": "a", "match_type": "regex" }])), "regex"),
        (topics(json!([{ "match": "*", "match_type": "template" }])), "template"),
        (topics(json!([{ "match_type": "exact" }])), "match"),
        (topics(json!([{ "match": "a", "match_type": 1 }])), "match_type"),
        (topics(json!([{ "match": "(", "match_type": "urlpattern" }])), "256 KiB"),
        (topics(json!([{ "match": "a\u{200b}" }])), "U+200B"),
        // Members that are there and null are there, and the refusal says which it is.
        (
            topics(json!([{ "match": "b" }, { "match": "a", "match_type": null }])),
            "topics[1].match_type",
        ),
        (topics(json!([{ "match": null }])), "authorization_details[0].topics[0].match"),
        (topics(json!([[]])), "topics[0]"),
        (topics(json!(null)), "topics"),
        (
            detailed(with(&detail("subscribe", json!([{ "match": "a" }])), "payload", json!(null))),
            "payload",
        ),
        (
            detailed(with(&detail("subscribe", json!([{ "match": "a" }])), "payload", json!([]))),
            "payload",
        ),
        (
            detailed(with(&detail("subscribe", json!([{ "match": "a" }])), "payload", json!("x"))),
            "payload",
        ),
        (
            detailed(with(&detail("subscribe", json!([{ "match": "a" }])), "actions", json!([]))),
            "authorization_details[0].actions",
        ),
        (
            detailed(with(&detail("subscribe", json!([{ "match": "a" }])), "actions", json!(null))),
            "actions",
        ),
        (
            detailed(with(
                &detail("subscribe", json!([{ "match": "a" }])),
                "actions",
                json!("subscribe"),
            )),
            "actions",
        ),
        (new_with("authorization_details", json!(null)), "authorization_details"),
        (old_with("mercure", json!({ "publish": [], "subscribe": [1] })), "mercure.subscribe"),
        (
            detailed(
                json!({ "type": "https://mercure.rocks/authorization-detail", "topics": [{ "match": "a" }] }),
            ),
            "actions",
        ),
        (
            detailed(
                json!({ "type": "https://mercure.rocks/authorization-detail", "actions": ["subscribe", 1], "topics": [{ "match": "a" }] }),
            ),
            "actions",
        ),
        (
            detailed(
                json!({ "type": "https://mercure.rocks/authorization-detail", "actions": ["subscribe"] }),
            ),
            "topics",
        ),
    ];
    // A good detail does not make up for a bad one.
    let mixed =
        json!([detail("subscribe", json!([{ "match": "*" }])), detail("publish", json!([{}]))]);
    tokens.push((new_with("authorization_details", mixed), "topics"));
    let pattern = "https://a.test/((?:a{1000}){1000})";
    tokens.push((topics(json!([{ "match": pattern, "match_type": "urlpattern" }])), "256 KiB"));
    for template in hostile {
        tokens.push((old_with("mercure", json!({ "subscribe": [template] })), "the limit"));
    }
    // Larger than any head may be where it stands in one.
    tokens.push((old_with("mercure", json!({ "subscribe": &many[..4000] })), "1000"));
    tokens
}

#[test]
fn a_bad_token_is_refused_even_where_none_is_required() {
    on_both_lanes(with_keys, async |server| {
        for (token, word) in bad_tokens() {
            let answer =
                refused(server, stream("a").bearer(&token), 401, Some("invalid_token")).await;
            assert!(answer.text().contains(word), "{word:?} is not said: {}", answer.text());
            // The answer repeats nothing of the token.
            for part in token.split('.').filter(|part| part.len() > 8) {
                assert!(!answer.text().contains(part), "{}", answer.text());
            }
            let cookie = format!("mercureAuthorization={token}");
            let answer = server.ask(stream("a").header("cookie", cookie)).await;
            assert_eq!(answer.status(), 401, "{}", answer.text());
        }
        assert_eq!(server.hub.subscribers(), 0);
    });
}

#[test]
fn a_refusal_quotes_only_the_beginning_of_an_unknown_name() {
    on_both_lanes(with_keys, async |server| {
        let long = "x".repeat(5000);
        let matcher = json!([{ "match": "a", "match_type": long }]);
        let by_type = coming(&claims("subscribe", matcher), SUBSCRIBER_SECRET);
        let header = json!({ "alg": long, "typ": "JWT" });
        let by_algorithm = signed(&header, &json!({}), SUBSCRIBER_SECRET.as_bytes());
        for (token, count) in [(by_type, 40), (by_algorithm, 20)] {
            let request = stream("a").bearer(&token);
            let answer = refused(server, request, 401, Some("invalid_token")).await;
            assert!(
                answer.text().contains(&format!("\"{}\"", &long[..count])),
                "{}",
                answer.text()
            );
        }
    });
}

#[test]
fn a_token_of_a_megabyte_or_of_ten_thousand_grants_is_refused_and_affects_no_other_client() {
    on_both_lanes(with_keys, async |server| {
        let grants: Vec<_> = (0..10_000).map(|at| format!("https://a.test/{at}")).collect();
        let grants: Vec<_> = grants.iter().map(String::as_str).collect();
        for token in [subscriber(&["x".repeat(1 << 20).as_str()]), subscriber(&grants)] {
            let mut connection = server.connect().await;
            // The hub may close while this is written.
            let request = stream("a").bearer(&token).bytes(server.address);
            let _ = connection.try_write(&request).await;
            let head = connection.try_head().await;
            // An embedder's service may let larger heads through to the hub.
            let is_refused = head.is_none_or(|head| matches!(head.status, 431 | 401));
            assert!(is_refused, "{} bytes were taken", token.len());
        }
        server.subscribe("topic=a").await;
    });
}

#[test]
fn a_hub_of_one_dialect_knows_the_words_of_that_one_only() {
    for (only, words, refused) in [
        (Dialect::Deployed, "topic=a", ["match=a", "match_exact=a", "match_urlpattern=/a"]),
        (Dialect::Coming, "match=a", ["topic=a", "topic=a&match=a", "topic=*"]),
    ] {
        let build = || open().access(access().dialects(Dialects::Only(only)));
        on_both_lanes(build, async |server| {
            server.subscribe(words).await;
            for query in refused {
                let answer = server.get(&format!("{HUB}?{query}")).await;
                assert_eq!(answer.status(), 400, "{query}");
                let name = if only == Dialect::Deployed { "topic" } else { "match_urlpattern" };
                assert!(answer.text().contains(name), "{query}: {}", answer.text());
            }
        });
    }
}

#[test]
fn unknown_actions_and_foreign_details_grant_nothing_and_are_no_error() {
    on_both_lanes(with_keys, async |server| {
        let mut claims = claims("read", json!([{ "match": "*" }]));
        claims["authorization_details"]
            .as_array_mut()
            .expect("a list")
            .push(json!({ "type": "other", "actions": 7 }));
        let token = coming(&claims, PUBLISHER_SECRET);
        refused(server, form().bearer(&token), 403, Some("insufficient_scope")).await;
        // The type of an access token may be written in full, and in any case.
        let header = json!({ "alg": "HS256", "typ": "Application/AT+JWT" });
        let token = signed(&header, &claims, SUBSCRIBER_SECRET.as_bytes());
        server.open(stream("a").bearer(&token)).await;
        let mut several = claims.clone();
        several["aud"] = json!(["x", AUDIENCE]);
        server.open(stream("a").bearer(&coming(&several, SUBSCRIBER_SECRET))).await;
    });
}

#[test]
fn a_hub_of_one_dialect_accepts_no_token_of_the_other() {
    for (only, taken, refused_token) in [
        (
            Dialect::Deployed,
            subscriber(&["a"]),
            coming(&claims("subscribe", json!([{ "match": "a" }])), SUBSCRIBER_SECRET),
        ),
        (
            Dialect::Coming,
            coming(&claims("subscribe", json!([{ "match": "a" }])), SUBSCRIBER_SECRET),
            subscriber(&["a"]),
        ),
    ] {
        let build = || open().access(access().dialects(Dialects::Only(only)));
        on_both_lanes(build, async |server| {
            let query = if only == Dialect::Deployed { "topic=a" } else { "match=a" };
            let request = || {
                Request::get(&format!("{HUB}?{query}&lastEventID=earliest&last_event_id=earliest"))
            };
            let head = server.open(request().bearer(&taken)).await.head;
            assert_eq!(head.header("last-event-id").is_some(), only == Dialect::Deployed);
            assert_eq!(head.header("mercure-last-event-id").is_some(), only == Dialect::Coming);
            let answer = server.ask(request().bearer(&refused_token)).await;
            assert_eq!(answer.status(), 401);
            assert!(answer.text().contains("this hub accepts"), "{}", answer.text());
        });
    }
}

#[test]
fn a_hub_without_an_audience_accepts_only_tokens_of_0_x() {
    let build = || {
        let mut access = access();
        access.tokens.audience.clear();
        access.hub_url = None;
        open().access(access)
    };
    on_both_lanes(build, async |server| {
        let token = coming(&claims("subscribe", json!([{ "match": "a" }])), SUBSCRIBER_SECRET);
        let answer = server.ask(stream("a").bearer(&token)).await;
        assert_eq!(answer.status(), 401);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer error=\"invalid_token\""));
        server.open(stream("a").bearer(&subscriber(&["a"]))).await;
        assert_eq!(
            server.get("/.well-known/oauth-protected-resource/.well-known/mercure").await.status(),
            404
        );
    });
}

#[test]
fn each_issuer_has_only_its_own_keys() {
    const OTHER: &str = "the secret of another issuer, as long";
    let build = || {
        let mut access = access();
        let key = Key::read(OTHER, None).expect("a long secret");
        access.tokens.issuers.push(Issuer::new("other", IssuerKeys::These(vec![key])));
        open().access(access)
    };
    on_both_lanes(build, async |server| {
        let from = |issuer: &str, secret: &str| {
            let mut claims = claims("subscribe", json!([{ "match": "a" }]));
            claims["iss"] = issuer.into();
            coming(&claims, secret)
        };
        server.open(stream("a").bearer(&from("other", OTHER))).await;
        for (issuer, secret) in [("other", SUBSCRIBER_SECRET), (ISSUER, OTHER)] {
            refused(server, stream("a").bearer(&from(issuer, secret)), 401, Some("invalid_token"))
                .await;
            // Nor does the name of a key lead to another issuer's keys.
            for name in ["other", ISSUER, OTHER] {
                let mut claims = claims("subscribe", json!([{ "match": "a" }]));
                claims["iss"] = issuer.into();
                let header = json!({ "alg": "HS256", "typ": "at+jwt", "kid": name });
                let token = signed(&header, &claims, secret.as_bytes());
                refused(server, stream("a").bearer(&token), 401, Some("invalid_token")).await;
            }
        }
    });
}

#[test]
fn a_hub_describes_the_tokens_that_it_accepts() {
    on_both_lanes(with_keys, async |server| {
        let answer = server.get(METADATA_PATH).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let metadata = answer.json();
        assert_eq!(metadata["resource"], AUDIENCE);
        // Applications that sign for themselves are no authorization servers.
        assert_eq!(metadata.get("authorization_servers"), None);
        assert_eq!(metadata.get("mercure_subscriptions"), None);
        assert_eq!(metadata["bearer_methods_supported"], json!(["header"]));
        assert_eq!(metadata["mercure_matcher_types_supported"], json!(["exact", "urlpattern"]));
    });
}

#[test]
fn a_hub_describes_itself_truthfully() {
    let build = || {
        let mut access = access();
        access.tokens.audience = vec!["urn:hub".to_owned(), "https://other.test".to_owned()];
        access.tokens.authorization_servers = vec![ISSUER.to_owned()];
        open().access(access).presence_events(true)
    };
    on_both_lanes(build, async |server| {
        let metadata = server.get(METADATA_PATH).await.json();
        // What tokens have to be for, whatever the hub's URL is.
        assert_eq!(metadata["resource"], "urn:hub");
        assert_eq!(metadata["authorization_servers"], json!([ISSUER]));
        assert_eq!(metadata["mercure_subscriptions"], true);
        let mut claims = claims("subscribe", json!([{ "match": "a" }]));
        claims["aud"] = metadata["resource"].clone();
        server.open(stream("a").bearer(&coming(&claims, SUBSCRIBER_SECRET))).await;
    });
    let several = || {
        let mut access = access();
        access.tokens.audience.insert(0, "https://other.test/.well-known/mercure".to_owned());
        open().access(access)
    };
    on_both_lanes(several, async |server| {
        assert_eq!(server.get(METADATA_PATH).await.json()["resource"], AUDIENCE);
    });
}

#[test]
fn a_token_without_details_reads_public_updates_and_grants_nothing() {
    on_both_lanes(
        || at("https"),
        async |server| {
            let mut claims = claims("subscribe", json!([]));
            claims.as_object_mut().expect("claims").remove("authorization_details");
            let token = coming(&claims, SUBSCRIBER_SECRET);
            let mut stream = server.open(stream("a").bearer(&token)).await;
            for field in ["&private=on", ""] {
                let request =
                    Request::form(&format!("topic=a&data=x{field}")).bearer(&publisher(&["*"]));
                server.ask(request).await.id();
            }
            let rest =
                server.ask(Request::form("topic=a&data=y").bearer(&publisher(&["*"]))).await.id();
            assert_eq!(stream.data(2).await, ["x", "y"], "the private one did not come");
            assert!(!rest.is_empty());
            let token = coming(&claims, PUBLISHER_SECRET);
            let answer = server.ask(form().bearer(&token)).await;
            assert_eq!(answer.status(), 403, "{}", answer.text());
            let list = Request::get(&format!("{HUB}/subscriptions"));
            let answer = server.ask(list.bearer(&coming(&claims, SUBSCRIBER_SECRET))).await;
            assert_eq!(answer.status(), 403, "{}", answer.text());
        },
    );
}

#[test]
fn a_token_that_was_sent_on_purpose_counts_from_every_website() {
    let build = || {
        let mut access = access();
        access.tokens.in_query = true;
        open().access(access)
    };
    on_both_lanes(build, async |server| {
        let token = publisher(&["*"]);
        let evil = |request: Request| request.header("origin", "https://evil.test");
        server.ask(evil(form()).bearer(&token)).await.id();
        server.ask(evil(form()).bearer(&token).header("sec-fetch-site", "cross-site")).await.id();
        // It is that token that counts, and not the visitor's cookie.
        let cookie = format!("mercureAuthorization={token}");
        let bad = evil(form()).bearer("bad").header("cookie", &cookie);
        assert_eq!(server.ask(bad).await.status(), 401);
        let query = evil(form().to(&format!("{HUB}?authorization={token}")));
        server.ask(query).await.id();
        let tokens = Request::new("DELETE", &format!("{HUB}/tokens/x"));
        assert_eq!(server.ask(evil(tokens.clone()).bearer(&token)).await.status(), 204);
        let one =
            format!("{HUB}/subscriptions/a/urn%3Auuid%3A01234567-89ab-4def-8123-456789abcdef");
        let one = Request::new("DELETE", &one);
        assert_eq!(server.ask(evil(one).bearer(&token)).await.status(), 404);
        // Cookies, and logins that browsers send by themselves, do not.
        let by_cookie = evil(tokens.clone()).header("cookie", &cookie);
        assert_eq!(server.ask(by_cookie).await.status(), 403);
        let login = evil(form()).header("authorization", "Basic dTpw").header("cookie", &cookie);
        assert_eq!(server.ask(login).await.status(), 403);
        assert_eq!(server.ask(evil(form())).await.status(), 403);
    });
}

#[test]
fn the_hubs_own_pages_are_known_behind_a_proxy_that_names_it_otherwise() {
    on_both_lanes(with_keys, async |server| {
        let cookie = format!("mercureAuthorization={}", publisher(&["*"]));
        let ask = async |name: &str, value: &str| {
            let request = form().header("host", "10.0.0.7:8081").header("cookie", &cookie);
            server.ask(request.header(name, value)).await.status()
        };
        assert_eq!(ask("origin", "https://h.test").await, 200);
        assert_eq!(ask("referer", "https://h.test/page").await, 200);
        for other in ["http://h.test", "https://h.test:444", "https://x.h.test", "null"] {
            assert_eq!(ask("origin", other).await, 403, "{other}");
        }
    });
}

#[test]
fn a_cookie_permits_no_publish_from_another_website() {
    let build = || {
        let publish_origins = vec!["https://app.test".parse().expect("an origin")];
        open().access(access().publish_origins(publish_origins))
    };
    on_both_lanes(build, async |server| {
        // The hub's URL is https, so pages of http are not its own, whatever the request names.
        let (own, http) =
            (format!("https://{}", server.address), format!("http://{}", server.address));
        let old = format!("mercureAuthorization={}", publisher(&["*"]));
        let new = coming(&claims("publish", json!([{ "match": "*" }])), PUBLISHER_SECRET);
        let new = format!("__Secure-mercure_access_token={new}");
        let ask = async |cookie: &str, name: &str, value: &str| {
            let mut request = form().header("cookie", cookie);
            if !name.is_empty() {
                request = request.header(name, value);
            }
            server.ask(request).await.status()
        };
        for (cookie, without) in [(&old, 403), (&new, 400)] {
            assert_eq!(ask(cookie, "", "").await, without);
            assert_eq!(ask(cookie, "referer", "https://evil.test/page").await, without);
            assert_eq!(ask(cookie, "referer", "junk").await, without);
            assert_eq!(ask(cookie, "origin", "https://evil.test").await, 403);
            assert_eq!(ask(cookie, "origin", "null").await, 403);
            assert_eq!(ask(cookie, "origin", &http).await, 403);
            assert_eq!(ask(cookie, "referer", &http).await, without);
            assert_eq!(server.metric("tidings_updates_total").await % 4.0, 0.0);
            for origin in ["https://app.test", &own] {
                assert_eq!(ask(cookie, "origin", origin).await, 200);
                assert_eq!(ask(cookie, "referer", &format!("{origin}/page?x")).await, 200);
            }
        }
        // A header is not sent by browsers of themselves.
        let request = form().bearer(&publisher(&["*"]));
        assert_eq!(server.ask(request).await.status(), 200);
    });
}

#[test]
fn signatures_of_public_keys_are_verified() {
    use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
    for (algorithm, public, private) in crate::keys::PAIRS {
        let build = || {
            let key = Key::read(public, None).expect("a public key");
            let tokens = Tokens::default().subscriber_key(Some(key));
            open().access(Access::default().tokens(tokens))
        };
        let key = match algorithm {
            Algorithm::RS256 | Algorithm::PS256 => EncodingKey::from_rsa_pem(private.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(private.as_bytes()),
            _ => EncodingKey::from_ec_pem(private.as_bytes()),
        };
        let key = key.expect("a private key");
        let claims = json!({ "mercure": { "subscribe": ["a"] } });
        let good = encode(&Header::new(*algorithm), &claims, &key).expect("it signs");
        on_both_lanes(build, async |server| {
            server.open(stream("a").bearer(&good)).await;
            // The public key, which everyone has, is no secret. If it counted as one, anyone could
            // sign.
            for text in [*public, public.trim_end()] {
                for name in ["HS256", "RS256", "ES256", "EdDSA"] {
                    let header = json!({ "alg": name });
                    let token = signed(&header, &claims, text.as_bytes());
                    let answer = server.ask(stream("a").bearer(&token)).await;
                    assert_eq!(answer.status(), 401, "{algorithm:?} as {name}");
                }
            }
        });
    }
}

#[test]
fn a_public_key_fits_its_algorithm_or_is_refused() {
    use tidings_hub::InvalidKey;
    for (algorithm, public, private) in crate::keys::PAIRS {
        let name = format!("{algorithm:?}");
        let read = |name: &str| Key::read(public, Some(name.parse().expect("an algorithm")));
        assert_eq!(Key::read(public, None).expect("a key").algorithm().to_string(), name);
        assert_eq!(read(&name).expect("a key").algorithm().to_string(), name);
        assert!(matches!(read("HS256"), Err(InvalidKey::DoesNotFit { .. })), "{name}");
        for other in ["RS256", "ES256", "ES384", "EdDSA"].iter().filter(|other| **other != name) {
            assert!(matches!(read(other), Err(InvalidKey::DoesNotFit { .. })), "{name} as {other}");
        }
        assert!(matches!(Key::read(private, None), Err(InvalidKey::IsPrivate)));
    }
    let short = Key::read(crate::keys::SHORT_RSA_PUBLIC, None);
    let is_short = matches!(short, Err(InvalidKey::TooShort { bits: 1024, bits_min: 2048, .. }));
    assert!(is_short, "{short:?}");
    let key = Key::read(crate::keys::PAIRS[0].1, Some("PS512".parse().expect("an algorithm")));
    assert_eq!(key.expect("any of its family").algorithm().to_string(), "PS512");
}

#[test]
fn keys_change_while_the_hub_runs() {
    const OTHER: &str = "the secret that takes its place, as long";
    on_both_lanes(with_keys, async |server| {
        let token = subscriber(&["a"]);
        let mut open = server.open(stream("a&tidings=authorized").bearer(&token)).await;
        let mut changed = access();
        changed.tokens.subscriber_key = Some(Key::read(OTHER, None).expect("a long secret"));
        server.hub.reconfigure(Limits::default(), changed).expect("nothing to fetch");
        refused(server, stream("a").bearer(&token), 401, Some("invalid_token")).await;
        let other = deployed(&json!({ "mercure": { "subscribe": ["a"] } }), OTHER);
        server.open(stream("a").bearer(&other)).await;
        // Who was let in by the old key has what it gave.
        let private = Request::form("topic=a&data=x&private=on").bearer(&publisher(&["a"]));
        assert_eq!(server.ask(private).await.status(), 200);
        assert_eq!(open.event().await.data, "x");
    });
}

#[test]
fn a_running_hub_that_gets_its_first_keys_accepts_tokens_and_lists_new_subscribers() {
    on_both_lanes(open, async |server| {
        let token = subscriber(&["*"]);
        let answer = server.ask(stream("a").bearer(&token)).await;
        assert_eq!(answer.status(), 401, "{}", answer.text());
        server.hub.reconfigure(Limits::default(), access()).expect("nothing to fetch");
        let _stream = server.open(stream("a").bearer(&token)).await;
        are_listed(server, 1).await;
        let list = Request::get(&format!("{HUB}/subscriptions")).bearer(&token);
        let list = server.ask(list).await.json();
        assert_eq!(list["subscriptions"][0]["topic"], "a", "{list}");
    });
}
