//! URI templates (RFC 6570) turned round: whether a topic is something that a template can
//! expand to. The language of Mercure 0.x.
//!
//! A template becomes one regular expression of the `regex` crate, which takes time linear in
//! the topic whatever the template, and whose size is bounded here.

use std::fmt::Write as _;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

use regex::{Regex, RegexBuilder};

use super::InvalidSelectors;
use super::intern::Interner;
use crate::limits::{PATTERN_BYTES, TEMPLATE_VARIABLES_MAX};
use crate::update::Topic;

static KNOWN: LazyLock<Interner<Topic, Compiled>> = LazyLock::new(Interner::default);

/// A valid URI template, compiled. Equal ones share what they compile to.
#[derive(Clone, Debug)]
pub struct Template(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    text: Topic,
    prefix: usize,
    literal: Range<usize>,
    regex: Regex,
}

impl Template {
    /// The template that `text` is; `None` if it is none, or a text without expressions.
    ///
    /// # Errors
    /// If it has more variables than allowed, or compiles to more than allowed.
    pub(super) fn read(text: &str) -> Result<Option<Self>, InvalidSelectors> {
        if !text.contains('{') {
            return Ok(None);
        }
        let key = Topic::from(text);
        if let Some(known) = KNOWN.get(&key) {
            return Ok(Some(Self(known)));
        }
        let Some(parts) = parse(text) else { return Ok(None) };
        let source = regex_of(&parts)?;
        let regex = RegexBuilder::new(&source)
            .size_limit(PATTERN_BYTES)
            .dfa_size_limit(PATTERN_BYTES)
            .build()
            .map_err(|_| InvalidSelectors::TooComplex { bytes_max: PATTERN_BYTES })?;
        let prefix = match parts.first() {
            Some(Part::Literal(literal)) => literal.find(|c| !is_plain(c)).unwrap_or(literal.len()),
            _ => 0,
        };
        let literal = longest_literal(text, prefix);
        Ok(Some(Self(KNOWN.add(key.clone(), Compiled { text: key, prefix, literal, regex }))))
    }

    /// The template as it was written.
    pub fn text(&self) -> &Topic {
        &self.0.text
    }

    /// What every topic that matches begins with.
    pub(crate) fn prefix(&self) -> &str {
        &self.0.text.as_str()[..self.0.prefix]
    }

    /// What every topic that matches has somewhere after the [`Template::prefix`]; perhaps
    /// nothing.
    pub(crate) fn literal(&self) -> &str {
        &self.0.text.as_str()[self.0.literal.clone()]
    }

    /// Whether `topic` is the template itself, or something that it can expand to.
    pub(crate) fn matches(&self, topic: &str) -> bool {
        topic.starts_with(self.prefix())
            && (topic == self.0.text.as_str() || self.0.regex.is_match(topic))
    }
}

/// The longest part of a template after `prefix` that stands for itself only.
fn longest_literal(text: &str, prefix: usize) -> Range<usize> {
    let mut longest = prefix..prefix;
    let mut begin = prefix;
    let mut is_inside = false;
    for (at, c) in text.char_indices().skip_while(|(at, _)| *at < prefix).chain([(text.len(), '{')])
    {
        if is_inside || !is_plain(c) {
            if at - begin > longest.len() && !is_inside {
                longest = begin..at;
            }
            is_inside = if is_inside { c != '}' } else { c == '{' };
            begin = at + c.len_utf8();
        }
    }
    longest
}

enum Part<'a> {
    Literal(&'a str),
    Expression { operator: Operator, variables: Vec<Variable<'a>> },
}

struct Variable<'a> {
    name: &'a str,
    modifier: Modifier,
}

enum Modifier {
    None,
    Prefix(usize),
    Explode,
}

/// How an expression expands: the table of RFC 6570, appendix A.
#[derive(Clone, Copy)]
struct Operator {
    first: &'static str,
    separator: &'static str,
    named: bool,
    /// What follows the name of an empty value.
    if_empty: &'static str,
    reserved: bool,
}

impl Operator {
    const fn of(character: char) -> Option<Self> {
        let (first, separator, named, if_empty, reserved) = match character {
            '+' => ("", ",", false, "", true),
            '#' => ("#", ",", false, "", true),
            '.' => (".", ".", false, "", false),
            '/' => ("/", "/", false, "", false),
            ';' => (";", ";", true, "", false),
            '?' => ("?", "&", true, "=", false),
            '&' => ("&", "&", true, "=", false),
            _ => return None,
        };
        Some(Self { first, separator, named, if_empty, reserved })
    }

