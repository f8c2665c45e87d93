//! Automata of templates beside regular expressions for the same, which are slow to compile and
//! large, and plain to read.

use std::fmt::Write as _;

use proptest::prelude::*;
use regex::Regex;

use super::super::InvalidSelectors;
use super::super::Template;
use super::super::allowance::Allowance;
use super::super::template::{Modifier, Operator, TemplatePart, Variable, is_plain, parse};

const UNRESERVED: &str = "[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2}";
const RESERVED: &str = "[A-Za-z0-9._~:/?#\\[\\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2}";

fn regex_of(text: &str) -> Regex {
    let mut source = String::from("(?-u)^");
    for part in parse(text).expect("a template") {
        match part {
            TemplatePart::Literal(literal) => push_literal(literal, &mut source),
            TemplatePart::Expression { operator, variables } => {
                push_expression(operator, &variables, &mut source);
            }
        }
    }
    source.push('$');
    Regex::new(&source).expect("a small expression")
}

fn push_literal(literal: &str, out: &mut String) {
    for c in literal.chars() {
        let mut buffer = [0; 4];
        let text = c.encode_utf8(&mut buffer);
        if is_plain(c) {
            out.push_str(&regex::escape(text));
            continue;
        }
        // Unicode is on for the character itself, which is more than one byte.
        write!(out, "(?:(?u:{})|", regex::escape(text)).expect("writing to a String never fails");
        for byte in text.bytes() {
            write!(out, "%(?i:{byte:02X})").expect("writing to a String never fails");
        }
        out.push(')');
    }
}

fn push_expression(operator: Operator, variables: &[Variable<'_>], out: &mut String) {
    let first = regex::escape(operator.first);
    let separator = regex::escape(operator.separator);
    let items: Vec<_> = variables.iter().map(|variable| item(operator, variable)).collect();
    // Any of the variables may be undefined.
    let optional = |items: &[String]| -> String {
        items.iter().map(|item| format!("(?:{separator}{item})?")).collect()
    };
    if operator.first == operator.separator {
        out.push_str(&optional(&items));
        return;
    }
    // The first that is defined goes without a separator.
    let from = |at: usize| format!("{}{}", items[at], optional(&items[at + 1..]));
    let choices = (0..items.len()).map(from).collect::<Vec<_>>().join("|");
    write!(out, "(?:{first}(?:{choices}))?").expect("writing to a String never fails");
}

/// What one variable expands to, as a string, a list or a map.
fn item(operator: Operator, variable: &Variable<'_>) -> String {
    let class = if operator.reserved { RESERVED } else { UNRESERVED };
    let value = format!("(?:{class})*");
    // Lists and maps that are not exploded are joined by commas.
    let joined = format!("(?:{class}|,)*");
    let separator = regex::escape(operator.separator);
    if !operator.named {
        return match variable.modifier {
            Modifier::None => joined,
            Modifier::Prefix(length) => prefix(class, length),
            Modifier::Explode => {
                let one = format!("{value}(?:={value})?");
                format!("{one}(?:{separator}{one})*")
            }
        };
    }
    let name = regex::escape(variable.name);
    let filled = |value: &str| match operator.if_empty {
        "" => format!("(?:={value})?"),
        _ => format!("={value}"),
    };
    match variable.modifier {
        Modifier::None => format!("{name}{}", filled(&joined)),
        Modifier::Prefix(length) => format!("{name}{}", filled(&prefix(class, length))),
        // A map's own keys stand in for the name.
        Modifier::Explode => {
            let one = format!("(?:{class})+{}", filled(&value));
            format!("{one}(?:{separator}{one})*")
        }
    }
}

/// At most `length` characters, each of which takes up to four bytes, encoded one by one.
fn prefix(class: &str, length: usize) -> String {
    format!("(?:(?:%[0-9A-Fa-f]{{2}}){{1,4}}|{class}){{0,{length}}}")
}

fn template() -> impl Strategy<Value = String> {
    let literal = prop_oneof![
        Just("a"),
        Just("/"),
        Just("b="),
        Just(","),
        Just("."),
        Just("%41"),
        Just("\u{fc}"),
        Just("x y"),
    ];
    let variable = prop_oneof![
        Just("a"),
        Just("b"),
        Just("a*"),
        Just("b*"),
        Just("a:1"),
        Just("a:2"),
        Just("b:3"),
        Just("%41"),
    ];
    let operator = prop_oneof![
        Just(""),
        Just("+"),
        Just("#"),
        Just("."),
        Just("/"),
        Just(";"),
        Just("?"),
        Just("&")
    ];
    let expression = (operator, proptest::collection::vec(variable, 1..4))
        .prop_map(|(operator, variables)| format!("{{{operator}{}}}", variables.join(",")));
    let part = prop_oneof![literal.prop_map(str::to_owned), expression.clone()];
    (proptest::collection::vec(part, 0..4), expression)
        .prop_map(|(parts, last)| format!("{}{last}", parts.concat()))
}

fn topic() -> impl Strategy<Value = String> {
    let pieces = prop_oneof![
        Just("a"),
        Just("b"),
        Just("="),
        Just(","),
        Just("."),
        Just("/"),
        Just(";"),
        Just("?"),
        Just("&"),
        Just("#"),
        Just("%41"),
        Just("%C3%bc"),
        Just("\u{fc}"),
        Just("a="),
        Just("b=a"),
        Just("x y"),
        Just("x%20y"),
        Just("%"),
        Just("%4"),
        Just("A"),
    ];
    proptest::collection::vec(pieces, 0..10).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..tidings_seed::proptest() })]

    #[test]
    fn an_automaton_matches_what_a_regular_expression_does(
        template in template(),
        topics in proptest::collection::vec(topic(), 20),
    ) {
        // Where a prefix follows a value that may have all its characters, the states explode.
        let read = Template::read(&template, &mut Allowance::unlimited());
        prop_assume!(!matches!(read, Err(InvalidSelectors::TooComplex { .. })));
        let read = read.unwrap().unwrap();
        let regex = regex_of(&template);
        for topic in topics {
            let expected = regex.is_match(&topic) || topic == template;
            prop_assert_eq!(read.matches(&topic), expected, "{} on {:?}", &template, &topic);
        }
    }
}
