//! The workspace as cargo sees it, and the npm packages.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::command::{cargo, output, run};

/// The paths of the workspace, and the packages to test.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Cargo's target folder. Everything that xtask installs is in it, under `tools`.
    pub(crate) target: PathBuf,
    /// Names of the crates that have cargo features.
    pub(crate) with_features: Vec<String>,
    /// The folders right under the root that hold an npm package, in order of their names.
    pub(crate) npm_packages: Vec<NpmPackage>,
    /// The folders under `benches` that are separate workspaces.
    pub(crate) benches: Vec<PathBuf>,
}

/// One folder with a `package.json`.
#[derive(Debug)]
pub(crate) struct NpmPackage {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    /// The folders right under it that hold a `pom.xml`.
    pub(crate) maven_projects: Vec<PathBuf>,
    /// The names of the scripts that it defines.
    scripts: Vec<String>,
}

impl NpmPackage {
    pub(crate) fn has_script(&self, script: &str) -> bool {
        self.scripts.iter().any(|name| name == script)
    }
}

impl Workspace {
    /// # Errors
    /// If cargo can't read the workspace, or a `package.json` is not one.
    pub(crate) fn load() -> Result<Self> {
        let json = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
        let metadata: Value =
            serde_json::from_str(&json).context("cargo metadata printed what is not JSON")?;
        let root = folder(&metadata, "workspace_root")?;
        let target = folder(&metadata, "target_directory")?;
        let crates = metadata["packages"].as_array().context("cargo metadata has no packages")?;
        let with_features = crates
            .iter()
            .filter(|one| one["features"].as_object().is_some_and(|features| !features.is_empty()))
            .filter_map(|one| one["name"].as_str().map(str::to_owned))
            .collect();
        let npm_packages = npm_packages(&root)?;
        let benches = folders_with(&root.join("benches"), "Cargo.toml")?;
        Ok(Self { root, target, with_features, npm_packages, benches })
    }

    /// Builds the command with the features and the profile of `cargo run --release`, and returns
    /// its path.
    ///
    /// # Errors
    /// If it does not build.
    pub(crate) fn binary(&self) -> Result<PathBuf> {
        run(cargo().args(["build", "--release", "--package", "tidings"]))?;
        Ok(self.target.join("release").join("tidings"))
    }

    /// The folder of the programs that xtask installs.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }
}

fn folder(metadata: &Value, field: &str) -> Result<PathBuf> {
    let text = metadata[field].as_str();
    text.map(PathBuf::from).with_context(|| format!("cargo metadata has no {field}"))
}

fn npm_packages(root: &Path) -> Result<Vec<NpmPackage>> {
    let mut packages = Vec::new();
    for folder in folders_with(root, "package.json")? {
        let manifest = folder.join("package.json");
        let text = fs::read(&manifest).with_context(|| manifest.display().to_string())?;
        let json: Value =
            serde_json::from_slice(&text).with_context(|| manifest.display().to_string())?;
        let scripts = json["scripts"].as_object();
        let scripts = scripts.map(|scripts| scripts.keys().cloned().collect()).unwrap_or_default();
        let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let maven_projects = folders_with(&folder, "pom.xml")?;
        packages.push(NpmPackage { name, folder, maven_projects, scripts });
    }
    Ok(packages)
}

/// The folders directly under `parent` with a file of that name, sorted by name.
fn folders_with(parent: &Path, file: &str) -> Result<Vec<PathBuf>> {
    if !parent.is_dir() {
        return Ok(Vec::new());
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(parent).with_context(|| parent.display().to_string())? {
        let folder = entry.with_context(|| parent.display().to_string())?.path();
        if folder.join(file).is_file() {
            folders.push(folder);
        }
    }
    folders.sort();
    Ok(folders)
}
