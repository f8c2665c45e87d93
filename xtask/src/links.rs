//! Links to files in the documentation must lead to existing files.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::outcome::Outcome;
use crate::tree;

/// Looks at the relative links of every Markdown file, in the form `[text](target)`.
///
/// # Errors
/// If a link leads nowhere. The text lists all such links.
pub(crate) fn check(root: &Path) -> Result<Outcome> {
    let Some(files) = tree::files(root)? else {
        return Ok(Outcome::Skipped("this is not a git checkout".to_owned()));
    };
    let mut broken = Vec::new();
    for name in files.iter().filter(|name| name.ends_with(".md")) {
        let file = root.join(name);
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let folder = file.parent().unwrap_or(root);
        for (number, target) in targets(&text) {
            if !folder.join(target).exists() {
                broken.push(format!("{name}:{number}: {target}"));
            }
        }
    }
    if broken.is_empty() {
        return Ok(Outcome::Passed);
    }
    bail!("links to missing files:\n  {}", broken.join("\n  "))
}

/// The files that links name, without the anchors, each with the number of its line.
fn targets(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut in_code = false;
    let prose = text.lines().zip(1..).filter(move |(line, _)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    });
    prose.flat_map(|(line, number)| {
        let links = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let files = links.map(|(target, _)| target.split('#').next().unwrap_or(target));
        files
            .filter(|file| {
                !file.is_empty() && !file.contains("://") && !file.starts_with("mailto:")
            })
            .map(move |file| (number, file))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(targets(text).map(|(_, target)| target).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn links_to_files_are_found_without_their_anchors() {
        check("See [a](a.md), and\n- [b](docs/b.md#top).", &["a.md", "docs/b.md"]);
    }

    #[test]
    fn links_to_urls_and_to_anchors_are_not_files() {
        check("[a](https://a.test/b) [b](#words) [c](mailto:a@a.test)", &[]);
    }

    #[test]
    fn a_link_in_code_is_ignored() {
        check("```rust\n#[a](b)\n```\n[c](d)", &["d"]);
    }
}