    const SIMPLE: Self =
        Self { first: "", separator: ",", named: false, if_empty: "", reserved: false };
}

fn parse(text: &str) -> Option<Vec<Part<'_>>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let open = rest.find('{').unwrap_or(rest.len());
        let (literal, after) = rest.split_at(open);
        if literal.contains('}') {
            return None;
        }
        if !literal.is_empty() {
            parts.push(Part::Literal(literal));
        }
        let Some(after) = after.strip_prefix('{') else { break };
        let (inside, after) = after.split_once('}')?;
        parts.push(parse_expression(inside)?);
        rest = after;
    }
    Some(parts)
}

fn parse_expression(inside: &str) -> Option<Part<'_>> {
    let first = inside.chars().next()?;
    let (operator, list) = match Operator::of(first) {
        Some(operator) => (operator, &inside[1..]),
        None => (Operator::SIMPLE, inside),
    };
    let variables = list.split(',').map(parse_variable).collect::<Option<_>>()?;
    Some(Part::Expression { operator, variables })
}

fn parse_variable(text: &str) -> Option<Variable<'_>> {
    let (name, modifier) = if let Some(name) = text.strip_suffix('*') {
        (name, Modifier::Explode)
    } else if let Some((name, length)) = text.split_once(':') {
        let is_length = (1..=4).contains(&length.len())
            && !length.starts_with('0')
            && length.bytes().all(|byte| byte.is_ascii_digit());
        (name, Modifier::Prefix(length.parse().ok().filter(|_| is_length)?))
    } else {
        (text, Modifier::None)
    };
    let is_word = |word: &str| {
        let bytes = word.as_bytes();
        let is_escape = |at: usize| {
            bytes.get(at + 1..at + 3).is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit))
        };
        !word.is_empty()
            && bytes.iter().enumerate().all(|(at, byte)| {
                byte.is_ascii_alphanumeric() || *byte == b'_' || (*byte == b'%' && is_escape(at))
            })
    };
    name.split('.').all(is_word).then_some(Variable { name, modifier })
}

const UNRESERVED: &str = "[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2}";
const RESERVED: &str = "[A-Za-z0-9._~:/?#\\[\\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2}";

