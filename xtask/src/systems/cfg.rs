//! Conditions of `cfg`, and the systems that they are tried on.

use anyhow::{Result, bail};
use syn::punctuated::Punctuated;
use syn::{Expr, ExprLit, Lit, Meta, Token};

/// A system as conditions describe it.
#[derive(Debug)]
pub(super) struct System {
    pub(super) name: &'static str,
    os: &'static str,
    family: &'static str,
    env: &'static str,
}

const fn system(
    name: &'static str,
    os: &'static str,
    family: &'static str,
    env: &'static str,
) -> System {
    System { name, os, family, env }
}

/// Systems that differ in what they have.
pub(super) const ALL: [System; 6] = [
    system("Linux", "linux", "unix", "gnu"),
    system("Linux with musl", "linux", "unix", "musl"),
    system("Android", "android", "unix", ""),
    system("macOS", "macos", "unix", ""),
    system("FreeBSD", "freebsd", "unix", ""),
    system("Windows", "windows", "windows", "msvc"),
];

/// A condition.
#[derive(Clone, Debug)]
pub(super) enum Cfg {
    All(Vec<Cfg>),
    Any(Vec<Cfg>),
    Not(Box<Cfg>),
    /// `unix`, `test` and the like.
    Flag(String),
    /// `target_os = "linux"` and the like.
    Pair(String, String),
}

/// Whether a condition can be true on a system, and whether it can be false: features are on or off.
#[derive(Clone, Copy)]
struct Can {
    hold: bool,
    fail: bool,
}

impl Can {
    fn known(holds: bool) -> Self {
        Self { hold: holds, fail: !holds }
    }

    const BOTH: Self = Self { hold: true, fail: true };
}

impl Cfg {
    /// # Errors
    /// If it is no condition.
    pub(super) fn parse(text: &str) -> Result<Self> {
        Self::of(&syn::parse_str(text)?)
    }

    /// # Errors
    /// If it is no condition.
    pub(super) fn of(meta: &Meta) -> Result<Self> {
        Ok(match meta {
            Meta::Path(path) => Self::Flag(name(path)?),
            Meta::NameValue(pair) => match &pair.value {
                Expr::Lit(ExprLit { lit: Lit::Str(value), .. }) => {
                    Self::Pair(name(&pair.path)?, value.value())
                }
                _ => bail!("a cfg has a value that is no string"),
            },
            Meta::List(list) => {
                let parts =
                    list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated)?;
                let mut parts = parts.iter().map(Self::of).collect::<Result<Vec<_>>>()?;
                match (name(&list.path)?.as_str(), parts.len()) {
                    ("all" | "cfg", _) => Self::All(parts),
                    ("any", _) => Self::Any(parts),
                    ("not", 1) => Self::Not(Box::new(parts.remove(0))),
                    (other, _) => bail!("a cfg has an unknown part: {other}"),
                }
            }
        })
    }

    /// Whether code behind it may be compiled on this system, with some choice of features. Tests
    /// are never compiled elsewhere.
    pub(super) fn may_hold(&self, system: &System) -> bool {
        self.can(system).hold
    }

    fn can(&self, system: &System) -> Can {
        match self {
            Self::All(parts) => {
                let parts = parts.iter().map(|part| part.can(system));
                parts.fold(Can::known(true), |all, one| Can {
                    hold: all.hold && one.hold,
                    fail: all.fail || one.fail,
                })
            }
            Self::Any(parts) => {
                let parts = parts.iter().map(|part| part.can(system));
                parts.fold(Can::known(false), |any, one| Can {
                    hold: any.hold || one.hold,
                    fail: any.fail && one.fail,
                })
            }
            Self::Not(part) => {
                let Can { hold, fail } = part.can(system);
                Can { hold: fail, fail: hold }
            }
            Self::Flag(flag) => match flag.as_str() {
                "unix" | "windows" => Can::known(system.family == flag),
                "test" => Can::known(false),
                _ => Can::BOTH,
            },
            Self::Pair(key, value) => match key.as_str() {
                "target_os" => Can::known(system.os == value),
                "target_family" => Can::known(system.family == value),
                "target_env" => Can::known(system.env == value),
                _ => Can::BOTH,
            },
        }
    }
}

fn name(path: &syn::Path) -> Result<String> {
    match path.get_ident() {
        Some(ident) => Ok(ident.to_string()),
        None => bail!("a cfg has a path"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cfg: &str, systems: &str) {
        let cfg = Cfg::parse(cfg).unwrap();
        let found: Vec<_> =
            ALL.iter().filter(|one| cfg.may_hold(one)).map(|one| one.name).collect();
        assert_eq!(found.join(", "), systems, "{cfg:?}");
    }

    #[test]
    fn a_condition_holds_on_the_systems_that_it_names() {
        check("unix", "Linux, Linux with musl, Android, macOS, FreeBSD");
        check("not(unix)", "Windows");
        check("target_os = \"linux\"", "Linux, Linux with musl");
        check("all(target_os = \"linux\", target_env = \"gnu\", feature = \"jemalloc\")", "Linux");
        check("any(target_os = \"macos\", windows)", "macOS, Windows");
        check("all(unix, not(target_os = \"linux\"))", "Android, macOS, FreeBSD");
        check("all(windows, not(feature = \"tls\"))", "Windows");
        check("all(test, unix)", "");
    }
}
