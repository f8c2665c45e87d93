//! Warns of secrets that probably contain an unintended character. Any character may be part of a
//! secret, so they are used unchanged; but tokens signed with the intended secret then fail.

/// The warning about a secret, as the end of a sentence. Keys in PEM have their own format, and
/// get no warning.
pub(crate) fn doubt(text: &str) -> Option<&'static str> {
    if text.contains("-----BEGIN") {
        return None;
    }
    // One line break at the end is not part of a key.
    let secret = text.strip_suffix('\n').unwrap_or(text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    let is_quoted =
        |mark: char| secret.len() > 1 && secret.starts_with(mark) && secret.ends_with(mark);
    if secret.starts_with('\u{feff}') {
        return Some(
            "begins with a byte order mark, which is used as part of the secret; save the file as \
             UTF-8 without one",
        );
    }
    if secret.trim() != secret {
        return Some(
            "begins or ends with a space or a line break, which is used as part of the secret; \
             remove it if that is not intended",
        );
    }
    if secret.chars().any(char::is_control) {
        return Some(
            "has a line break or another control character within the secret; remove it if that \
             is not intended",
        );
    }
    if is_quoted('"') || is_quoted('\'') {
        return Some(
            "is in quotation marks, which are used as part of the secret; remove them if that is \
             not intended",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unintended_characters_cause_a_warning() {
        for text in ["a secret", "a secret\n", "a secret\r\n", "s\u{fc}\u{df} \"x\" y", "'", ""] {
            assert_eq!(doubt(text), None, "{text:?}");
        }
        for (text, says) in [
            ("\u{feff}a secret\n", "byte order mark"),
            ("a secret \n", "a space or a line break"),
            (" a secret", "a space or a line break"),
            ("a secret\t", "a space or a line break"),
            ("a secret\n\n", "a space or a line break"),
            ("a secret\r\n\r\n", "a space or a line break"),
            ("a secret\u{a0}\n", "a space or a line break"),
            ("one\ntwo\n", "within the secret"),
            ("one\0two", "within the secret"),
            ("\"a secret\"\n", "quotation marks"),
            ("'a secret'", "quotation marks"),
        ] {
            assert!(doubt(text).is_some_and(|doubt| doubt.contains(says)), "{text:?}");
        }
        assert_eq!(doubt("\n-----BEGIN PUBLIC KEY-----\n \n"), None);
    }
}
