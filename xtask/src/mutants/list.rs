//! The list of mutants: `crates/tidings-simulation/mutants.json`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

const FILE: &str = "crates/tidings-simulation/mutants.json";

/// A build with one fault.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mutant {
    pub(super) name: String,
    /// What the fault is, in one sentence.
    pub(super) fault: String,
    pub(super) file: String,
    /// The text that stands there, once.
    pub(super) text: String,
    pub(super) replacement: String,
    /// The invariant that must catch it.
    pub(super) invariant: String,
    /// Invariants that may catch it first, by the same fault.
    pub(super) or: Vec<String>,
    /// The only journal with which the fault shows.
    pub(super) journal: Option<String>,
    /// The number of seeds that the last run took.
    pub(super) seeds: Option<u64>,
    /// The invariant that caught it then.
    pub(super) caught_by: Option<String>,
}

impl Mutant {
    pub(super) fn is_caught_by(&self, invariant: &str) -> bool {
        self.invariant == invariant || self.or.iter().any(|one| one == invariant)
    }

    /// The file with the fault.
    ///
    /// # Errors
    /// If the text does not stand there exactly once.
    pub(super) fn mutated(&self, source: &str) -> Result<String> {
        let count = source.matches(&self.text).count();
        if count != 1 {
            bail!("the text of the mutant {} stands {count} times in {}", self.name, self.file);
        }
        Ok(source.replacen(&self.text, &self.replacement, 1))
    }
}

/// All mutants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mutants {
    pub(super) all: Vec<Mutant>,
}

impl Mutants {
    /// Reads the list.
    ///
    /// # Errors
    /// If it cannot be read, or an entry lacks a part.
    pub(super) fn read(root: &Path) -> Result<Self> {
        let text = fs::read_to_string(root.join(FILE)).with_context(|| FILE.to_owned())?;
        Self::parse(&text).with_context(|| FILE.to_owned())
    }

    pub(super) fn parse(text: &str) -> Result<Self> {
        let list: Vec<Value> = serde_json::from_str(text)?;
        Ok(Self { all: list.iter().map(mutant).collect::<Result<_>>()? })
    }

    /// Writes the list.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn write(&self, root: &Path) -> Result<()> {
        fs::write(root.join(FILE), self.text()).with_context(|| FILE.to_owned())
    }

    /// The list as it stands in the file.
    pub(super) fn text(&self) -> String {
        let mutants: Vec<String> = self.all.iter().map(written).collect();
        format!("[\n{}\n]\n", mutants.join(",\n"))
    }

    /// The indexes of the mutants with these names, or of all, those of one crate together.
    ///
    /// # Errors
    /// If there is no such mutant.
    pub(super) fn chosen(&self, names: &[String]) -> Result<Vec<usize>> {
        if let Some(unknown) =
            names.iter().find(|name| !self.all.iter().any(|one| one.name == **name))
        {
            bail!("there is no mutant {unknown:?}");
        }
        let is_chosen = |one: &Mutant| names.is_empty() || names.contains(&one.name);
        let mut chosen: Vec<usize> =
            (0..self.all.len()).filter(|index| is_chosen(&self.all[*index])).collect();
        // The next mutant of a crate is built together with the end of the one before.
        chosen.sort_by(|one, other| self.all[*one].file.cmp(&self.all[*other].file));
        Ok(chosen)
    }
}

fn mutant(value: &Value) -> Result<Mutant> {
    let name = value["name"].as_str().context("a mutant has no name")?.to_owned();
    let text = |part: &str| {
        value[part].as_str().map(str::to_owned).with_context(|| format!("{name} has no {part}"))
    };
    let strings = |part: &str| -> Result<Vec<String>> {
        let list = value[part].as_array().with_context(|| format!("{name} has no {part}"))?;
        let string = |one: &Value| one.as_str().map(str::to_owned);
        list.iter().map(string).collect::<Option<_>>().with_context(|| format!("{part} of {name}"))
    };
    Ok(Mutant {
        fault: text("fault")?,
        file: text("file")?,
        text: strings("text")?.join("\n"),
        replacement: strings("replacement")?.join("\n"),
        invariant: text("invariant")?,
        or: if value["or"].is_null() { Vec::new() } else { strings("or")? },
        journal: value["journal"].as_str().map(str::to_owned),
        seeds: value["seeds"].as_u64(),
        caught_by: value["caught_by"].as_str().map(str::to_owned),
        name,
    })
}

/// A mutant as it stands in the file.
fn written(mutant: &Mutant) -> String {
    let quoted = |text: &str| Value::from(text).to_string();
    let lines = |text: &str| {
        let lines: Vec<String> = text.split('\n').map(quoted).collect();
        match &lines[..] {
            [line] => format!("[{line}]"),
            lines => format!("[\n      {}\n    ]", lines.join(",\n      ")),
        }
    };
    let mut out = String::from("  {\n");
    let mut put = |name: &str, value: String| {
        let _ = writeln!(out, "    \"{name}\": {value},");
    };
    put("name", quoted(&mutant.name));
    put("fault", quoted(&mutant.fault));
    put("file", quoted(&mutant.file));
    put("text", lines(&mutant.text));
    put("replacement", lines(&mutant.replacement));
    put("invariant", quoted(&mutant.invariant));
    if !mutant.or.is_empty() {
        let or: Vec<String> = mutant.or.iter().map(|one| quoted(one)).collect();
        put("or", format!("[{}]", or.join(", ")));
    }
    if let Some(journal) = &mutant.journal {
        put("journal", quoted(journal));
    }
    if let Some(caught_by) = &mutant.caught_by {
        put("caught_by", quoted(caught_by));
    }
    let seeds = mutant.seeds.map_or_else(|| "null".to_owned(), |seeds| seeds.to_string());
    let _ = write!(out, "    \"seeds\": {seeds}\n  }}");
    out
}
