//! Commands about the program itself: `tidings completions`, `man` and `version`.

use std::fs;
use std::io::Write as _;

use anyhow::Context as _;
use clap_mangen::Man;
use serde_json::json;

use crate::args::{Cli, CompletionsArgs, ManArgs, VersionArgs};
use crate::console::{self, put};
use crate::outcome::Outcome;

pub(crate) fn completions(args: &CompletionsArgs) -> anyhow::Result<Outcome> {
    // The generator panics if it cannot write, so it writes into memory.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::described(), "tidings", &mut script);
    console::out().write_all(&script)?;
    Ok(Outcome::Done)
}

pub(crate) fn man(args: &ManArgs) -> anyhow::Result<Outcome> {
    let Some(folder) = &args.dir else {
        let mut page = Vec::new();
        Man::new(Cli::described()).render(&mut page)?;
        console::out().write_all(&page)?;
        return Ok(Outcome::Done);
    };
    let shown = folder.display();
    fs::create_dir_all(folder).with_context(|| format!("cannot create {shown}"))?;
    clap_mangen::generate_to(Cli::described(), folder)
        .with_context(|| format!("cannot write the man pages into {shown}"))?;
    Ok(Outcome::Done)
}

pub(crate) fn version(args: &VersionArgs) -> anyhow::Result<Outcome> {
    let version = env!("CARGO_PKG_VERSION");
    if !args.json {
        put!("tidings {version}");
        return Ok(Outcome::Done);
    }
    let features = [
        ("jemalloc", cfg!(feature = "jemalloc")),
        ("nats", cfg!(feature = "nats")),
        ("tls", cfg!(feature = "tls")),
    ];
    let features = features.iter().filter(|(_, is_on)| *is_on).map(|(name, _)| *name);
    let about = json!({
        "version": version,
        "features": features.collect::<Vec<_>>(),
        "os": std::env::consts::OS,
        "arch": std::env::consts::ARCH,
    });
    put!("{about}");
    Ok(Outcome::Done)
}
