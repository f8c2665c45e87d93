//! The page at `/`.

use crate::client::Request;
use crate::server::{on_both_lanes, open};

#[test]
fn the_page_and_all_that_it_names_are_there_with_their_types() {
    on_both_lanes(open, async |server| {
        let page = server.get("/").await;
        assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"));
        let mut paths = vec!["/".to_owned()];
        let mut next = 0;
        // Everything that is named is followed, from the page into its modules.
        while let Some(path) = paths.get(next).cloned() {
            next += 1;
            let answer = server.get(&path).await;
            assert_eq!(answer.status(), 200, "{path}");
            let content_type = match path.rsplit_once('.') {
                Some((_, "js")) => "text/javascript; charset=utf-8",
                Some((_, "css")) => "text/css; charset=utf-8",
                Some((_, "svg")) => "image/svg+xml",
                _ => "text/html; charset=utf-8",
            };
            assert_eq!(answer.header("content-type"), Some(content_type), "{path}");
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
            if !path.starts_with("/tidings/browser/") {
                let policy = answer.header("content-security-policy").expect("a policy");
                assert!(policy.contains("default-src 'self'"), "{policy}");
                assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            }
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            for text in answer.text().split(['"', '\'']) {
                let found = match text.strip_prefix("./") {
                    Some(name) if name.ends_with(".js") => format!("{folder}/{name}"),
                    _ if text.starts_with("../browser/") => text.replace("..", "/tidings"),
                    _ if text.starts_with("/tidings/page/") => text.to_owned(),
                    _ => continue,
                };
                if !paths.contains(&found) {
                    paths.push(found);
                }
            }
        }
        assert!(paths.len() > 25, "{paths:?}");
    });
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

#[test]
fn what_is_not_there_is_not_found() {
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
fn the_browser_package_is_there_for_pages_of_any_origin_and_at_its_version_for_good() {
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
