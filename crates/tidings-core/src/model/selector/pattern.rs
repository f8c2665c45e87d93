//! URL patterns (the WHATWG standard), the language of Mercure 1.0.
//!
//! Parts of a pattern that are more than a literal or one wildcard become automata, which take
//! one step for each byte of the topic whatever the pattern.

use std::fmt;
use std::sync::{Arc, LazyLock, OnceLock};

use url::Url;
use urlpattern::parser::RegexSyntax;
use urlpattern::regexp::RegExp;
use urlpattern::{UrlPattern, UrlPatternInit, UrlPatternMatchInput, UrlPatternOptions};

use super::InvalidSelectors;
use super::allowance::{self, Allowance, Charge};
use super::automaton::{Automaton, Built};
use super::intern::Interner;
use crate::limits::{PATTERN_BYTES, PATTERN_BYTES_AROUND};
use crate::model::update::{HUB_PATH, Topic};

/// Steps of a test, whose eight components are made anew for each.
const TRY_STEPS: usize = 512;
/// And for each byte of the topic.
const TRY_STEPS_PER_BYTE: usize = 8;

static KNOWN: LazyLock<Interner<(Topic, Base), CompiledPattern>> = LazyLock::new(Interner::default);

/// The hub's own URL, against which relative patterns and relative topics are resolved
/// (Mercure 1.0, "urlpattern").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Base(Arc<Url>);

impl Base {
    /// The hub that stands at `url`.
    pub fn new(url: Url) -> Self {
        Self(Arc::new(url))
    }

    /// The hub under this authority, as a request's `Host` names it. `None` if it names none.
    pub fn of_host(scheme: &str, host: &str) -> Option<Self> {
        let url = Url::parse(&format!("{scheme}://{host}{HUB_PATH}")).ok()?;
        (url.path() == HUB_PATH && url.query().is_none()).then(|| Self::new(url))
    }

    /// The URL.
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl Default for Base {
    /// A host that no topic can name: relative patterns match relative topics only.
    fn default() -> Self {
        static NOBODY: LazyLock<Base> = LazyLock::new(|| {
            let url = Url::parse("https://hub.invalid/.well-known/mercure");
            Base::new(url.expect("the literal is a URL"))
        });
        NOBODY.clone()
    }
}

/// A valid URL pattern, compiled. Equal ones share what they compile to.
#[derive(Clone, Debug)]
pub struct Pattern(Arc<CompiledPattern>);

#[derive(Debug)]
struct CompiledPattern {
    text: Topic,
    base: Base,
    /// What the place of every URL that matches begins with.
    prefix: String,
    /// What it has somewhere after that; perhaps nothing.
    literal: String,
    pattern: UrlPattern<Expression>,
    bytes: usize,
    _charge: Option<Charge>,
}

impl Drop for CompiledPattern {
    fn drop(&mut self) {
        KNOWN.forget(&(self.text.clone(), self.base.clone()));
    }
}

impl Pattern {
    /// The pattern that `text` is, if it is compiled already.
    pub(super) fn known(text: &str, base: &Base) -> Option<Self> {
        KNOWN.get(&(Topic::from(text), base.clone())).map(Self)
    }

