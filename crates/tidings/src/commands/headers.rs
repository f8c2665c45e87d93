//! The headers of `-H` and `--token`.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::args::{HubRequestArgs, RequestArgs};
use crate::outcome::Ended;

/// The headers of `-H`.
///
/// # Errors
/// If one of them is not a header.
pub(crate) fn read(args: &RequestArgs) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for header in &args.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Ended::usage(format!("{header:?} is not a header; write it as 'Name: value'"))
        })?;
        let name: HeaderName = name
            .trim()
            .parse()
            .map_err(|_| Ended::usage(format!("{name:?} is not a header name")))?;
        headers.append(name, value_of(value.trim())?);
    }
    Ok(headers)
}

/// The headers of `-H`, and the token.
///
/// # Errors
/// If one of them is not a header.
pub(crate) fn read_with_token(args: &HubRequestArgs) -> anyhow::Result<HeaderMap> {
    with_token(&args.common, args.token.text())
}

/// The headers of `-H`, and this token.
///
/// # Errors
/// If one of them is not a header.
pub(crate) fn with_token(args: &RequestArgs, token: Option<&str>) -> anyhow::Result<HeaderMap> {
    let mut headers = read(args)?;
    if let Some(token) = token {
        let mut value = value_of(&format!("Bearer {token}"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn value_of(text: &str) -> anyhow::Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| Ended::usage("a header or token has characters that a header cannot contain"))
}
