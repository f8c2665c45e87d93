//! Origins of websites and applications (RFC 6454), and the names of hosts.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use url::{Host, Url};

/// The origin of a website (`https://app.test`) or an application (`capacitor://localhost`):
/// scheme, host and port, in the form in which browsers send it in the header `Origin`.
///
/// ```
/// use tidings_hub::Origin;
///
/// let origin: Origin = "https://Bücher.test:443".parse()?;
/// assert_eq!(origin.as_str(), "https://xn--bcher-kva.test");
/// # Ok::<(), tidings_hub::InvalidOrigin>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin(Box<str>);

impl Origin {
    /// The origin as browsers send it.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a header `Origin` with this value names this origin.
    pub(crate) fn is(&self, header: &str) -> bool {
        self.0.eq_ignore_ascii_case(header)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Origin {
    type Err = InvalidOrigin;

    /// Brings an origin into the form in which browsers send it: lower case, letters beyond ASCII
    /// as Punycode, without the scheme's default port.
    ///
    /// # Errors
    /// If no request could ever have this origin.
    fn from_str(text: &str) -> Result<Self, InvalidOrigin> {
        let text = text.trim_ascii();
        let invalid = |why| InvalidOrigin { origin: text.to_owned(), why };
        if text == "null" {
            return Err(invalid(Why::Null));
        }
        if text.contains('*') {
            return Err(invalid(Why::Wildcard));
        }
        let (scheme, rest) = text.split_once("://").ok_or(invalid(Why::Scheme))?;
        if rest.contains(['/', '\\', '?', '#', '@']) {
            return Err(invalid(Why::More));
        }
        let scheme = scheme.to_ascii_lowercase();
        let origin = match scheme.as_str() {
            "http" | "https" => website(&scheme, rest),
            // Pages of these schemes have the origin "null" or that of another page, and no page
            // has the scheme of a WebSocket.
            "about" | "blob" | "data" | "file" | "ftp" | "javascript" | "ws" | "wss" => {
                return Err(invalid(Why::NoOrigins));
            }
            scheme if is_scheme(scheme) => application(scheme, rest),
            _ => return Err(invalid(Why::Scheme)),
        };
        origin.map(|origin| Self(origin.into_boxed_str())).ok_or(invalid(Why::Host))
    }
}

fn website(scheme: &str, authority: &str) -> Option<String> {
    let url = Url::parse(&format!("{scheme}://{authority}")).ok()?;
    if let Some(Host::Domain(name)) = url.host()
        && !is_name(name)
    {
        return None;
    }
    Some(url.origin().ascii_serialization())
}

/// Whether a host can have this name (RFC 1123 2.1, and `_`, which networks of their own use). URLs
/// allow more, such as quotation marks and empty labels.
fn is_name(name: &str) -> bool {
    let is_label = |label: &str| {
        let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=63).contains(&label.len())
            && label.bytes().all(is_allowed)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    name.len() <= 253 && name.split('.').all(is_label)
}

/// Each application defines its own scheme, so only ASCII names have one known form.
fn application(scheme: &str, authority: &str) -> Option<String> {
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (authority, None),
    };
    let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_port =
        |port: &str| port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_valid = !host.is_empty() && host.bytes().all(is_host) && port.is_none_or(is_port);
    is_valid.then(|| format!("{scheme}://{}", authority.to_ascii_lowercase()))
}

/// RFC 3986 3.1.
fn is_scheme(text: &str) -> bool {
    let is_more = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.bytes().all(is_more)
}

/// Why a text is not the origin of any page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidOrigin {
    origin: String,
    why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    Scheme,
    Wildcard,
    Null,
    NoOrigins,
    More,
    Host,
}

impl fmt::Display for InvalidOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let why = match self.why {
            Why::Scheme => "it has no valid scheme",
            Why::Wildcard => "wildcards are not supported; list each origin",
            Why::Null => "it is the origin of sandboxed pages of every website",
            Why::NoOrigins => "no page has an origin of this scheme",
            Why::More => "it must have scheme, host and port only",
            Why::Host => "its host or its port is invalid",
        };
        write!(
            f,
            "{:?} is not an origin that can be listed: {why}; write it as \
             https://app.example.com, without a path",
            self.origin
        )
    }
}

impl std::error::Error for InvalidOrigin {}

/// The websites whose pages may read the hub's answers. By default only the hub's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CorsOrigins {
    /// These, with their visitors' credentials.
    These(Vec<Origin>),
    /// All of them, without credentials.
    All,
}

impl Default for CorsOrigins {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

/// The host of `HOST` or `HOST:PORT`, an IPv6 address with its brackets.
pub(crate) fn host_of(authority: &str) -> &str {
    let end = match authority.find(']') {
        Some(bracket) if authority.starts_with('[') => bracket + 1,
        _ => authority.find(':').unwrap_or(authority.len()),
    };
    &authority[..end]
}

/// Whether a host is an address. No name resolves to it, so no website can give itself this host.
pub(crate) fn is_address(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.parse::<Ipv4Addr>().is_ok(),
    }
}

