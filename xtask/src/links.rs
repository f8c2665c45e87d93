//! Links in the documentation must lead to existing files, and to headings that they have.

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
        for (number, target, anchor) in targets(&text) {
            let leads = if target.is_empty() {
                has_heading(&text, anchor)
            } else {
                let to = folder.join(target);
                let is_page = !anchor.is_empty() && target.ends_with(".md");
                to.exists() && (!is_page || has_heading(&fs::read_to_string(to)?, anchor))
            };
            if !leads {
                broken.push(format!("{name}:{number}: {target}#{anchor}"));
            }
        }
    }
    if broken.is_empty() {
        return Ok(Outcome::Passed);
    }
    bail!("links to missing files:\n  {}", broken.join("\n  "))
}

/// The files and anchors that links name, each with the number of its line. Both may be empty.
fn targets(text: &str) -> impl Iterator<Item = (usize, &str, &str)> {
    prose(text).flat_map(|(line, number)| {
        let links = line.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
        let ours = links.map(|(target, _)| target);
        ours.filter(|target| !target.contains("://") && !target.starts_with("mailto:"))
            .map(|target| target.split_once('#').unwrap_or((target, "")))
            .filter(|(file, anchor)| !(file.is_empty() && anchor.is_empty()))
            .map(move |(file, anchor)| (number, file, anchor))
    })
}

/// The lines outside of code blocks, with their numbers.
fn prose(text: &str) -> impl Iterator<Item = (&str, usize)> {
    let mut in_code = false;
    text.lines().zip(1..).filter(move |(line, _)| {
        let fence = line.trim_start().starts_with("```");
        in_code ^= fence;
        !in_code && !fence
    })
}

/// Whether a page has a heading with this anchor. No anchor is the page itself.
fn has_heading(text: &str, anchor: &str) -> bool {
    let headings = prose(text).filter_map(|(line, _)| line.strip_prefix('#'));
    anchor.is_empty()
        || headings
            .map(|heading| heading.trim_start_matches('#').trim())
            .any(|heading| slug(heading) == anchor)
}

/// The anchor of a heading, as GitHub makes it: lower case, hyphens for spaces, no punctuation.
fn slug(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str)]) {
        let found: Vec<_> = targets(text).map(|(_, file, anchor)| (file, anchor)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn links_to_files_and_anchors_are_found() {
        let text = "See [a](a.md), [c](#c), and\n- [b](docs/b.md#top).";
        check(text, &[("a.md", ""), ("", "c"), ("docs/b.md", "top")]);
    }

    #[test]
    fn links_to_urls_are_not_files() {
        check("[a](https://a.test/b#c) [c](mailto:a@a.test)", &[]);
    }

    #[test]
    fn a_link_in_code_is_ignored() {
        check("```rust\n#[a](b)\n```\n[c](d)", &[("d", "")]);
    }

    #[test]
    fn an_anchor_is_a_heading_without_punctuation() {
        let page = "# The hub's `key`: 1. step\n```sh\n# a comment\n```\n";
        assert!(has_heading(page, "the-hubs-key-1-step"));
        assert!(!has_heading(page, "a-comment"));
    }
}
