//! A build with the oldest version of Rust that `Cargo.toml` declares.

use std::ffi::OsStr;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::command::{cargo, command, output, run};
use crate::workspace::Workspace;

/// Installs that version, and builds all libraries and commands with it, from the locked
/// dependencies. Tests may use newer functions.
///
/// # Errors
/// If the crates declare different versions, rustup does not install it, or something does not
/// build.
pub(crate) fn build(workspace: &Workspace) -> Result<()> {
    let json = output(cargo().args(["metadata", "--no-deps", "--format-version", "1"]))?;
    let metadata = serde_json::from_str(&json).context("cargo metadata is not JSON")?;
    let version = declared(&metadata)?;
    run(command("rustup")
        .args(["toolchain", "install", "--profile", "minimal", "--no-self-update"])
        .arg(version))?;
    let mut build = command("rustup");
    build.args(["run", version, "cargo", "build", "--locked", "--workspace", "--all-features"]);
    // Another compiler's results would replace those of the usual one.
    build.arg("--target-dir").arg(workspace.target.join("minimum"));
    // The cargo that runs us sets these for its own version.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"].map(OsStr::new) {
        build.env_remove(name);
    }
    run(&mut build)
}

/// The version that every crate declares.
fn declared(metadata: &Value) -> Result<&str> {
    let packages = metadata["packages"].as_array().context("cargo metadata has no packages")?;
    let version = |package: &Value| package["rust_version"].as_str().map(str::to_owned);
    let first = packages.first().context("there is no package")?;
    if let Some(other) = packages.iter().find(|package| version(package) != version(first)) {
        bail!(
            "{} declares Rust {:?}, and {} declares {:?}; all crates need rust-version.workspace = true",
            first["name"],
            version(first),
            other["name"],
            version(other)
        );
    }
    first["rust_version"].as_str().context("no crate declares a version of Rust")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(versions: &[Value]) -> Result<String> {
        let package = |version: &Value| json!({ "name": "a", "rust_version": version });
        let packages: Vec<_> = versions.iter().map(package).collect();
        declared(&json!({ "packages": packages })).map(str::to_owned)
    }

    #[test]
    fn all_crates_declare_the_same_version() {
        assert_eq!(check(&[json!("1.90"), json!("1.90")]).unwrap(), "1.90");
        assert!(check(&[json!("1.90"), json!("1.91")]).is_err());
        assert!(check(&[json!("1.90"), Value::Null]).is_err());
        assert!(check(&[Value::Null]).is_err());
        assert!(check(&[]).is_err());
    }
}
