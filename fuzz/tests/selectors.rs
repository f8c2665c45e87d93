//! Selectors: topics, URI templates and URL patterns. They are compared with slow, obvious readings.

use std::fmt::Write as _;

use tidings_core::model::{Base, InvalidSelectors, Location, Selector, Selectors, Topic};
use tidings_seed::fuzz::{Change, changed, pieces};
use urlpattern::{UrlPattern, UrlPatternInit, UrlPatternMatchInput, UrlPatternOptions};

/// What one compiled template or pattern may take, with its text and what is around it.
const COMPILED_MAX: usize = (256 << 10) + (16 << 10);
const TEXT_MAX: usize = 4096;

const TEMPLATES: [&[u8]; 8] = [
    b"https://a.test/books/{id}",
    b"/a/{+path}/b{?q,r*}{&s:3}",
    b"{x}{y.z}{#f}{;p,q}{/u,v}{.w*}",
    b"topic",
    b"*",
    b"https://a.test/gr\xc3\xb6\xc3\x9fe/{x:12}",
    b"{a,b,c,d,e,f,g,h,i,j,k,l,m,n,o,p,q,r,s,t,u,v,w,x,y,z,aa,bb,cc,dd,ee,ff}",
    b"%7Bx%7D {x}",
];

const PIECES: [&[u8]; 28] = [
    b"{x}",
    b"{+x}",
    b"{#x}",
    b"{.x}",
    b"{/x*}",
    b"{;x}",
    b"{?x,y}",
    b"{&x:3}",
    b"{",
    b"}",
    b"*",
    b"/",
    b"a",
    b"https://h.test/",
    b":id",
    b"(.*)",
    b"{a}?",
    b"+",
    b"?",
    b"%20",
    b"%",
    b" ",
    b"\xc3\xbc",
    b"#",
    b"[",
    b"(a|b)",
    b"\\",
    b".",
];

const PATTERNS: [&[u8]; 8] = [
    b"https://h.test/books/:id",
    b"/books/:id?/*",
    b"/a{/b}?/(\\d+)",
    b"https://*.test:8080/x",
    b"*",
    b"urn:uuid:*",
    b"/.well-known/mercure/:rest*",
    b"?q=:q#:f",
];

/// Expands a template with one value per name, as RFC 6570 3.2 says; `None` stands for no value. Only
/// of texts that are templates.
fn expand(template: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut made = String::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        encode(literal, Part::Literal, &mut made);
        let (inside, after) = after.split_once('}').expect("it is a template");
        rest = after;
        let (first, separator, named, if_empty, reserved) = match inside.chars().next() {
            Some('+') => ("", ",", false, "", true),
            Some('#') => ("#", ",", false, "", true),
            Some('.') => (".", ".", false, "", false),
            Some('/') => ("/", "/", false, "", false),
            Some(';') => (";", ";", true, "", false),
            Some('?') => ("?", "&", true, "=", false),
            Some('&') => ("&", "&", true, "=", false),
            _ => ("", ",", false, "", false),
        };
        let list = inside.trim_start_matches(['+', '#', '.', '/', ';', '?', '&']);
        let mut before = first;
        for variable in list.split(',') {
            let bare = variable.trim_end_matches('*');
            let (name, length) = match bare.split_once(':') {
                Some((name, length)) => (name, length.parse().expect("it is a template")),
                None => (bare, usize::MAX),
            };
            let Some(value) = value(name) else { continue };
            let value: String = value.chars().take(length).collect();
            made.push_str(before);
            before = separator;
            if named {
                made.push_str(name);
                made.push_str(if value.is_empty() { if_empty } else { "=" });
            }
            encode(&value, if reserved { Part::Reserved } else { Part::Value }, &mut made);
        }
    }
    encode(rest, Part::Literal, &mut made);
    made
}

/// A part of what a template expands to.
#[derive(Clone, Copy, PartialEq)]
enum Part {
    Literal,
    /// A value in which reserved characters and triplets stay as they are.
    Reserved,
    Value,
}

/// Percent-encodes what is not unreserved, or else reserved where that stays as it is.
fn encode(text: &str, part: Part, made: &mut String) {
    for (at, c) in text.char_indices() {
        let hex = text.as_bytes().get(at + 1..at + 3);
        let is_triplet = hex.is_some_and(|hex| hex.iter().all(u8::is_ascii_hexdigit));
        let is_kept = match c {
            // A template with a bare one is none of RFC 6570. The hub takes it as it is.
            '%' => part == Part::Literal || (part == Part::Reserved && is_triplet),
            _ if part != Part::Value && ":/?#[]@!$&'()*+,;=".contains(c) => true,
            _ => c.is_ascii_alphanumeric() || "-._~".contains(c),
        };
        if is_kept {
            made.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(made, "%{byte:02X}");
            }
        }
    }
}

fn check_accepted(text: &str, selector: &Selector) {
    assert_eq!(selector.text(), text);
    assert!(!text.is_empty() && text.len() <= TEXT_MAX);
    let set = Selectors::new([selector.clone()]).expect("one selector is a set");
    assert!(set.memory_bytes() - set.list_bytes() <= COMPILED_MAX, "{}", set.memory_bytes());
}

