//! Finds what must not be in a commit: large files, and download addresses of packages.
//!
//! A lock file written behind a company's mirror names that mirror, and then builds nowhere else.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::command::{command, output};
use crate::outcome::Outcome;

const FILE_BYTES_MAX: u64 = 1_000_000;

/// The name endings of files that package registries serve.
const PACKAGE_ENDINGS: [&str; 7] = [".tgz", ".tar.gz", ".whl", ".crate", ".deb", ".jar", ".zip"];

/// Settings of pip, npm and cargo that name a registry, in the files that can hold them.
const REGISTRY_SETTINGS: [(&str, &[&str]); 4] = [
    (".txt", &["--index-url", "--extra-index-url", "--find-links"]),
    (".npmrc", &["registry=", "registry ="]),
    (".cargo/config.toml", &["[source", "[registr", "replace-with"]),
    ("Cargo.toml", &["registry =", "registry-index ="]),
];

/// The files that are in the commit, or would be after `git add --all`; `None` outside of git.
///
/// # Errors
/// If git fails.
pub(crate) fn files(root: &Path) -> Result<Option<Vec<String>>> {
    // The target of a symbolic link is another file, or outside the tree.
    listed(root, |metadata| metadata.is_file())
}

/// The symbolic links that are in the commit, or would be after `git add --all`.
///
/// # Errors
/// If git fails.
pub(crate) fn symbolic_links(root: &Path) -> Result<Option<Vec<String>>> {
    listed(root, |metadata| metadata.is_symlink())
}

fn listed(root: &Path, is_wanted: impl Fn(&fs::Metadata) -> bool) -> Result<Option<Vec<String>>> {
    if !root.join(".git").exists() {
        return Ok(None);
    }
    let list = output(
        command("git")
            .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
            .current_dir(root),
    )?;
    // A deleted file does not exist.
    let is_there = |name: &&str| {
        let metadata = root.join(name).symlink_metadata();
        metadata.is_ok_and(|metadata| is_wanted(&metadata))
    };
    Ok(Some(list.split_terminator('\0').filter(is_there).map(str::to_owned).collect()))
}

/// Looks at every one of [`files`].
///
/// # Errors
/// If one must not be committed, with every finding in the text.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let Some(files) = files(root)? else {
        return Ok(Outcome::Skipped("this is not a git checkout".to_owned()));
    };
    let mut findings = Vec::new();
    for name in &files {
        let file = root.join(name);
        let bytes = fs::read(&file).with_context(|| file.display().to_string())?;
        if bytes.len() as u64 > FILE_BYTES_MAX {
            findings.push(format!("{name}: {} bytes, {FILE_BYTES_MAX} allowed", bytes.len()));
        }
        findings.extend(addresses(name, &String::from_utf8_lossy(&bytes)));
    }
    if findings.is_empty() {
        return Ok(Outcome::Passed);
    }
    bail!("what must not be committed:\n  {}", findings.join("\n  "))
}

fn addresses(name: &str, text: &str) -> Vec<String> {
    let settings: Vec<&str> = REGISTRY_SETTINGS
        .iter()
        .filter(|(file, _)| name.ends_with(file))
        .flat_map(|(_, settings)| settings.iter().copied())
        .collect();
    let mut findings = Vec::new();
    for (line, number) in text.lines().zip(1..) {
        if let Some(setting) =
            settings.iter().find(|setting| line.trim_start().starts_with(*setting))
        {
            findings.push(format!("{name}:{number}: {setting} chooses a registry"));
        }
        if urls(line).any(is_package) {
            findings.push(format!("{name}:{number}: the address of a package file"));
        }
    }
    findings
}

fn urls(line: &str) -> impl Iterator<Item = &str> {
    let starts = line.match_indices("http").map(|(at, _)| &line[at..]);
    starts.filter(|text| text.starts_with("http://") || text.starts_with("https://")).map(|text| {
        let end = |c: char| c.is_whitespace() || "\"'`<>()[]{}\\,;".contains(c);
        text.split(end).next().unwrap_or(text)
    })
}

fn is_package(url: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or(url).trim_end_matches('.');
    PACKAGE_ENDINGS.iter().any(|ending| path.ends_with(ending))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, line: &str, findings: usize) {
        assert_eq!(addresses(name, line).len(), findings, "{line}");
    }

    /// An address put together at run time, so that this file itself passes the check.
    fn url(path: &str) -> String {
        format!("https://registry.test/{path}")
    }

    #[test]
    fn the_address_of_a_package_file_is_found_wherever_it_stands() {
        check("package-lock.json", &format!("  \"resolved\": \"{}\",", url("a/-/a-1.0.0.tgz")), 1);
        check("README.md", &format!("Get {}#sha256=00 first.", url("a-1.0.whl")), 1);
        check("README.md", &format!("Get it ({}).", url("a-1.0.tar.gz")), 1);
    }

    #[test]
    fn other_addresses_are_ignored() {
        check("README.md", &format!("See {}.", url("docs/a.html")), 0);
        check("README.md", "unzip a.zip from http", 0);
    }

    #[test]
    fn a_setting_that_chooses_a_registry_is_found_in_its_own_file_only() {
        check(".npmrc", &format!("registry={}", url("npm/")), 1);
        check("requirements.txt", &format!("--index-url {}", url("simple")), 1);
        check("notes.md", "registry=here", 0);
    }
}
