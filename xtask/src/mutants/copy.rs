//! The copy of the sources that mutants are made of.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::list::Mutant;
use crate::tree;

/// A copy of the sources, with a target folder that all mutants share.
#[derive(Debug)]
pub(super) struct SourceCopy {
    root: PathBuf,
    pub(super) sources: PathBuf,
    pub(super) target: PathBuf,
}

impl SourceCopy {
    /// Copies the sources below `folder`. Files that are the same stay as they are, so that cargo
    /// builds only what has changed.
    ///
    /// # Errors
    /// If a file cannot be read or written.
    pub(super) fn new(root: &Path, folder: PathBuf) -> Result<Self> {
        let copy = Self {
            root: root.to_owned(),
            sources: folder.join("sources"),
            target: folder.join("target"),
        };
        let files = tree::files(root)?.context("this is not a git checkout")?;
        let links = tree::symbolic_links(root)?.context("this is not a git checkout")?;
        let wanted = files.iter().chain(&links).map(|name| copy.sources.join(name)).collect();
        remove_others(&copy.sources, &wanted)?;
        for file in &files {
            copy.restore_file(file)?;
        }
        for link in &links {
            copy.restore_link(link)?;
        }
        Ok(copy)
    }

    fn restore_link(&self, name: &str) -> Result<()> {
        let target = fs::read_link(self.root.join(name)).with_context(|| name.to_owned())?;
        let link = self.sources.join(name);
        if fs::read_link(&link).is_ok_and(|there| there == target) {
            return Ok(());
        }
        if let Some(folder) = link.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        make_link(&target, &link).with_context(|| link.display().to_string())
    }

    /// Makes the mutant of the copy.
    ///
    /// # Errors
    /// If its text does not stand in its file exactly once.
    pub(super) fn apply(&self, mutant: &Mutant) -> Result<()> {
        let source = read(&self.root.join(&mutant.file))?;
        let source = String::from_utf8(source).with_context(|| mutant.file.clone())?;
        let mutated = mutant.mutated(&source)?;
        let file = self.sources.join(&mutant.file);
        fs::write(&file, mutated).with_context(|| file.display().to_string())
    }

    /// Undoes the mutant.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub(super) fn restore(&self, mutant: &Mutant) -> Result<()> {
        self.restore_file(&mutant.file)
    }

    fn restore_file(&self, name: &str) -> Result<()> {
        let content = read(&self.root.join(name))?;
        let file = self.sources.join(name);
        if fs::read(&file).is_ok_and(|there| there == content) {
            return Ok(());
        }
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        fs::write(&file, content).with_context(|| file.display().to_string())
    }
}

#[cfg(unix)]
fn make_link(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(not(unix))]
fn make_link(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Removes files and links of an earlier copy that the sources no longer have.
fn remove_others(folder: &Path, wanted: &HashSet<PathBuf>) -> Result<()> {
    // The first copy has no folder yet.
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.with_context(|| folder.display().to_string())?;
        let path = entry.path();
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_others(&path, wanted)?;
        } else if !wanted.contains(&path) {
            fs::remove_file(&path).with_context(|| path.display().to_string())?;
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| file.display().to_string())
}
