//! Parses options that are true or false.

/// Parses an option that is true or false. Any other word is an error, because either guess could
/// grant access that the user meant to deny.
pub(super) fn yes_or_no(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err("must be true, yes, on or 1, or false, no, off or 0, without quotation marks or \
                  spaces"
            .to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_words_are_true_or_false() {
        for text in ["true", "TRUE", "Yes", "on", "1"] {
            assert_eq!(yes_or_no(text), Ok(true), "{text:?}");
        }
        for text in ["false", "False", "no", "OFF", "0"] {
            assert_eq!(yes_or_no(text), Ok(false), "{text:?}");
        }
        for text in [
            "",
            "\"false\"",
            "'false'",
            "disabled",
            "none",
            "null",
            "false ",
            " false",
            "false\r",
            "00",
            "-1",
            "2",
            "enabled",
            "fa\u{17f}e",
            "t",
            "Y",
            "f",
            "N",
        ] {
            assert!(yes_or_no(text).is_err(), "{text:?}");
        }
    }
}
