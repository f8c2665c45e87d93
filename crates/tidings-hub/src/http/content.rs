//! The content headers of a request: a single media type, UTF-8, and no compression. Anything else
//! is refused, never read as if it were right.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};

use super::refusal::Refusal;

/// The media type of a request's body, in lower case; `None` if the request names none.
///
/// # Errors
/// If there is more than one.
pub(super) fn media_type(headers: &HeaderMap) -> Result<Option<String>, Refusal> {
    let Some(value) = content_type(headers)? else { return Ok(None) };
    Ok(Some(value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()))
}

/// The charset of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charset {
    Utf8,
    /// One that has the characters of ASCII as ASCII does. Clients name them out of habit.
    LikeAscii,
}

impl Charset {
    /// Refuses a body that UTF-8 would not read as its charset does.
    ///
    /// # Errors
    /// With a 415.
    pub(super) fn check_body(self, body: &[u8]) -> Result<(), Refusal> {
        if self == Self::Utf8 || body.is_ascii() {
            return Ok(());
        }
        let detail = "the charset is not UTF-8, and the body is not ASCII; send the body in UTF-8";
        Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail))
    }
}

/// Refuses a body that is compressed, or in a charset that does not contain ASCII. The body has
/// to be checked against the charset that is returned.
///
/// # Errors
/// A 415 that names the allowed media type.
pub(super) fn check_coding_and_charset(headers: &HeaderMap) -> Result<Charset, Refusal> {
    check_coding(headers)?;
    charset(headers)
}

/// RFC 9110 15.5.16 and 12.5.3: the answer says which codings are accepted. `identity` is not for
/// this field (8.4.1), but means that there is no coding.
pub(super) fn check_coding(headers: &HeaderMap) -> Result<(), Refusal> {
    let lines = headers.get_all(header::CONTENT_ENCODING).iter();
    let codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    for coding in codings.map(<[u8]>::trim_ascii).filter(|coding| !coding.is_empty()) {
        if !coding.eq_ignore_ascii_case(b"identity") {
            let coding = String::from_utf8_lossy(coding);
            let detail = format!(
                "the content coding {coding:?} is not supported; send the body uncompressed"
            );
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail)
                .with(header::ACCEPT_ENCODING, HeaderValue::from_static("identity")));
        }
    }
    Ok(())
}

fn charset(headers: &HeaderMap) -> Result<Charset, Refusal> {
    const UTF_8: [&str; 2] = ["utf-8", "utf8"];
    const LIKE_ASCII: [&str; 5] = ["us-ascii", "ascii", "iso-8859-1", "latin1", "windows-1252"];
    let mut found = Charset::Utf8;
    let Some(value) = content_type(headers)? else { return Ok(found) };
    let parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    for (name, charset) in parameters {
        if !name.trim().eq_ignore_ascii_case("charset") {
            continue;
        }
        let charset = charset.trim().trim_matches('"');
        let is_one_of =
            |names: &[&str]| names.iter().any(|name| charset.eq_ignore_ascii_case(name));
        if is_one_of(&LIKE_ASCII) {
            found = Charset::LikeAscii;
        } else if !is_one_of(&UTF_8) {
            let detail = format!("the charset is {charset:?}; send the body in UTF-8");
            return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    }
    Ok(found)
}

/// The one `Content-Type`. Two could be read differently by two readers (RFC 9110 8.3).
fn content_type(headers: &HeaderMap) -> Result<Option<&str>, Refusal> {
    let mut values = headers.get_all(header::CONTENT_TYPE).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Refusal::bad_request("the header Content-Type occurs more than once"));
    }
    Ok(value.map(|value| value.to_str().unwrap_or("one that is not text")))
}
