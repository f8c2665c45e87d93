//! URI templates (RFC 6570) turned round: whether a topic is something that a template can
//! expand to. The language of Mercure 0.x.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use super::InvalidSelectors;
use super::allowance::{Allowance, Charge};
use super::automaton::{Automaton, Built};
use super::expansion;
use super::intern::Interner;
use crate::limits::{PATTERN_BYTES_AROUND, TEMPLATE_VARIABLES_MAX};
use crate::model::update::Topic;

/// Steps of a test beside those of the automaton.
const TRY_STEPS: usize = 32;

static KNOWN: LazyLock<Interner<Topic, CompiledTemplate>> = LazyLock::new(Interner::default);

/// A valid URI template, compiled. Equal ones share what they compile to.
#[derive(Clone, Debug)]
pub struct Template(Arc<CompiledTemplate>);

#[derive(Debug)]
struct CompiledTemplate {
    text: Topic,
    prefix: usize,
    literal: Range<usize>,
    /// Matches what stands after the prefix.
    automaton: Automaton,
    bytes: usize,
    _charge: Option<Charge>,
}

impl Drop for CompiledTemplate {
    fn drop(&mut self) {
        KNOWN.forget(&self.text);
    }
}

impl Template {
    /// The template that `text` is, if it is compiled already.
    pub(super) fn known(text: &str) -> Option<Self> {
        KNOWN.get(&Topic::from(text)).map(Self)
    }

    /// Whether `text` is a template, and no text without expressions.
    pub(super) fn is_template(text: &str) -> bool {
        text.contains('{') && parse(text).is_some()
    }

    /// The template that `text` is; `None` if it is none, or a text without expressions.
    ///
    /// # Errors
    /// If it has more variables than allowed, or compiles to more than allowed.
    pub(super) fn read(
        text: &str,
        allowance: &mut Allowance,
    ) -> Result<Option<Self>, InvalidSelectors> {
        if !text.contains('{') {
            return Ok(None);
        }
        let key = Topic::from(text);
        if let Some(known) = KNOWN.get(&key) {
            return Ok(Some(Self(known)));
        }
        let Some(parts) = parse(text) else { return Ok(None) };
        let variables = |part: &TemplatePart<'_>| match part {
            TemplatePart::Literal(_) => 0,
            TemplatePart::Expression { variables, .. } => variables.len(),
        };
        if parts.iter().map(variables).sum::<usize>() > TEMPLATE_VARIABLES_MAX {
            return Err(InvalidSelectors::TooManyVariables);
        }
        let prefix = match parts.first() {
            Some(TemplatePart::Literal(literal)) => {
                literal.find(|c| !is_plain(c)).unwrap_or(literal.len())
            }
            _ => 0,
        };
        let max = allowance.next_max();
        let built =
            expansion::nfa(&parts, prefix, max).and_then(|nfa| Automaton::of_nfa(&nfa, max));
        let Built { automaton, work } = built.map_err(|_| allowance.too_complex())?;
        allowance.spend(work);
        let bytes = automaton.bytes() + text.len() + PATTERN_BYTES_AROUND;
        let charge = allowance.charge(bytes)?;
        let literal = longest_literal(text, prefix);
        let compiled = CompiledTemplate {
            text: key.clone(),
            prefix,
            literal,
            automaton,
            bytes,
            _charge: charge,
        };
        Ok(Some(Self(KNOWN.add(key, compiled))))
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// The template as it was written.
    pub fn text(&self) -> &Topic {
        &self.0.text
    }

    /// What every topic that matches begins with.
    pub fn prefix(&self) -> &str {
        &self.0.text.as_str()[..self.0.prefix]
    }

    /// What every topic that matches has somewhere after the [`Template::prefix`]; perhaps
    /// nothing.
    pub fn literal(&self) -> &str {
        &self.0.text.as_str()[self.0.literal.clone()]
    }

    /// The most steps that [`Template::matches`] takes: one is what a small automaton takes for a
    /// byte.
    pub fn steps(&self, topic: &str) -> usize {
        TRY_STEPS + self.0.automaton.steps(topic.len().saturating_sub(self.0.prefix))
    }

