//! How often each act, each outcome and each check occurred.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::invariants::Invariant;

/// Counts of one or many simulations.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    acts: BTreeMap<&'static str, u64>,
    outcomes: BTreeMap<String, u64>,
    checks: BTreeMap<Invariant, u64>,
    /// Simulated time.
    pub(crate) time: Duration,
    pub(crate) steps: u64,
    pub(crate) boots: u64,
}

impl Counts {
    pub(crate) fn act(&mut self, name: &'static str) {
        *self.acts.entry(name).or_default() += 1;
    }

    /// Counts something that happened.
    pub(crate) fn outcome(&mut self, name: &str) {
        match self.outcomes.get_mut(name) {
            Some(count) => *count += 1,
            None => drop(self.outcomes.insert(name.to_owned(), 1)),
        }
    }

    pub(crate) fn check(&mut self, invariant: Invariant) {
        *self.checks.entry(invariant).or_default() += 1;
    }

    /// Adds the counts of another simulation.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.acts {
            *self.acts.entry(name).or_default() += count;
        }
        for (name, count) in &other.outcomes {
            *self.outcomes.entry(name.clone()).or_default() += count;
        }
        for (invariant, count) in &other.checks {
            *self.checks.entry(*invariant).or_default() += count;
        }
        self.time += other.time;
        self.steps += other.steps;
        self.boots += other.boots;
    }

    /// How often a step checked this invariant against something that happened.
    pub fn checks_of(&self, invariant: Invariant) -> u64 {
        self.checks.get(&invariant).copied().unwrap_or(0)
    }

    /// Simulated time.
    pub fn time(&self) -> Duration {
        self.time
    }

    /// How often each kind of act was carried out.
    pub fn acts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.acts.iter().map(|(name, count)| (*name, *count))
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} steps, {} boots, {:.1} h of simulated time",
            self.steps,
            self.boots,
            self.time.as_secs_f64() / 3600.0
        )?;
        writeln!(f, "acts:")?;
        for (name, count) in &self.acts {
            writeln!(f, "  {count:>12}  {name}")?;
        }
        writeln!(f, "outcomes:")?;
        for (name, count) in &self.outcomes {
            writeln!(f, "  {count:>12}  {name}")?;
        }
        writeln!(f, "checks:")?;
        for invariant in Invariant::ALL {
            writeln!(f, "  {:>12}  {}", self.checks_of(invariant), invariant.name())?;
        }
        Ok(())
    }
}
