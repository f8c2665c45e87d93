//! The headers that the user asked for.

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};

use crate::args::Global;
use crate::outcome::Ended;

/// What `-H` says.
///
/// # Errors
/// If one of them is no header.
pub(crate) fn read(global: &Global) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    for header in &global.headers {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Ended::usage(format!("{header:?} is no header; write it as 'Name: value'"))
        })?;
        let name: HeaderName = name
            .trim()
            .parse()
            .map_err(|_| Ended::usage(format!("{name:?} is no name of a header")))?;
        headers.append(name, value_of(value.trim())?);
    }
    Ok(headers)
}

/// What `-H` says, and the token.
///
/// # Errors
/// If one of them is no header.
pub(crate) fn read_with_token(global: &Global) -> anyhow::Result<HeaderMap> {
    let mut headers = read(global)?;
    if let Some(token) = &global.token {
        let mut value = value_of(&format!("Bearer {token}"))?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

fn value_of(text: &str) -> anyhow::Result<HeaderValue> {
    HeaderValue::from_str(text)
        .map_err(|_| Ended::usage("a header or token has characters that no header can have"))
}
