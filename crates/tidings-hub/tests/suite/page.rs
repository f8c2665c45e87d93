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
            let policy = answer.header("content-security-policy").expect("a policy");
            assert!(policy.contains("default-src 'self'"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
            for text in answer.text().split(['"', '\'']) {
                let found = match text.strip_prefix("./") {
                    Some(name) if name.ends_with(".js") => format!("/tidings/page/{name}"),
                    _ if text.starts_with("/tidings/page/") => text.to_owned(),
                    _ => continue,
                };
                if !paths.contains(&found) {
                    paths.push(found);
                }
            }
        }
        assert!(paths.len() > 10, "{paths:?}");
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
        for path in ["/tidings/page/", "/tidings/page/../page.js", "/favicon.ico", "/x"] {
            assert_eq!(server.get(path).await.status(), 404, "{path}");
        }
    });
}