fn regex_of(parts: &[Part<'_>]) -> Result<String, InvalidSelectors> {
    let mut source = String::from("(?-u)^");
    let mut count = 0;
    for part in parts {
        match part {
            Part::Literal(literal) => push_literal(literal, &mut source),
            Part::Expression { operator, variables } => {
                count += variables.len();
                if count > TEMPLATE_VARIABLES_MAX {
                    return Err(InvalidSelectors::TooManyVariables);
                }
                push_expression(*operator, variables, &mut source);
            }
        }
        // The expression of a long name in a long list; compiling it would refuse it too, but
        // only after long.
        if source.len() > PATTERN_BYTES {
            return Err(InvalidSelectors::TooComplex { bytes_max: PATTERN_BYTES });
        }
    }
    source.push('$');
    Ok(source)
}

/// Whether a literal stands for itself only. Others may also stand percent-encoded, which is
/// what a template expands them to (RFC 6570, 3.1).
fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn check(template: &str, matching: &[&str], others: &[&str]) {
        let read = Template::read(template).unwrap();
        let read = read.unwrap_or_else(|| panic!("{template:?} is no template"));
        for topic in matching {
            assert!(read.matches(topic), "{template:?} does not match {topic:?}");
        }
        for topic in others {
            assert!(!read.matches(topic), "{template:?} matches {topic:?}");
        }
        assert!(read.matches(template), "a template matches itself as text");
    }

    #[test]
    fn a_simple_expression_is_one_segment() {
        check(
            "https://a.test/books/{id}",
            &["https://a.test/books/7", "https://a.test/books/", "https://a.test/books/a%2Fb"],
            &["https://a.test/books/7/8", "https://a.test/books", "https://b.test/books/7"],
        );
        check("{id}", &["", "a", "a,b", "%C3%A9"], &["a/b", "é", "a=b", "%C3%"]);
        check("a{x,y}b", &["ab", "a1b", "a1,2b"], &["a1/2b"]);
    }

    #[test]
    fn every_operator_of_rfc_6570_is_matched() {
        check("{+path}/here", &["/foo/bar/here", "a?b#c/here", "/here"], &["here", "é/here"]);
        check("X{#f}", &["X", "X#foo,bar", "X#/a?b"], &["Xfoo"]);
        check("www{.dom*}", &["www", "www.example.com", "www.k=v"], &["www/example"]);
        check("{/a,b}", &["", "/1", "/1/2"], &["/1/2/3", "1"]);
        check("{/list*}", &["", "/1", "/1/2/3", "/k=v"], &["1/2"]);
        check("{;x,y}", &["", ";x", ";x=1", ";x=1;y=2", ";y=2"], &[";z=1", ";y=2;x=1"]);
        check("{?a,b}", &["", "?a=1", "?b=2", "?a=1&b=2", "?a="], &["?b=2&a=1", "?c=1", "&a=1"]);
        check("/q?fixed=yes{&x}", &["/q?fixed=yes", "/q?fixed=yes&x=1"], &["/q?fixed=yes?x=1"]);
        check("{?keys*}", &["?a=1&b=2", ""], &["?a", "?=1"]);
        check(
            "https://a.test/u/5/{?topic}",
            &["https://a.test/u/5/?topic=https%3A%2F%2Fa.test%2Fbooks%2F7"],
            &["https://a.test/u/5/?topic=https://a.test/books/7"],
        );
    }

    #[test]
    fn a_prefix_is_as_long_as_it_says() {
        check("{var:3}", &["", "val", "%C3%A9al"], &["valu"]);
        check("{?v:2}", &["?v=ab"], &["?v=abc"]);
    }

    #[test]
    fn literals_match_themselves_and_as_they_are_encoded() {
        check("/größe/{id}", &["/größe/1", "/gr%C3%B6%C3%9fe/1"], &["/grosse/1"]);
        check("a.b{id}", &["a.b1"], &["axb1"]);
    }

    #[test]
    fn what_is_no_template_is_a_plain_text() {
        for text in [
            "plain",
            "bad{template",
            "bad}template",
            "{}",
            "{a",
            "a}{b}",
            "{=x}",
            "{|x}",
            "{a,}",
            "{a:0}",
            "{a:10000}",
            "{a:x}",
            "{a b}",
            "{a..b}",
            "{%4}",
            "{{a}}",
        ] {
            assert!(Template::read(text).unwrap().is_none(), "{text:?} is a template");
        }
    }

    #[test]
    fn a_hostile_template_is_refused_with_the_limit() {
        let many = "{a}".repeat(TEMPLATE_VARIABLES_MAX + 1);
        assert_eq!(Template::read(&many).unwrap_err(), InvalidSelectors::TooManyVariables);
        let names = (0..32).map(|at| format!("{}{at}", "n".repeat(100))).collect::<Vec<_>>();
        for text in ["{a:9999}".to_owned(), format!("{{?{}}}", names.join(","))] {
            assert_eq!(
                Template::read(&text).unwrap_err(),
                InvalidSelectors::TooComplex { bytes_max: PATTERN_BYTES },
                "{text}"
            );
        }
    }

    #[test]
    fn the_longest_literal_after_the_prefix_is_known() {
        for (text, prefix, literal) in [
            ("https://a.test/{kind}/x1", "https://a.test/", "/x1"),
            ("/{a}/books/{b}/x", "/", "/books/"),
            ("/{a}/x/{b}/books", "/", "/books"),
            ("{a}", "", ""),
            ("a{b}", "a", ""),
            ("a{b}c{d}", "a", "c"),
            ("/größe{x}/ßab/abcß{y}", "/gr", "ab/abc"),
            ("{longer_than_all},{+y:3}", "", ","),
            ("%41{x}%42", "%41", "%42"),
        ] {
            let template = Template::read(text).unwrap().unwrap();
            assert_eq!((template.prefix(), template.literal()), (prefix, literal), "{text}");
        }
    }

    #[test]
    fn equal_templates_share_what_they_compile_to() {
        let read = || Template::read("https://share.test/{id}").unwrap().unwrap();
        let (one, other) = (read(), read());
        assert!(Arc::ptr_eq(&one.0, &other.0));
        assert_eq!(one.prefix(), "https://share.test/");
    }
}
