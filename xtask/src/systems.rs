//! Names that only some systems have stand behind a `cfg`: the crates compile on every system that
//! Rust, tokio and SQLite support, although the steps run on Linux.
//!
//! The modules of each crate are read from its root, with the `cfg`s on the way. For each system in
//! [`cfg::ALL`], a name may be used only where that system has it.

mod cfg;
mod code;
mod names;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{cargo, output};
use crate::outcome::Outcome;
use cfg::Cfg;
use code::Code;
use names::Name;

/// Looks at the code of every crate, without tests and benchmarks.
///
/// # Errors
/// If a name is used on a system without it, with every finding in the text.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let json =
        output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(root))?;
    let metadata: Value = serde_json::from_str(&json).context("cargo metadata is not JSON")?;
    let mut findings = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let names = [names::all()?, dependencies(package)?].concat();
        for target in package["targets"].as_array().into_iter().flatten() {
            let kinds = target["kind"].as_array().into_iter().flatten();
            if kinds.filter_map(Value::as_str).any(|kind| matches!(kind, "test" | "bench")) {
                continue;
            }
            let file = PathBuf::from(target["src_path"].as_str().context("a target has no file")?);
            let folder = file.parent().unwrap_or(root).to_owned();
            read(root, &file, &folder, &[], &names, &mut findings)?;
        }
    }
    findings.sort();
    findings.dedup();
    if findings.is_empty() {
        return Ok(Outcome::Passed);
    }
    bail!("names that not every system has:\n{}", findings.join("\n"))
}

/// Dependencies that a crate has on some systems only.
fn dependencies(package: &Value) -> Result<Vec<Name>> {
    let mut names = Vec::new();
    for one in package["dependencies"].as_array().into_iter().flatten() {
        let cfg = one["target"]
            .as_str()
            .and_then(|target| target.strip_prefix("cfg(").and_then(|cfg| cfg.strip_suffix(')')));
        if let Some(cfg) = cfg
            && one["kind"].is_null()
        {
            let name = one["rename"].as_str().or(one["name"].as_str());
            let name = name.context("a dependency has no name")?.replace('-', "_");
            let on = Cfg::parse(cfg)?;
            names.push(Name { text: name, on, reason: "a dependency of some systems" });
        }
    }
    Ok(names)
}

/// Reads a file and the modules that it declares. `folder` has their files.
fn read(
    root: &Path,
    file: &Path,
    folder: &Path,
    behind: &[Cfg],
    names: &[Name],
    findings: &mut Vec<String>,
) -> Result<()> {
    let shown = file.strip_prefix(root).unwrap_or(file).display();
    let text = fs::read_to_string(file).with_context(|| shown.to_string())?;
    let code = Code::read(&text, behind, names).with_context(|| shown.to_string())?;
    findings.extend(code.findings.iter().map(|finding| format!("{shown}:{finding}")));
    for module in code.modules {
        // Tests run on the system of the steps.
        if !cfg::ALL.iter().any(|system| module.behind.iter().all(|cfg| cfg.may_hold(system))) {
            continue;
        }
        let folder = folder.join(&module.path);
        let beside = folder.with_extension("rs");
        let file = if beside.is_file() { beside } else { folder.join("mod.rs") };
        read(root, &file, &folder, &module.behind, names, findings)?;
    }
    Ok(())
}
