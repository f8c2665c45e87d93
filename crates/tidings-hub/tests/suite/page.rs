//! The page at `/`.

use std::net::{Ipv4Addr, SocketAddr};

use axum::Router;
use serde_json::Value;
use tidings_hub::{Access, Limits};
use tokio::net::TcpListener;
use url::Url;

use crate::client::{Answer, Connection, HUB, Request};
use crate::server::{on_both_lanes, open, runtime};
use crate::token::{access, with_keys};

/// Everything that the page at `root` names, and what that names, as a browser resolves it.
async fn all_parts(root: &str, get: impl AsyncFn(&str) -> Answer) -> Vec<String> {
    let root = Url::parse(&format!("http://localhost{root}")).expect("a URL");
    let mut urls = vec![root];
    let mut next = 0;
    while let Some(url) = urls.get(next).cloned() {
        next += 1;
        let path = url.path();
        let answer = get(path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let content_type = match path.rsplit_once('.') {
            Some((_, "js")) => "text/javascript; charset=utf-8",
            Some((_, "css")) => "text/css; charset=utf-8",
            Some((_, "svg")) => "image/svg+xml",
            Some((_, "md")) => "text/plain; charset=utf-8",
            _ => "text/html; charset=utf-8",
        };
        assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        if !path.contains("/tidings/browser/") {
            let policy = answer.header("content-security-policy").expect("a policy");
            assert!(policy.contains("default-src 'self'"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
        }
        let is_html = content_type.starts_with("text/html");
        let mut before = "";
        for text in answer.text().split(['"', '\'']) {
            let is_named = if is_html {
                before.ends_with("href=") || before.ends_with("src=")
            } else {
                // `import(…)` names a type, in a comment.
                let is_relative = text.starts_with("./") || text.starts_with("../");
                is_relative && text.ends_with(".js") && !before.ends_with("import(")
                    || before.ends_with("new URL(") && text.ends_with(".svg")
            };
            before = text;
            if !is_named || text.contains("://") {
                continue;
            }
            assert!(!text.starts_with('/'), "{path} names {text}, which leaves its folder");
            let found = url.join(text).expect("a relative URL");
            if !urls.contains(&found) {
                urls.push(found);
            }
        }
    }
    urls.iter().map(|url| url.path().to_owned()).collect()
}

#[test]
fn the_page_and_all_its_resources_are_served_with_their_types() {
    on_both_lanes(open, async |server| {
        let parts = all_parts("/", async |path| server.get(path).await).await;
        assert!(parts.len() > 25, "{parts:?}");
        for part in ["/tidings/page/many-tabs.html", "/tidings/page/index.html"] {
            assert!(parts.iter().any(|path| path == part), "{parts:?}");
        }
    });
}

#[test]
fn a_service_may_nest_the_hub_at_any_path() {
    for (at, root) in [
        ("/events", "/events"),
        ("/events/", "/events/"),
        ("/a/b", "/a/b"),
        ("/{tenant}/events", "/me/events"),
    ] {
        runtime().block_on(async {
            let access = access().hub_url(None);
            let hub = open().access(access).build().await.expect("the system has threads");
            let service = Router::new().nest(at, hub.router());
            let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
            let listener = TcpListener::bind(any).await.expect("the system has a port");
            let address = listener.local_addr().expect("a bound socket has an address");
            let serving = tokio::spawn(async move { axum::serve(listener, service).await });
            let ask = async |request: Request| Connection::open(address).await.ask(&request).await;
            let parts = all_parts(root, async |path| ask(Request::get(path)).await).await;
            assert!(parts.len() > 25, "{parts:?}");
            let base = root.trim_end_matches('/');
            assert!(parts.iter().all(|path| path.starts_with(base)), "{parts:?}");
            let refused = ask(Request::new("POST", &format!("{base}{HUB}"))
                .header("content-type", "application/json"))
            .await;
            let challenge = refused.header("www-authenticate").expect("a challenge");
            let prefix = if at.contains('{') { "" } else { base };
            let metadata = format!("{prefix}/.well-known/oauth-protected-resource{HUB}");
            let named = format!("resource_metadata=\"http://{address}{metadata}\"");
            assert!(challenge.contains(&named), "{challenge}");
            if prefix == base {
                assert_eq!(ask(Request::get(&metadata)).await.status(), 200);
            }
            serving.abort();
            hub.stop().await;
        });
    }
}

#[test]
fn a_browser_that_has_the_page_is_told_that_it_is_the_same() {
    on_both_lanes(open, async |server| {
        for path in ["/", "/tidings/page/page.js"] {
            let answer = server.get(path).await;
            let etag = answer.header("etag").expect("a tag").to_owned();
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            let known = Request::get(path).header("if-none-match", &etag);
            let answer = server.ask(known).await;
            assert_eq!(answer.status(), 304, "{path}");
            assert_eq!(answer.header("etag"), Some(etag.as_str()));
            assert!(answer.body.is_empty());
            let other = Request::get(path).header("if-none-match", "\"0\"");
            assert_eq!(server.ask(other).await.status(), 200);
        }
    });
}

/// The facts about its hub in a page.
fn facts_in(page: &str) -> Value {
    let (_, rest) = page.split_once("id=\"hub-facts\">").expect("the page has facts");
    let (facts, _) = rest.split_once("</script>").expect("the element ends");
    serde_json::from_str(facts).expect("JSON")
}

#[test]
fn the_page_has_the_facts_about_its_hub() {
    on_both_lanes(open, async |server| {
        for path in ["/", "/tidings/page/index.html"] {
            let facts = facts_in(server.get(path).await.text());
            assert_eq!(facts["version"], env!("CARGO_PKG_VERSION"));
            for fact in ["clock", "anonymousSubscribe", "anonymousPublish", "metrics"] {
                assert_eq!(facts[fact], true, "{fact}");
            }
            for fact in ["publishTokens", "subscribeTokens", "callback"] {
                assert_eq!(facts[fact], false, "{fact}");
            }
        }
    });
    on_both_lanes(
        || with_keys().page(true).demo(false).admin(false),
        async |server| {
            let facts = facts_in(server.get("/").await.text());
            assert_eq!(facts["publishTokens"], true);
            assert_eq!(facts["subscribeTokens"], true);
            for fact in ["clock", "anonymousPublish", "metrics", "callback"] {
                assert_eq!(facts[fact], false, "{fact}");
            }
        },
    );
}

#[test]
fn the_page_of_a_hub_with_another_configuration_has_other_facts() {
    on_both_lanes(open, async |server| {
        let etag = server.get("/").await.header("etag").expect("a tag").to_owned();
        let closed = Access::default();
        server.hub.reconfigure(Limits::default(), closed).expect("a valid configuration");
        let answer = server.ask(Request::get("/").header("if-none-match", &etag)).await;
        assert_eq!(answer.status(), 200);
        let facts = facts_in(answer.text());
        assert_eq!(facts["anonymousSubscribe"], false);
        assert_eq!(facts["anonymousPublish"], false);
    });
}

#[test]
fn an_unknown_path_is_not_found() {
    on_both_lanes(open, async |server| {
        for path in [
            "/tidings/browser/",
            "/tidings/browser/0.0.0/index.js",
            "/tidings/page/",
            "/tidings/page/../page.js",
            "/favicon.ico",
            "/x",
        ] {
            assert_eq!(server.get(path).await.status(), 404, "{path}");
        }
    });
}

#[test]
fn the_browser_package_is_served_to_every_origin_and_at_its_version_for_good() {
    on_both_lanes(open, async |server| {
        let version = env!("CARGO_PKG_VERSION");
        for name in ["index.js", "worker.js", "wrapper.js"] {
            let answer = server.get(&format!("/tidings/browser/{name}")).await;
            assert_eq!(answer.status(), 200, "{name}");
            assert_eq!(answer.header("cache-control"), Some("no-cache"));
            assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
            let kept = server.get(&format!("/tidings/browser/{version}/{name}")).await;
            let forever = Some("public, max-age=31536000, immutable");
            assert_eq!(kept.header("cache-control"), forever, "{name}");
            assert_eq!(kept.text(), answer.text());
        }
    });
}

#[test]
fn the_npm_package_has_the_version_of_the_hub() {
    let manifest = include_str!("../../../../browser/package.json");
    let version = concat!("\"version\": \"", env!("CARGO_PKG_VERSION"), "\"");
    assert!(manifest.contains(version), "{manifest}");
}
