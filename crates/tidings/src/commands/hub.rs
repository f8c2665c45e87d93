//! URLs of hubs, and texts of failed requests.

use reqwest::{StatusCode, Url};
use tidings_client::{ConnectError, Refusal, hide_login};

use crate::outcome::Ended;

/// The maximum of characters of a refusal that are printed.
const WORDS_CHARACTERS_MAX: usize = 4096;

/// The path of the protocol, after the path under which a proxy serves the hub.
pub(crate) const HUB_PATH: &str = "/.well-known/mercure";

/// Whether the path of this URL is a hub's.
pub(crate) fn is_hubs(url: &Url) -> bool {
    url.path().ends_with(HUB_PATH)
}

/// The protocol's URL of a hub, from its origin, the URL under which a proxy serves it, or the
/// protocol's URL itself.
pub(crate) fn url(text: &str) -> anyhow::Result<Url> {
    let mut url = parse(text, "URL of a hub")?;
    if !is_hubs(&url) {
        let path = format!("{}{HUB_PATH}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Ok(url)
}

/// A URL as it was written, and with `http://` if the text has no scheme. `what` names it in errors.
///
/// # Errors
/// If it is no URL of http or https.
pub(crate) fn parse(text: &str, what: &str) -> anyhow::Result<Url> {
    refuse_unix(text)?;
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    // As a URL it would have the host NAME, and a token would be sent there.
    if rest.starts_with('@') {
        return Err(Ended::usage(format!(
            "{text:?} is not a URL; @NAME, a hub that `tidings hubs save` has saved, can be used with \
             --hub, and with bench, doctor and health"
        )));
    }
    let with_scheme = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    let url = Url::parse(&with_scheme)
        .map_err(|error| Ended::usage(format!("invalid {what} {:?}: {error}", hide_login(text))))?;
    check_scheme(&url)?;
    Ok(url)
}

/// # Errors
/// If the text is a Unix socket, as in `--listen`. Parsed as a URL it would have the host "unix".
pub(crate) fn refuse_unix(text: &str) -> anyhow::Result<()> {
    let Some(path) = text.strip_prefix("unix:") else { return Ok(()) };
    Err(Ended::usage(format!(
        "{text:?} is a Unix socket, and this command cannot connect to one; use `curl \
         --unix-socket {path} http://localhost{HUB_PATH}`, or let the hub also listen on a loopback \
         address"
    )))
}

/// # Errors
/// If this build does not support the scheme of the URL.
pub(crate) fn check_scheme(url: &Url) -> anyhow::Result<()> {
    let known = if cfg!(feature = "tls") { "http or https" } else { "http" };
    match url.scheme() {
        "http" => Ok(()),
        "https" if cfg!(feature = "tls") => Ok(()),
        "https" => Err(Ended::usage(
            "this build has no TLS, so it cannot use https; build it with the feature `tls`, which \
             is on by default",
        )),
        other => Err(Ended::usage(format!("the scheme must be {known}, not {other}"))),
    }
}

/// Turns a refusal into an error with the reason that the server gave. `server` is "hub" or
/// "server".
pub(crate) fn refused(server: &str, refusal: &Refusal) -> anyhow::Error {
    let status = refusal.status;
    // Problem details (RFC 9457) have the reason in `detail`.
    let detail =
        refusal.json().and_then(|problem| Some(problem.get("detail")?.as_str()?.to_owned()));
    let words =
        detail.unwrap_or_else(|| refusal.text().chars().take(WORDS_CHARACTERS_MAX).collect());
    let what = if server == "hub" { "hub" } else { "event stream" };
    let words = match (words.as_str(), status) {
        ("", StatusCode::NOT_FOUND) => format!("there is no {what} at this URL"),
        ("", _) => "no reason given".to_owned(),
        _ => words,
    };
    // The proxy may have sent the refusal.
    let through = match &refusal.proxy {
        Some(proxy) => format!(" through the proxy {proxy}"),
        None => String::new(),
    };
    Ended::refused(format!("the {server} refused the request ({status}){through}: {words}"))
}

/// The error of a request without a response, with what to do. `what` says what failed.
pub(crate) fn unanswered(error: ConnectError, what: String) -> anyhow::Error {
    match &error {
        ConnectError::Transport(transport) if transport.proxy().is_some() => anyhow::anyhow!(
            "{error}; this proxy is set in the environment (http_proxy, https_proxy, all_proxy); \
             list hosts that need no proxy in no_proxy"
        ),
        // The first bytes of the answer were no TLS.
        ConnectError::Transport(transport)
            if transport.to_string().contains("InvalidContentType") =>
        {
            anyhow::anyhow!("{what}: the server does not speak TLS on this port; use http://")
        }
        _ => anyhow::Error::new(error).context(what),
    }
}

/// A URL that is safe to print: without its login and query, which may hold secrets.
pub(crate) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    // Both fail for URLs without a host only, and http URLs have one.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_protocols_path_is_added_where_it_is_missing() {
        let url = |text| super::url(text).unwrap().to_string();
        assert_eq!(url("http://h.test"), "http://h.test/.well-known/mercure");
        assert_eq!(url("h.test:8081"), "http://h.test:8081/.well-known/mercure");
        assert_eq!(url("http://h.test/events"), "http://h.test/events/.well-known/mercure");
        assert_eq!(url("http://h.test/events/"), "http://h.test/events/.well-known/mercure");
        for whole in ["http://h.test/.well-known/mercure", "http://h.test/a/.well-known/mercure"] {
            assert_eq!(url(whole), whole);
        }
        assert!(super::url("ftp://h.test").is_err());
        assert!(super::url("http://").is_err());
        for name in ["@work", "http://@work", "https://@work/path"] {
            let error = super::url(name).unwrap_err().to_string();
            assert!(error.contains("is not a URL"), "{error}");
        }
        assert!(super::url("http://user@h.test").is_ok());
        let unix = super::url("unix:/run/hub.sock").unwrap_err().to_string();
        assert!(unix.contains("curl --unix-socket /run/hub.sock http://localhost"), "{unix}");
    }
}
