//! The modules of a crate form layers, and each uses only those below it.
//!
//! A module here is a file or folder right under `src`, or right under a folder that has an order of
//! its own. Its tests may use any other module: code behind `#[cfg(test)]` is not checked. Only names
//! are checked: a method that a higher module defines on a type of a lower one can be called from
//! anywhere.
//!
//! Some names of other crates belong to a few modules only: HTTP to `http` and `serve`, tokens to `access`.

mod boundaries;
mod names;
mod order;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use names::{Foreign, Used, parse};
use order::{CRATES, Layers};

/// Looks at every path of every crate that names another module of it.
///
/// # Errors
/// If a module uses one above it, or is on no layer, with every finding in the text.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let mut findings = Vec::new();
    for layers in CRATES {
        let read = |file: &str| fs::read_to_string(root.join(file)).ok();
        findings.extend(of_crate(layers, &read)?);
    }
    if findings.is_empty() {
        return Ok(Outcome::Passed);
    }
    bail!(
        "modules use names against the order and the boundaries in xtask/src/layers:\n  {}",
        findings.join("\n  ")
    )
}

/// The faults in the layers of one crate. `read` returns the text of an existing file.
fn of_crate(layers: &Layers, read: &dyn Fn(&str) -> Option<String>) -> Result<Vec<String>> {
    let Layers { root, within, order, boundaries } = *layers;
    let folder = match within {
        [] => root.rsplit_once('/').map_or("", |(folder, _)| folder),
        _ => root.trim_end_matches(".rs"),
    };
    let depth = within.len();
    let text = read(root).with_context(|| format!("{root} does not exist"))?;
    let within: Vec<String> = within.iter().map(|name| (*name).to_owned()).collect();
    let declared = parse(root, &text, within.clone())?.children;
    let mut findings = Vec::new();
    let names = || declared.iter().map(|child| child.path[depth].as_str());
    for name in order.iter().filter(|name| !names().any(|declared| declared == **name)) {
        findings.push(format!("{root}: the layer `{name}` is not a module of the crate"));
    }
    let mut modules = VecDeque::new();
    for child in &declared {
        if order.contains(&child.path[depth].as_str()) {
            modules.push_back(child.path.clone());
        } else {
            findings.push(format!(
                "{root}:{}: the module `{}` has no layer",
                child.line, child.path[depth]
            ));
        }
    }
    while let Some(path) = modules.pop_front() {
        let stem = format!("{folder}/{}", path[depth..].join("/"));
        let files = [format!("{stem}.rs"), format!("{stem}/mod.rs")];
        let (file, text) = files
            .iter()
            .find_map(|file| Some((file, read(file)?)))
            .with_context(|| format!("neither {} nor {} exists", files[0], files[1]))?;
        let parsed = parse(file, &text, path)?;
        modules.extend(parsed.children.into_iter().map(|child| child.path));
        let from = &parsed.module[depth];
        for Foreign { line, names } in &parsed.foreign {
            let crossed = boundaries.iter().find(|boundary| boundary.forbids(from, names));
            findings.extend(crossed.map(|boundary| {
                format!(
                    "{file}:{line}: {from} -> {}: only {:?} may use it",
                    boundary.name, boundary.modules
                )
            }));
        }
        let layer = |name: &str| order.iter().position(|one| *one == name);
        for Used { line, path } in &parsed.used {
            let Some([name, ..]) = path.strip_prefix(within.as_slice()) else { continue };
            if name == from {
                continue;
            }
            if !names().any(|declared| declared == name) {
                findings.push(format!(
                    "{file}:{line}: {from} -> crate::{name}: use it from the module that defines it"
                ));
            } else if layer(name) > layer(from) {
                findings.push(format!(
                    "{file}:{line}: {from} -> {name}: the layer `{name}` is above `{from}`"
                ));
            }
        }
    }
    // Several names from one module, in one line.
    findings.dedup();
    Ok(findings)
}

#[cfg(test)]
mod tests;