    /// Whether `topic` is the template itself, or something that it can expand to.
    pub fn matches(&self, topic: &str) -> bool {
        let Some(rest) = topic.strip_prefix(self.prefix()) else { return false };
        self.0.automaton.matches(rest) || topic == self.0.text.as_str()
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

pub(super) enum TemplatePart<'a> {
    Literal(&'a str),
    Expression { operator: Operator, variables: Vec<Variable<'a>> },
}

pub(super) struct Variable<'a> {
    pub(super) name: &'a str,
    pub(super) modifier: Modifier,
}

pub(super) enum Modifier {
    None,
    Prefix(usize),
    Explode,
}

/// How an expression expands: the table of RFC 6570, appendix A.
#[derive(Clone, Copy)]
pub(super) struct Operator {
    pub(super) first: &'static str,
    pub(super) separator: &'static str,
    pub(super) named: bool,
    /// What follows the name of an empty value.
    pub(super) if_empty: &'static str,
    pub(super) reserved: bool,
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

pub(super) fn parse(text: &str) -> Option<Vec<TemplatePart<'_>>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let open = rest.find('{').unwrap_or(rest.len());
        let (literal, after) = rest.split_at(open);
        if literal.contains('}') {
            return None;
        }
        if !literal.is_empty() {
            parts.push(TemplatePart::Literal(literal));
        }
        let Some(after) = after.strip_prefix('{') else { break };
        let (inside, after) = after.split_once('}')?;
        parts.push(parse_expression(inside)?);
        rest = after;
    }
    Some(parts)
}

fn parse_expression(inside: &str) -> Option<TemplatePart<'_>> {
    let first = inside.chars().next()?;
    let (operator, list) = match Operator::of(first) {
        Some(operator) => (operator, &inside[1..]),
        None => (Operator::SIMPLE, inside),
    };
    let variables = list.split(',').map(parse_variable).collect::<Option<_>>()?;
    Some(TemplatePart::Expression { operator, variables })
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

/// Whether a literal stands for itself only. Others may also stand percent-encoded, which is
/// what a template expands them to (RFC 6570, 3.1).
pub(super) fn is_plain(c: char) -> bool {
    c.is_ascii_alphanumeric() || "-._~:/?#[]@!$&'()*+,;=%".contains(c)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::PATTERN_BYTES;

    fn read(text: &str) -> Result<Option<Template>, InvalidSelectors> {
        Template::read(text, &mut Allowance::unlimited())
    }

    fn check(template: &str, matching: &[&str], others: &[&str]) {
        let read = read(template).unwrap();
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
            assert!(read(text).unwrap().is_none(), "{text:?} is a template");
        }
    }

    #[test]
    fn a_hostile_template_is_refused_with_the_limit() {
        let many = "{a}".repeat(TEMPLATE_VARIABLES_MAX + 1);
        assert_eq!(read(&many).unwrap_err(), InvalidSelectors::TooManyVariables);
        let names: Vec<_> = (0..32).map(|at| format!("{}{at}", "n".repeat(100))).collect();
        let named = format!("{{?{}}}", names.join(","));
        for text in ["{a:9999}", "{+a}x{b:20}y", "{+a}x{+b:12}y{+c:12}z", &named] {
            let refused = InvalidSelectors::TooComplex { bytes_max: PATTERN_BYTES };
            assert_eq!(read(text).unwrap_err(), refused, "{text}");
        }
    }

    #[test]
    fn many_variables_compile_to_little() {
        let names: Vec<_> = (0..32).map(|at| format!("{}{at}", "name".repeat(2))).collect();
        let template = read(&format!("/a{{?{}}}", names.join(","))).unwrap().unwrap();
        assert!(template.matches(&format!("/a?{}=1&{}=2", names[3], names[31])));
        assert!(!template.matches(&format!("/a?{}=1&{}=2", names[31], names[3])));
        assert!(template.0.automaton.bytes() < 64 << 10, "{}", template.0.automaton.bytes());
    }

    #[test]
    fn one_request_may_not_spend_more_than_its_allowance() {
        let mut allowance = Allowance::charged(64 << 10, None);
        let names: Vec<_> = (0..20).map(|at| format!("name{at}")).collect();
        let each = |at: usize| format!("/{at}{{?{}}}", names.join(","));
        let refused = (0..100).find_map(|at| Template::read(&each(at), &mut allowance).err());
        let expected = InvalidSelectors::TooComplexTogether { bytes_max: 64 << 10 };
        assert_eq!(refused, Some(expected));
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
            let template = read(text).unwrap().unwrap();
            assert_eq!((template.prefix(), template.literal()), (prefix, literal), "{text}");
        }
    }

    #[test]
    fn equal_templates_share_what_they_compile_to() {
        let read = || self::read("https://share.test/{id}").unwrap().unwrap();
        let (one, other) = (read(), read());
        assert!(Arc::ptr_eq(&one.0, &other.0));
        assert_eq!(one.prefix(), "https://share.test/");
    }
}
