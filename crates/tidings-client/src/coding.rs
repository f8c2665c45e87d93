//! Content and transfer codings of a body, such as gzip.

use http::header::{CONTENT_ENCODING, HeaderMap, HeaderName, TRANSFER_ENCODING};

/// The registered codings (RFC 9110, 18.6) and others in use.
///
/// Any other word is ignored, as in browsers: `none`, `utf-8` and the like are common.
const CODINGS: [&str; 12] = [
    "gzip",
    "x-gzip",
    "deflate",
    "br",
    "zstd",
    "compress",
    "x-compress",
    "dcb",
    "dcz",
    "exi",
    "pack200-gzip",
    "aes128gcm",
];

/// The codings of a body with these headers, in their order, if there are any.
///
/// The transport decodes `chunked` once; a second `chunked` remains.
pub(crate) fn of(headers: &HeaderMap) -> Option<String> {
    let words = |name: HeaderName| {
        let values = headers.get_all(name).iter();
        values.flat_map(|value| {
            let text = String::from_utf8_lossy(value.as_bytes()).to_ascii_lowercase();
            text.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>()
        })
    };
    let mut found: Vec<String> = words(CONTENT_ENCODING).filter(|word| is_coding(word)).collect();
    let transfer: Vec<String> = words(TRANSFER_ENCODING).collect();
    found.extend(transfer.iter().filter(|word| is_coding(word)).cloned());
    let chunks = transfer.iter().filter(|word| *word == "chunked").count();
    found.extend((1..chunks).map(|_| "chunked".to_owned()));
    (!found.is_empty()).then(|| found.join(", "))
}

fn is_coding(word: &str) -> bool {
    CODINGS.contains(&word)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_codings_that_must_be_decoded_are_found() {
        let both = |content: &[&str], transfer: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in content {
                headers.append(CONTENT_ENCODING, HeaderValue::from_str(value).unwrap());
            }
            for value in transfer {
                headers.append(TRANSFER_ENCODING, HeaderValue::from_str(value).unwrap());
            }
            of(&headers)
        };
        for (content, transfer, expected) in [
            (&[][..], &[][..], None),
            (&["identity"], &["chunked"], None),
            (&[""], &["identity"], None),
            (&["identity, identity"], &[], None),
            (&["none"], &[], None),
            (&["UTF-8"], &["Chunked"], None),
            (&["gzip"], &["chunked"], Some("gzip")),
            (&[" GZip "], &[], Some("gzip")),
            (&["x-gzip"], &[], Some("x-gzip")),
            (&["identity, br"], &[], Some("br")),
            (&["zstd", "deflate"], &[], Some("zstd, deflate")),
            (&[], &["gzip, chunked"], Some("gzip")),
            (&[], &["deflate"], Some("deflate")),
            (&[], &["chunked, chunked"], Some("chunked")),
            (&[], &["chunked", "chunked"], Some("chunked")),
        ] {
            assert_eq!(both(content, transfer).as_deref(), expected, "{content:?} {transfer:?}");
        }
    }
}
