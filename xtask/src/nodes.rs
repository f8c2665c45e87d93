//! The versions of Node.js that the browser package's tests run on besides the machine's own.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::packages;
use crate::workspace::Workspace;

/// The name of the npm packages that contain them, one for each architecture.
const FILES: [(&str, &str); 2] = [
    ("package.json", include_str!("../node/package.json")),
    ("package-lock.json", include_str!("../node/package-lock.json")),
];

/// The variables that tests find the programs by, and the names of the packages.
const VARIABLES: [(&str, &str); 3] =
    [("NODE_20", "node-20"), ("NODE_22", "node-22"), ("NODE_24", "node-24")];

/// Installs those that no variable names.
///
/// # Errors
/// If one can't be installed; the text says what to do.
pub(crate) fn install(workspace: &Workspace) -> Result<()> {
    if VARIABLES.iter().all(|(variable, _)| std::env::var_os(variable).is_some()) {
        return Ok(());
    }
    let folder = folder(workspace);
    fs::create_dir_all(&folder).with_context(|| folder.display().to_string())?;
    for (name, text) in FILES {
        let file = folder.join(name);
        fs::write(&file, text).with_context(|| file.display().to_string())?;
    }
    packages::npm_packages(&folder)?;
    // npm passes over the packages of other architectures, and over those that it can't have.
    for (variable, program) in programs(workspace) {
        if !program.is_file() {
            // So that the next run tries again.
            let packages = folder.join("node_modules");
            fs::remove_dir_all(&packages).with_context(|| packages.display().to_string())?;
            let program = program.display();
            bail!("there is no {program}; {variable}=PATH names an installed one");
        }
    }
    Ok(())
}

/// The programs of [`install`], as environment variables for tests.
pub(crate) fn programs(workspace: &Workspace) -> [(&'static str, PathBuf); 3] {
    // As Node.js calls them.
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let packages = folder(workspace).join("node_modules");
    VARIABLES.map(|(variable, name)| {
        let named = std::env::var_os(variable).map(PathBuf::from);
        let carried = packages.join(format!("{name}-{architecture}")).join("bin").join("node");
        (variable, named.unwrap_or(carried))
    })
}

fn folder(workspace: &Workspace) -> PathBuf {
    workspace.tools().join("node")
}