    /// # Errors
    /// If `text` is no URL pattern, or compiles to more than allowed.
    pub(super) fn read(
        text: &str,
        base: &Base,
        allowance: &mut Allowance,
    ) -> Result<Self, InvalidSelectors> {
        let key = (Topic::from(text), base.clone());
        if let Some(known) = KNOWN.get(&key) {
            return Ok(Self(known));
        }
        // What the compiler says of it is not repeated: it quotes expressions that nobody wrote.
        let refused = |_| InvalidSelectors::NoPattern { bytes_max: PATTERN_BYTES };
        // A pattern that names a scheme needs no base; with one, the library would take the
        // path of `urn:` for one that begins with a slash.
        let parse = |base| UrlPatternInit::parse_constructor_string::<Expression>(text, base);
        let compile = || {
            let init = parse(None).or_else(|_| parse(Some(base.url().clone())))?;
            UrlPattern::parse(init, UrlPatternOptions::default())
        };
        let max = allowance.next_max();
        let (pattern, taken) = allowance::bounded(max, compile);
        let pattern = pattern.map_err(|error| match allowance.too_complex() {
            // Its text may be no pattern; but the others have left too little for most that are.
            together @ InvalidSelectors::TooComplexTogether { .. }
                if taken > 0 || max < PATTERN_BYTES / 2 =>
            {
                together
            }
            _ => refused(error),
        })?;
        allowance.spend(taken + PATTERN_BYTES_AROUND);
        // Each of eight components keeps its text in some forms.
        let bytes = taken.min(max) + 8 * text.len() + 2 * PATTERN_BYTES_AROUND;
        let charge = allowance.charge(bytes)?;
        let (prefix, literal) = (prefix(&pattern), literal(pattern.pathname()).to_owned());
        let text = key.0.clone();
        let base = base.clone();
        let compiled =
            CompiledPattern { text, base, prefix, literal, pattern, bytes, _charge: charge };
        Ok(Self(KNOWN.add(key, compiled)))
    }

    /// What it takes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes
    }

    /// The pattern as it was written.
    pub fn text(&self) -> &Topic {
        &self.0.text
    }

    /// What it, and topics, are resolved against.
    pub fn base(&self) -> &Base {
        &self.0.base
    }

    /// What the [`Location::place`] of every topic that matches begins with.
    pub fn prefix(&self) -> &str {
        &self.0.prefix
    }

    /// What the place of every topic that matches has somewhere after the [`Pattern::prefix`];
    /// perhaps nothing.
    pub fn literal(&self) -> &str {
        &self.0.literal
    }

    /// The most steps that [`Pattern::matches`] takes, in those of templates.
    pub fn steps(&self, topic: &str) -> usize {
        TRY_STEPS + TRY_STEPS_PER_BYTE * topic.len()
    }

    /// Whether `topic`, read against the pattern's own base, matches.
    pub fn matches(&self, topic: &Location) -> bool {
        topic.place.starts_with(&self.0.prefix)
            && self.0.pattern.test(UrlPatternMatchInput::Url(topic.url.clone())).unwrap_or(false)
    }
}

/// A topic as a URL.
#[derive(Debug)]
pub struct Location {
    url: Url,
    /// Scheme, host, port and path: what patterns are found by.
    pub place: String,
}

impl Location {
    /// The URL that `topic` is, seen from the hub; `None` if it is none, and then no pattern
    /// matches it.
    pub fn of(topic: &str, base: &Base) -> Option<Self> {
        let url = base.url().join(topic).ok()?;
        let port = url.port().map(|port| port.to_string()).unwrap_or_default();
        let host = url.host_str().unwrap_or_default();
        let place = format!("{}://{host}:{port}{}", url.scheme(), url.path());
        Some(Self { url, place })
    }
}

/// Whether a character of a pattern may stand for more than itself.
fn special(c: char) -> bool {
    "*+?:{}()\\".contains(c)
}

/// The literal beginning of a pattern, as far as all of scheme, host and port are literal.
fn prefix(pattern: &UrlPattern<Expression>) -> String {
    let (scheme, host, port) = (pattern.protocol(), pattern.hostname(), pattern.port());
    if [scheme, host, port].iter().any(|part| part.contains(special)) {
        return String::new();
    }
    let path = pattern.pathname();
    let literal = match path.find(special) {
        None => path,
        // A slash before a group is the group's, and not there where the group is optional.
        Some(at) => path[..at].strip_suffix('/').unwrap_or(&path[..at]),
    };
    format!("{scheme}://{host}:{port}{literal}")
}

