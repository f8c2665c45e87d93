//! Where a hub is, and how it refuses.

use reqwest::{StatusCode, Url};
use tidings_client::Refusal;

use crate::outcome::Ended;

/// Bytes of a refusal that are shown.
const WORDS_BYTES_MAX: usize = 4096;

/// The URL of the protocol from what the user wrote: a hub's origin, or the URL itself.
pub(crate) fn url(text: &str) -> anyhow::Result<Url> {
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let mut url = Url::parse(&with_scheme)
        .map_err(|error| Ended::usage(format!("{text:?} is no URL of a hub: {error}")))?;
    check_scheme(&url)?;
    if url.path() == "/" {
        url.set_path("/.well-known/mercure");
    }
    Ok(url)
}

/// # Errors
/// If the URL is not for what this build speaks.
pub(crate) fn check_scheme(url: &Url) -> anyhow::Result<()> {
    let known = if cfg!(feature = "tls") { "http and https" } else { "http" };
    match url.scheme() {
        "http" => Ok(()),
        "https" if cfg!(feature = "tls") => Ok(()),
        "https" => Err(Ended::usage(
            "https needs a build with TLS, which this is not: `cargo build --release` makes one",
        )),
        other => {
            Err(Ended::usage(format!("\"{other}:\": this build speaks {known} only, not {other}")))
        }
    }
}

/// Turns a refusal into an error with the own words of `who` refused.
pub(crate) fn refused(who: &str, refusal: &Refusal) -> anyhow::Error {
    let status = refusal.status;
    // Problem details (RFC 9457) say it in `detail`.
    let detail =
        refusal.json().and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
    let words = detail.unwrap_or_else(|| {
        let start = &refusal.body[..refusal.body.len().min(WORDS_BYTES_MAX)];
        String::from_utf8_lossy(start).trim().to_owned()
    });
    let what = if who == "hub" { "hub" } else { "event stream" };
    let words = match (words.as_str(), status) {
        ("", StatusCode::NOT_FOUND) => format!("there is no {what} at this URL"),
        ("", _) => "it gave no reason".to_owned(),
        _ => words,
    };
    Ended::refused(format!("the {who} refused ({status}): {words}"))
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_protocols_path_is_added_to_an_origin_only() {
        let url = |text| super::url(text).unwrap().to_string();
        assert_eq!(url("http://h.test"), "http://h.test/.well-known/mercure");
        assert_eq!(url("h.test:8081"), "http://h.test:8081/.well-known/mercure");
        assert_eq!(url("http://h.test/hub"), "http://h.test/hub");
        assert!(super::url("ftp://h.test").is_err());
        assert!(super::url("http://").is_err());
    }
}