/// Whether an origin is one of this machine's loopback, under any of its names.
pub(crate) fn is_local_origin(origin: &str) -> bool {
    origin.split_once("://").is_some_and(|(_, authority)| is_local(authority))
}

/// Whether the host of `HOST` or `HOST:PORT` is this machine's loopback, under any of its names.
pub(crate) fn is_local(authority: &str) -> bool {
    if let Some(rest) = authority.strip_prefix('[') {
        let address = rest.split_once(']').and_then(|(address, _)| address.parse().ok());
        return address.is_some_and(|address: Ipv6Addr| address.is_loopback());
    }
    let host = host_of(authority);
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return address.is_loopback();
    }
    let suffix = host.len().checked_sub(".localhost".len()).and_then(|at| host.get(at..));
    host.eq_ignore_ascii_case("localhost")
        || suffix.is_some_and(|suffix| suffix.eq_ignore_ascii_case(".localhost"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_has_the_form_in_which_browsers_send_it() {
        for (text, sent) in [
            ("https://app.test", "https://app.test"),
            ("HTTPS://App.Test", "https://app.test"),
            (" https://app.test", "https://app.test"),
            ("https://app.test:443", "https://app.test"),
            ("http://app.test:80", "http://app.test"),
            ("http://app.test:443", "http://app.test:443"),
            ("https://b\u{fc}cher.test", "https://xn--bcher-kva.test"),
            ("https://b\u{dc}CHER.test:8443", "https://xn--bcher-kva.test:8443"),
            ("http://127.1:3000", "http://127.0.0.1:3000"),
            ("http://[0:0::1]:80", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("ionic://localhost", "ionic://localhost"),
            ("tauri://localhost", "tauri://localhost"),
            ("app://obsidian.md", "app://obsidian.md"),
            ("dev-app://LocalHost:3000", "dev-app://localhost:3000"),
            (
                "chrome-extension://gighmmpiobklfepjocnamgkkbiglidom",
                "chrome-extension://gighmmpiobklfepjocnamgkkbiglidom",
            ),
            (
                "moz-extension://4f1b9e35-2a3c-4d55-8a0e-8d5f6f1d0c11",
                "moz-extension://4f1b9e35-2a3c-4d55-8a0e-8d5f6f1d0c11",
            ),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(origin.as_str(), sent, "{text:?}");
        }
    }

    #[test]
    fn an_origin_that_no_request_can_have_is_refused() {
        for (text, says) in [
            ("", "no valid scheme"),
            ("app.test", "no valid scheme"),
            ("https:app.test", "no valid scheme"),
            ("-a://b", "no valid scheme"),
            ("ch\u{e4}t://localhost", "no valid scheme"),
            ("null", "sandboxed pages"),
            ("*", "wildcards are not supported"),
            ("https://*.app.test", "wildcards are not supported"),
            ("http://localhost:*", "wildcards are not supported"),
            ("chrome-extension://*", "wildcards are not supported"),
            ("file://localhost", "no page"),
            ("wss://app.test", "no page"),
            ("https://app.test/", "without a path"),
            ("https://app.test/path", "without a path"),
            ("https://app.test?x", "scheme, host and port only"),
            ("https://user@app.test", "scheme, host and port only"),
            ("https://", "its host"),
            ("https://:443", "its host"),
            ("https://a b", "its host"),
            ("https://\"app.test\"", "its host"),
            ("https://'app.test'", "its host"),
            ("https://.app.test", "its host"),
            ("https://app..test", "its host"),
            ("https://-app.test", "its host"),
            ("https://app.test:99999", "its port"),
            ("capacitor://", "its host"),
            ("capacitor://b\u{fc}cher", "its host"),
            ("capacitor://localhost:99999", "its port"),
            ("capacitor://localhost:+1", "its port"),
        ] {
            let error = text.parse::<Origin>().unwrap_err().to_string();
            assert!(error.contains(says) && error.contains(&format!("{text:?}")), "{error}");
        }
    }

    #[test]
    fn every_name_of_loopback_is_local() {
        for authority in
            ["localhost", "LOCALHOST:1", "a.localhost", "127.8.0.1:80", "[::1]:8081", "[::1]"]
        {
            assert!(is_local(authority), "{authority}");
            assert!(is_local_origin(&format!("http://{authority}")), "{authority}");
        }
        for authority in [
            "localhost.test",
            "10.0.0.1",
            "127.0.0.1.evil.test",
            "notlocalhost",
            "[::2]",
            "[::1",
            "",
            "localhost@evil.test",
        ] {
            assert!(!is_local(authority), "{authority}");
        }
        assert!(!is_local_origin("null"));
    }

    #[test]
    fn a_host_has_no_port() {
        for (authority, host, is_ip) in [
            ("hub.test:80", "hub.test", false),
            ("hub.test", "hub.test", false),
            ("10.0.0.1:80", "10.0.0.1", true),
            ("[::1]:80", "[::1]", true),
            ("[::1]", "[::1]", true),
            ("[::1", "[", false),
            ("", "", false),
        ] {
            assert_eq!(host_of(authority), host);
            assert_eq!(is_address(host), is_ip, "{authority}");
        }
    }
}