/// The longest literal of a pattern's path between groups, or after the last. A group that has
/// a modifier may be missing with all around it, so beside those only what ends the path counts.
fn literal(path: &str) -> &str {
    let Some(last) = path.rfind(special) else { return "" };
    // A name has no other ASCII characters. What follows it is set apart where it could be of it.
    let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$' || !c.is_ascii();
    let after_name = |text| str::trim_start_matches(text, is_name);
    if path.contains(|c| c != ':' && special(c)) {
        let end = &path[last + 1..];
        return if path[last..].starts_with(':') { after_name(end) } else { end };
    }
    path.split(':').skip(1).map(after_name).max_by_key(|text| text.len()).unwrap_or_default()
}

/// One regular expression of a pattern. Most are never needed: a literal and a single wildcard
/// are matched without.
#[derive(Debug)]
struct Expression {
    source: String,
    automaton: OnceLock<Option<Automaton>>,
}

impl Expression {
    fn automaton(&self) -> Option<&Automaton> {
        let compile = || {
            let built = Automaton::of_expression(&self.source, allowance::left());
            let Built { automaton, work } = built.ok()?;
            allowance::take(work);
            Some(automaton)
        };
        self.automaton.get_or_init(compile).as_ref()
    }

    /// Whether it is what a literal or a single wildcard is turned into.
    fn is_simple(&self) -> bool {
        const WILDCARDS: [&str; 4] = ["(.*)", "([^/]+?)", "([^\\/]+?)", "(.+?)"];
        let literal = WILDCARDS
            .iter()
            .find_map(|wildcard| self.source.split_once(wildcard))
            .map(|(before, after)| [before, after])
            .unwrap_or([self.source.as_str(), ""]);
        literal.iter().all(|part| !part.contains(['(', ')', '*', '{', '|', '+', '?']))
    }
}

impl RegExp for Expression {
    fn syntax() -> RegexSyntax {
        RegexSyntax::Rust
    }

    fn parse(pattern: &str, _flags: &str, _force_eval: bool) -> Result<Self, ()> {
        let expression = Self { source: pattern.to_owned(), automaton: OnceLock::new() };
        // A bad one is to be refused when it comes, not found out later.
        if !expression.is_simple() && expression.automaton().is_none() {
            return Err(());
        }
        Ok(expression)
    }

