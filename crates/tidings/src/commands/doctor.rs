//! `tidings doctor`: finds what keeps a hub from working well, and says what to change.

mod machine;
mod path;

use crate::args::DoctorArgs;
use crate::console::put;
use crate::outcome::Outcome;

/// What one check found.
struct Finding {
    about: &'static str,
    verdict: Verdict,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Good,
    /// It works, and could work better.
    Advice,
    /// It does not work.
    Problem,
}

impl Finding {
    fn good(about: &'static str, text: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Good, text: text.into() }
    }

    fn advice(about: &'static str, text: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Advice, text: text.into() }
    }

    fn problem(about: &'static str, text: impl Into<String>) -> Self {
        Self { about, verdict: Verdict::Problem, text: text.into() }
    }

    fn print(&self) {
        let word = match self.verdict {
            Verdict::Good => "ok",
            Verdict::Advice => "advice",
            Verdict::Problem => "problem",
        };
        put!("{word:<9}{:<15}{}", self.about, self.text);
    }
}

pub(crate) async fn run(args: DoctorArgs) -> anyhow::Result<Outcome> {
    let mut findings = machine::check(args.serve);
    findings.iter().for_each(Finding::print);
    if let Some(url) = &args.url {
        let found = path::check(url, &args.request).await?;
        found.iter().for_each(Finding::print);
        findings.extend(found);
    }
    let problems = findings.iter().filter(|one| one.verdict == Verdict::Problem).count();
    match problems {
        0 => Ok(Outcome::Done),
        1 => anyhow::bail!("found a problem"),
        count => anyhow::bail!("found {count} problems"),
    }
}
