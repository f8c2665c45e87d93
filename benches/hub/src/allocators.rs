//! The same hub, built with several allocators.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::measure::{FIGURES, Folder, IDLE, Lane, STREAMS, TLS_LANES, measure, median, shown};
use crate::process::{Servers, hub};

/// Without TLS there is the direct lane.
const PLAIN: Lane = ("HTTP/1.1", &[]);

/// Measures builds that are given as `NAME=PATH`. They take turns within each round.
pub(crate) fn compare(rounds: usize, builds: &[&str]) -> Result<()> {
    let mut named = Vec::new();
    for build in builds {
        named.push(build.split_once('=').context("a build is NAME=PATH")?);
    }
    let builds = named;
    let folder = Folder::new()?;
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let tls = ["--journal", "memory", "--tls-cert", &cert, "--tls-key", &key];
    let lanes = [(PLAIN, &tls[..2]), (TLS_LANES[0], &tls[..]), (TLS_LANES[2], &tls[..])];
    let mut rows = Vec::new();
    for ((name, load), flags) in lanes {
        // For each build, each figure's values.
        let mut measured = vec![vec![Vec::new(); FIGURES.len()]; builds.len()];
        for round in 1..=rounds {
            for ((build, path), values) in builds.iter().zip(&mut measured) {
                eprintln!("round {round}: {name}: {build}");
                let start = || {
                    let (child, url) = hub(Path::new(path), "127.0.0.1:0", flags)?;
                    Ok(Servers::new(url, vec![child]))
                };
                for (values, value) in values.iter_mut().zip(measure(start, load, false)?) {
                    values.push(value);
                }
            }
        }
        rows.push((name, measured));
    }
    println!("Median of {rounds}; {STREAMS} streams, {IDLE} idle ones; 100 bytes of data.\n");
    let names: Vec<_> = builds.iter().map(|(name, _)| *name).collect();
    println!("| | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for (name, measured) in rows {
        println!("| **{name}** |{}", " |".repeat(names.len()));
        for (figure, what) in FIGURES.iter().enumerate() {
            let values: Vec<_> =
                measured.iter().map(|figures| shown(median(&figures[figure]))).collect();
            println!("| {what} | {} |", values.join(" | "));
        }
    }
    Ok(())
}