    /// Whether it matches: what its groups match is never asked for.
    fn matches<'a>(&self, text: &'a str) -> Option<Vec<Option<&'a str>>> {
        self.automaton()?.matches(text).then(Vec::new)
    }

    fn pattern_string(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.text.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str, base: &Base) -> Result<Pattern, InvalidSelectors> {
        Pattern::read(text, base, &mut Allowance::unlimited())
    }

    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let base = Base::of_host("https", "h.test").unwrap();
        let pattern = read(pattern, &base).unwrap();
        let matches =
            |topic: &str| Location::of(topic, &base).is_some_and(|topic| pattern.matches(&topic));
        for topic in matching {
            assert!(matches(topic), "{pattern} does not match {topic:?}");
        }
        for topic in others {
            assert!(!matches(topic), "{pattern} matches {topic:?}");
        }
    }

    #[test]
    fn the_host_is_matched_in_any_case_and_the_path_is_not() {
        check(
            "https://a.test/books/:id",
            &[
                "https://A.test/books/7",
                "https://a.test/books/7",
                "https://u:p@a.test/books/7",
                "https://a.test:443/books/7?q#f",
            ],
            &[
                "https://a.test/Books/7",
                "https://a.test/books/7/8",
                "https://a.test/books/",
                "https://b.test/books/7",
                "http://[",
            ],
        );
    }

    #[test]
    fn relative_patterns_and_topics_are_resolved_against_the_hub() {
        check(
            "/books/:id",
            &["/books/7", "https://h.test/books/7", "../books/7"],
            &["https://a.test/books/7", "http://[", "books/7", "http://h.test/books/7"],
        );
        check("https://h.test/books/:id", &["/books/7"], &["//a.test/books/7"]);
    }

    #[test]
    fn groups_modifiers_and_expressions_are_matched() {
        check(
            "https://a.test/books/:id?",
            &["https://a.test/books", "https://a.test/books/1"],
            &["https://a.test/books/1/2"],
        );
        check("https://a.test/:a/:b", &["https://a.test/1/2"], &["https://a.test/1"]);
        check(
            "https://a.test/{books/}?*",
            &["https://a.test/", "https://a.test/books/9"],
            &["https://b.test/"],
        );
        check("https://a.test/(\\d+)", &["https://a.test/12"], &["https://a.test/x"]);
        check(
            "https://*.a.test/*",
            &["https://x.a.test/y", "https://x.y.a.test/"],
            &["https://a.test/"],
        );
        check("https://a.test/x?q=*", &["https://a.test/x?q=1"], &["https://a.test/x?r=1"]);
        check("urn\\:uuid\\:*", &["urn:uuid:1"], &["urn:isbn:1"]);
    }

    #[test]
    fn what_is_no_pattern_or_a_hostile_one_is_refused() {
        for pattern in [
            "https://a.test/(",
            "https://a.test/([)",
            "https://a.test/(?=x)",
            "https://a.test/((?:a{1000}){1000})",
            "https://a.test/:a:a",
            "https://a.test/{",
            "https://[/",
        ] {
            let read = read(pattern, &Base::default());
            assert!(matches!(read, Err(InvalidSelectors::NoPattern { .. })), "{pattern}: {read:?}");
        }
        let long = format!("https://a.test{}", "/:a(\\w{50})".repeat(300).replace(":a", ""));
        assert!(read(&long, &Base::default()).is_err());
        assert!(read("*://*/([^N]*a[a-z]{3600})", &Base::default()).is_err());
    }

    #[test]
    fn the_prefix_is_what_all_that_match_begin_with() {
        let prefix = |text: &str| read(text, &Base::default()).unwrap().prefix().to_owned();
        assert_eq!(prefix("https://a.test/books/:id"), "https://a.test:/books");
        assert_eq!(prefix("https://a.test:8443/b/x"), "https://a.test:8443/b/x");
        assert_eq!(prefix("https://*.test/books"), "");
        assert_eq!(prefix("/a/*"), "https://hub.invalid:/a");
        assert_eq!(prefix("https://a.test/b{c}?"), "https://a.test:/b");
    }

    #[test]
    fn the_literal_is_what_all_that_match_have_after_the_prefix() {
        let literal = |text: &str| read(text, &Base::default()).unwrap().literal().to_owned();
        assert_eq!(literal("https://a.test/books/:id"), "");
        assert_eq!(literal("https://a.test/:kind/x1"), "/x1");
        assert_eq!(literal("https://a.test/:a/books/:b/x"), "/books/");
        assert_eq!(literal("https://*.test/:a/books"), "/books");
        assert_eq!(literal("https://a.test/books"), "");
        assert_eq!(literal("https://a.test/:a?/books/:b"), "");
        assert_eq!(literal("https://a.test/:a?/books/:b/x"), "/x");
        assert_eq!(literal("https://a.test/{books/}?*"), "");
        assert_eq!(literal("https://a.test/*/x"), "/x");
        assert_eq!(literal("https://a.test/(\\d+)/x?q=*"), "/x");
        assert_eq!(literal("https://a.test/:a/é/:c"), "/%C3%A9/");
        assert_eq!(literal("https://a.test/{:a}b/:c"), "");
    }

    #[test]
    fn a_host_that_is_none_is_no_base() {
        for host in ["", "a/b", "a?b", "a b", "[", "a#b"] {
            assert_eq!(Base::of_host("http", host), None, "{host:?}");
        }
        assert!(Base::of_host("http", "localhost:8081").is_some());
    }
}
