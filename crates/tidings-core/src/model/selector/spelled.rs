//! A selector as a request spells it.

use super::allowance::Allowance;
use super::{Base, InvalidSelectors, Pattern, Selector, Template};

/// A selector that is not read yet: it may take time to compile it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Spelled {
    /// `match` and `match_exact` of Mercure 1.0.
    Exact(String),
    /// `topic` of Mercure 0.x.
    Template(String),
    /// `match_urlpattern` of Mercure 1.0.
    Pattern(String, Base),
}

impl Spelled {
    /// Its text.
    pub fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Template(text) | Self::Pattern(text, _) => text,
        }
    }

    /// The selector, if there is nothing to compile: no pattern, or one that is in use already.
    ///
    /// # Errors
    /// If it is invalid, as far as that is seen without compiling it.
    pub fn ready(&self) -> Result<Option<Selector>, InvalidSelectors> {
        match self {
            Self::Exact(text) => Selector::new(text).map(Some),
            Self::Template(text) => {
                let exact = Selector::new(text)?;
                if let Some(template) = Template::known(text) {
                    return Ok(Some(Selector::Template(template)));
                }
                Ok((!Template::is_template(text)).then_some(exact))
            }
            Self::Pattern(text, base) => match Selector::new(text)? {
                Selector::All => Ok(Some(Selector::All)),
                _ => Ok(Pattern::known(text, base).map(Selector::Pattern)),
            },
        }
    }

    /// # Errors
    /// If it is invalid, or compiles to more than the request may spend.
    pub fn compile(&self, allowance: &mut Allowance) -> Result<Selector, InvalidSelectors> {
        match self {
            Self::Exact(text) => Selector::new(text),
            Self::Template(text) => Selector::template_within(text, allowance),
            Self::Pattern(text, base) => Selector::pattern_within(text, base, allowance),
        }
    }
}
