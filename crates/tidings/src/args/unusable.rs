//! Values that are certainly mistakes: in quotation marks, or blank.
//!
//! A shell removes quotation marks. Unit files, `docker run --env-file` and Compose files may keep
//! them, and then a name with its marks never matches the name that was meant.

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, Error};

/// Options that accept any text. `tidings check` warns of secrets in quotation marks.
const ANY_TEXT: [&str; 3] = ["publisher_key", "subscriber_key", "key"];

/// What is wrong with a value, as the end of a sentence about it.
pub(crate) fn fault(value: &str) -> Option<&'static str> {
    // A list may have the other mark in its last value.
    if value.trim_start().starts_with(['"', '\'', '`', '\u{201c}', '\u{2018}']) {
        return Some("begins with a quotation mark, which would be part of the value; remove it");
    }
    if !value.is_empty() && value.trim().is_empty() {
        return Some("is blank; set a value, or omit it");
    }
    None
}

/// Checks the options that can also be set by a variable.
///
/// # Errors
/// If a value begins with a quotation mark, or is blank.
pub(super) fn refuse(matches: &ArgMatches, command: &Command) -> Result<(), Error> {
    for arg in command.get_arguments() {
        let id = arg.get_id().as_str();
        let (Some(variable), Some(flag)) = (arg.get_env(), arg.get_long()) else { continue };
        if ANY_TEXT.contains(&id) {
            continue;
        }
        let values = matches.try_get_raw(id).ok().flatten().into_iter().flatten();
        for value in values {
            let value = value.to_string_lossy();
            let Some(fault) = fault(&value) else { continue };
            let name = match matches.value_source(id) {
                Some(ValueSource::EnvVariable) => variable.to_string_lossy().into_owned(),
                _ => format!("--{flag}"),
            };
            // It may hold a login.
            let value = match arg.is_hide_env_values_set() {
                true => String::new(),
                false => format!(" {value:?}"),
            };
            let words = format!("the value{value} of {name} {fault}");
            return Err(Error::raw(ErrorKind::ValueValidation, words));
        }
    }
    match matches.subcommand() {
        Some((name, matches)) => {
            command.find_subcommand(name).map_or(Ok(()), |command| refuse(matches, command))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_begins_with_a_quotation_mark_or_is_blank_is_an_error() {
        for value in
            ["\"a\"", "'a'", " \"a\"", "\"a", "\"\"", "`a`", "\u{201c}a\u{201d}", " ", "\t"]
        {
            assert!(fault(value).is_some(), "{value:?}");
        }
        for value in ["", "a", "it's", "a \"b\"", " a"] {
            assert_eq!(fault(value), None, "{value:?}");
        }
    }
}