#[test]
fn a_topic_is_accepted_as_it_is_and_matches_itself_alone() {
    tidings_seed::fuzz!((Vec<u8>, String), 3000, |(choices, other)| {
        let text = pieces(choices, &PIECES, &TEMPLATES);
        let text = String::from_utf8_lossy(&text);
        let Ok(selector) = Selector::new(&text) else { return };
        check_accepted(&text, &selector);
        assert!(selector.matches(&Topic::from(&*text)));
        assert_eq!(selector.matches(&Topic::from(other.as_str())), *text == **other || text == "*");
    });
}

#[test]
fn a_template_matches_all_that_it_expands_to() {
    tidings_seed::fuzz!(((u8, Vec<Change>), Vec<Option<Vec<u8>>>), 1000, |(input, values)| {
        let text = changed(input, &TEMPLATES, &PIECES);
        let Ok(text) = std::str::from_utf8(&text) else { return };
        let Ok(selector) = Selector::template(text) else { return };
        check_accepted(text, &selector);
        assert!(selector.matches(&Topic::from(text)), "{text:?} does not match itself");
        assert_eq!(selector, Selector::template(text).expect("it was accepted before"));
        let Selector::Template(template) = &selector else { return };
        for round in 0..4 {
            let value = |name: &str| {
                let at = name.bytes().map(usize::from).sum::<usize>() + round;
                let value = values.get(at % values.len().max(1)).cloned().flatten()?;
                Some(String::from_utf8_lossy(&pieces(&value, &PIECES, &[b"x"])).into_owned())
            };
            let topic = expand(text, value);
            assert!(template.matches(&topic), "{text:?} does not match {topic:?}");
            assert!(topic.starts_with(template.prefix()), "{text:?}: {topic:?}");
            let rest = &topic[template.prefix().len()..];
            assert!(rest.contains(template.literal()), "{text:?}: {topic:?}");
        }
    });
}

/// As the library that the hub uses reads a pattern, with its own regular expressions.
fn naive(text: &str, base: &Base) -> Option<UrlPattern> {
    let parse = |base| UrlPatternInit::parse_constructor_string::<regex::Regex>(text, base).ok();
    let init = parse(None).or_else(|| parse(Some(base.url().clone())))?;
    UrlPattern::parse(init, UrlPatternOptions::default()).ok()
}

#[test]
fn a_url_pattern_matches_as_the_standards_own_does() {
    let base = Base::of_host("https", "h.test").expect("a host");
    tidings_seed::fuzz!(((u8, Vec<Change>), Vec<Vec<u8>>), 250, |(input, topics)| {
        let text = changed(input, &PATTERNS, &PIECES);
        let Ok(text) = std::str::from_utf8(&text) else { return };
        let selector = match Selector::pattern(text, &base) {
            Ok(selector) => selector,
            Err(InvalidSelectors::TooMany { .. } | InvalidSelectors::None) => panic!("{text:?}"),
            Err(_) => return,
        };
        check_accepted(text, &selector);
        let Selector::Pattern(pattern) = &selector else { return assert_eq!(text, "*") };
        let naive = naive(text, &base);
        let naive = naive.unwrap_or_else(|| panic!("{text:?} is accepted, and is no pattern"));
        for topic in topics.iter().take(4) {
            let topic = pieces(topic, &PIECES, &PATTERNS);
            let topic = String::from_utf8_lossy(&topic);
            let location = Location::of(&topic, &base);
            let expected = location.as_ref().is_some_and(|_| {
                let url = base.url().join(&topic).expect("it is a location");
                naive.test(UrlPatternMatchInput::Url(url)).unwrap_or(false)
            });
            let matches = selector.matches(&Topic::from(&*topic));
            assert_eq!(matches, expected, "{text:?} on {topic:?}");
            if let Some(location) = location.filter(|_| matches) {
                assert!(location.place.starts_with(pattern.prefix()), "{text:?}: {topic:?}");
                let rest = &location.place[pattern.prefix().len()..];
                assert!(rest.contains(pattern.literal()), "{text:?}: {topic:?}");
            }
        }
    });
}

#[test]
fn a_set_matches_as_its_selectors_do() {
    let base = Base::of_host("https", "h.test").expect("a host");
    tidings_seed::fuzz!((Vec<(u8, Vec<u8>)>, Vec<u8>), 250, |(texts, topic)| {
        let all: Vec<Selector> = texts
            .iter()
            .take(8)
            .filter_map(|(kind, text)| {
                let text = pieces(text, &PIECES, &TEMPLATES);
                let text = std::str::from_utf8(&text).ok()?;
                match kind % 3 {
                    0 => Selector::new(text).ok(),
                    1 => Selector::template(text).ok(),
                    _ => Selector::pattern(text, &base).ok(),
                }
            })
            .collect();
        let topic = pieces(topic, &PIECES, &PATTERNS);
        let topic = Topic::from(&*String::from_utf8_lossy(&topic));
        match Selectors::new(all.clone()) {
            Ok(set) => {
                assert_eq!(set.matches(&topic), all.iter().any(|one| one.matches(&topic)));
                assert!(set.iter().all(|one| all.contains(one)));
            }
            Err(error) => assert!(all.is_empty(), "{error}"),
        }
    });
}
