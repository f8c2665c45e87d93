//! The host in the URL of a NATS server, and other names of hosts.

use reqwest::Url;
use tidings_hub::Origin;

/// Whether a request can name this host: a name, or an address as URLs write it.
pub(crate) fn is_host(text: &str) -> bool {
    format!("https://{text}").parse::<Origin>().is_ok()
}

/// # Errors
/// If `text` is not the URL of a NATS server.
pub(crate) fn check_nats_server(text: &str) -> Result<(), String> {
    // The login in a URL is not repeated.
    let shown = text.rsplit('@').next().unwrap_or_default();
    if !text.starts_with("nats://") && !text.starts_with("tls://") {
        return Err(format!("{shown:?} must begin with nats:// or tls://"));
    }
    match Url::parse(text) {
        Ok(url) if url.host_str().is_some_and(is_host) => Ok(()),
        Ok(_) => Err(format!("{shown:?} has no valid host; write it as nats://host:4222")),
        Err(error) => Err(format!("{shown:?} is not a URL: {error}; write it as nats://host:4222")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_nats_server_has_a_host() {
        for text in [
            "nats://host",
            "nats://host:4222",
            "tls://one.test:4222",
            "nats://127.0.0.1:4222",
            "nats://[::1]:4222",
            "nats://user:password@host:4222",
            "nats://nats_1:4222",
        ] {
            assert_eq!(check_nats_server(text), Ok(()), "{text}");
        }
        for (text, says) in [
            ("nats://", "nats://host:4222"),
            ("nats:///x", "nats://host:4222"),
            ("nats://:4222", "nats://host:4222"),
            ("nats://user:password@", "nats://host:4222"),
            ("nats://host:99999", "nats://host:4222"),
            ("nats://\"host\"", "nats://host:4222"),
            ("nats://.host", "nats://host:4222"),
            ("host:4222", "nats:// or tls://"),
            ("http://user:password@host", "nats:// or tls://"),
        ] {
            let error = check_nats_server(text).unwrap_err();
            assert!(error.contains(says) && !error.contains("password"), "{text}: {error}");
        }
    }
}
