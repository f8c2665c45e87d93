//! The steps of `cargo xtask test`, in their order: quick steps are first.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, command, output, run, run_counted};
use crate::embedded;
use crate::instructions;
use crate::layers;
use crate::links;
use crate::nodes;
use crate::outcome::Outcome;
use crate::packages;
use crate::seeds;
use crate::setup::{self, Need};
use crate::snippets;
use crate::systems;
use crate::tally::Tally;
use crate::tree;
use crate::workspace::Workspace;

/// One thing to check.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// Steps that are requested together.
    group: &'static str,
    /// What a passed step proves.
    pub(crate) what: &'static str,
    pub(crate) needs: &'static [Need],
    pub(crate) run: fn(&Workspace, &mut Tally) -> Result<Outcome>,
}

impl Step {
    /// Whether this is the step, or in the group, of that name.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name || self.group == name
    }
}

pub(crate) const ALL: &[Step] = &[
    Step {
        name: "tree",
        group: "lint",
        what: "no file over 1 MB, no download address of a package",
        needs: &[Need::Git],
        run: |workspace, _| tree::check(&workspace.root),
    },
    Step {
        name: "links",
        group: "lint",
        what: "links in the documentation lead to existing files and headings",
        needs: &[Need::Git],
        run: |workspace, _| links::check(&workspace.root),
    },
    Step {
        name: "snippets",
        group: "lint",
        what: "code in the documentation is run by a test, or says why not",
        needs: &[Need::Git],
        run: |workspace, _| snippets::check(&workspace.root),
    },
    Step {
        name: "format",
        group: "lint",
        what: "rustfmt would change nothing",
        needs: &[],
        run: |_, _| passed(run(cargo().args(["fmt", "--all", "--check"]))),
    },
    Step {
        name: "layers",
        group: "lint",
        what: "each module of a crate uses only those on the layers below it",
        needs: &[],
        run: |workspace, _| layers::check(&workspace.root),
    },
    Step {
        name: "systems",
        group: "lint",
        what: "names that only some systems have are behind a cfg",
        needs: &[],
        run: |workspace, _| systems::check(&workspace.root),
    },
    Step {
        name: "seeds",
        group: "lint",
        what: "every random test takes its randomness from TIDINGS_SEED",
        needs: &[Need::Git],
        run: |workspace, _| seeds::check(&workspace.root),
    },
    Step {
        name: "deny",
        group: "lint",
        what: "dependencies keep to deny.toml: bans, licences, sources",
        needs: &[Need::CargoDeny],
        run: |workspace, _| {
            passed(run(command(setup::cargo_deny(workspace)).args([
                "check",
                "--hide-inclusion-graph",
                "bans",
                "licenses",
                "sources",
            ])))
        },
    },
    Step {
        name: "advisories",
        group: "lint",
        what: "no dependency has a known vulnerability, if the database is reachable",
        needs: &[Need::CargoDeny],
        run: advisories,
    },
    Step {
        name: "clippy",
        group: "lint",
        what: "no lint of the workspace warns, with all features",
        needs: &[],
        run: |_, _| {
            passed(run(cargo()
                .args(["clippy", "--workspace", "--all-targets", "--all-features"])
                .args(["--", "-D", "warnings"])))
        },
    },
    Step {
        name: "docs",
        group: "lint",
        what: "the documentation builds without a warning",
        needs: &[],
        run: |_, _| {
            passed(run(cargo()
                .args(["doc", "--workspace", "--no-deps", "--all-features"])
                .env("RUSTDOCFLAGS", "-D warnings")))
        },
    },
    Step {
        name: "benches",
        group: "lint",
        what: "the separate workspaces (benchmarks, interleavings) are formatted and free of warnings",
        needs: &[],
        run: benches,
    },
    Step {
        name: "publish",
        group: "lint",
        what: "each library crate could be published: it packages, and builds from its package",
        needs: &[],
        run: publish,
    },
    Step {
        name: "semver",
        group: "lint",
        what: "the library crates have no breaking change that their version does not announce",
        needs: &[Need::Git],
        run: semver,
    },
    Step {
        name: "unit",
        group: "rust",
        what: "the crates' own tests, with all features",
        needs: &[Need::NatsServers, Need::Surroundings],
        run: |workspace, tally| {
            passed(run_counted(
                cargo()
                    .args(["test", "--workspace", "--all-features", "--no-fail-fast"])
                    // It embeds a hub without features: the step `embedded` tests it.
                    .args(["--exclude", "tidings-embedded"])
                    // Many tests wait more than they compute: for a drain, a reconnection, a server.
                    .env("RUST_TEST_THREADS", TEST_THREADS)
                    .envs(setup::nats_servers(workspace)),
                tally,
            ))
        },
    },
    Step {
        name: "interleavings",
        group: "rust",
        what: "hand-made concurrent parts hold in all interleavings with up to 2 or 3 preemptions",
        needs: &[],
        run: interleavings,
    },
    Step {
        name: "bare",
        group: "rust",
        what: "crates with features build without them, and the decoder's tests pass",
        needs: &[],
        run: bare,
    },
    Step {
        name: "embedded",
        group: "rust",
        what: "a service can embed the hub without SQLite, TLS, tokens and an HTTP client",
        needs: &[],
        run: |_, tally| embedded::check(tally),
    },
    Step {
        name: "instructions",
        group: "rust",
        what: "decode, route, flush, append and connect take no more instructions than stated",
        needs: &[Need::Valgrind],
        run: |workspace, _| instructions::check(workspace),
    },
    Step {
        name: "binary",
        group: "e2e",
        what: "the command builds as users build it",
        needs: &[],
        run: |workspace, _| passed(workspace.binary().map(drop)),
    },
    Step {
        name: "packages",
        group: "e2e",
        what: "each npm package's scripts check and test, with the binary and browsers",
        needs: &[
            Need::Curl,
            Need::Chromium,
            Need::Firefox,
            Need::NatsServers,
            Need::Packages,
            Need::Nodes,
            Need::Java,
            Need::Zoo,
            Need::Promtool,
        ],
        run: packages,
    },
];

/// Tests of a crate at the same time.
const TEST_THREADS: &str = "4";

/// The steps as a text, a line each.
pub(crate) fn list() -> String {
    let mut text = String::new();
    for step in ALL {
        // Writing to a string can't fail.
        let _ = writeln!(text, "{:<5} {:<11} {}", step.group, step.name, step.what);
    }
    text
}

fn passed(result: Result<()>) -> Result<Outcome> {
    result.map(|()| Outcome::Passed)
}

/// If the database is unreachable, nothing is known. The run then says so and does not fail,
/// because no change here could make it pass.
fn advisories(workspace: &Workspace, _: &mut Tally) -> Result<Outcome> {
    let deny = setup::cargo_deny(workspace);
    if let Err(error) = output(command(&deny).args(["fetch", "db"])) {
        let text = format!("{error:#}");
        let reason = text.lines().last().unwrap_or_default().trim().to_owned();
        return Ok(Outcome::Skipped(format!("no advisory database: {reason}")));
    }
    passed(run(command(&deny).args(["check", "advisories"])))
}

/// The packages that users build on.
const LIBRARIES: [&str; 7] = [
    "tidings-sse",
    "tidings-server",
    "tidings-client",
    "tidings-core",
    "tidings-disk",
    "tidings-nats",
    "tidings-hub",
];

/// Compares with the last release, by its tag. The tool is compiled only if there is one.
fn semver(workspace: &Workspace, _: &mut Tally) -> Result<Outcome> {
    let tags = output(command("git").args(["tag", "--list", "v*", "--sort=-version:refname"]))?;
    let Some(tag) = tags.lines().next() else {
        return Ok(Outcome::Skipped("nothing was released yet".to_owned()));
    };
    let tool = setup::cargo_semver_checks(workspace)?;
    passed(run(command(tool)
        .args(["semver-checks", "check-release", "--baseline-rev", tag])
        .args(LIBRARIES.iter().flat_map(|name| ["--package", name]))))
}

fn publish(workspace: &Workspace, _: &mut Tally) -> Result<Outcome> {
    let packages = || LIBRARIES.iter().flat_map(|name| ["--package", name]);
    // Cargo takes what an earlier dry run has unpacked and built from packages with the same version
    // for the same code.
    for unpacked in unpacked_packages()? {
        fs::remove_dir_all(&unpacked)
            .with_context(|| format!("cannot remove {}", unpacked.display()))?;
    }
    run(cargo().args(["clean", "--quiet", "--locked"]).args(packages()))?;
    passed(run(cargo()
        .args(["publish", "--dry-run", "--locked", "--allow-dirty", "--quiet"])
        .args(packages())
        // Otherwise each package is built in a separate target folder. The tests need most of the
        // same crates.
        .env("CARGO_TARGET_DIR", &workspace.target)))
}

/// Sources of the libraries that cargo has unpacked from local registries, whose folders have names
/// that begin with `-`.
fn unpacked_packages() -> Result<Vec<PathBuf>> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let registries = home.context("there is no home directory")?.join("registry/src");
    let mut found = Vec::new();
    // Without the folder nothing was unpacked.
    for registry in fs::read_dir(&registries).into_iter().flatten() {
        let registry = registry?;
        if !registry.file_name().to_string_lossy().starts_with('-') {
            continue;
        }
        for package in fs::read_dir(registry.path())? {
            let package = package?;
            let name = package.file_name();
            let name = name.to_string_lossy();
            let is_of = |library: &&str| name.starts_with(&format!("{library}-"));
            if LIBRARIES.iter().any(is_of) {
                found.push(package.path());
            }
        }
    }
    Ok(found)
}

fn benches(workspace: &Workspace, _: &mut Tally) -> Result<Outcome> {
    let interleavings = workspace.root.join("interleavings");
    let benches = workspace.benches.iter().map(|folder| (folder, &["--all-targets"][..]));
    // The tests of the production sources in it do not compile there.
    for (folder, targets) in benches.chain([(&interleavings, &["--bins", "--tests"][..])]) {
        run(cargo().args(["fmt", "--check"]).current_dir(folder))?;
        run(cargo()
            .args(["clippy", "--locked"])
            .args(targets)
            .args(["--", "-D", "warnings"])
            .current_dir(folder)
            // The dependencies that they share with the workspace are already built.
            .env("CARGO_TARGET_DIR", &workspace.target))?;
    }
    Ok(Outcome::Passed)
}

/// Half a minute, and as long again to compile the checker and what else a first run needs.
fn interleavings(workspace: &Workspace, tally: &mut Tally) -> Result<Outcome> {
    passed(run_counted(
        cargo()
            .args(["test", "--locked", "--no-fail-fast"])
            .current_dir(workspace.root.join("interleavings"))
            .env("CARGO_TARGET_DIR", &workspace.target),
        tally,
    ))
}

fn bare(workspace: &Workspace, tally: &mut Tally) -> Result<Outcome> {
    if workspace.with_features.is_empty() {
        return Ok(Outcome::Skipped("no crate has features".to_owned()));
    }
    // Features only add separate lanes, transports and formats. The code without them is tested by
    // the tests with all features.
    run(cargo()
        .args(["clippy", "--no-default-features", "--lib", "--bins"])
        .args(workspace.with_features.iter().flat_map(|name| ["--package", name]))
        .args(["--", "-D", "warnings"]))?;
    let decoder = ["--package", "tidings-sse"];
    passed(run_counted(cargo().args(["test", "--no-default-features"]).args(decoder), tally))
}

fn packages(workspace: &Workspace, tally: &mut Tally) -> Result<Outcome> {
    if workspace.npm_packages.is_empty() {
        return Ok(Outcome::Skipped("no folder has a package.json".to_owned()));
    }
    // If it runs alone, this step must not test an outdated build.
    let binary = workspace.binary()?;
    for package in &workspace.npm_packages {
        for script in ["check", "test"] {
            if !package.has_script(script) {
                continue;
            }
            let mut counted = Tally::default();
            let result = run_counted(
                command("npm")
                    .args(["run", "--silent", script])
                    .current_dir(&package.folder)
                    .env("TIDINGS", &binary)
                    .env("CHROMIUM", setup::chromium()?)
                    .env("FIREFOX", setup::firefox()?)
                    .env("PYTHON", packages::python(workspace))
                    .env("PROMTOOL", setup::promtool(workspace))
                    .envs(nodes::programs(workspace))
                    .envs(setup::nats_servers(workspace)),
                &mut counted,
            );
            *tally += counted;
            result?;
            if script == "test" && counted.passed == 0 {
                bail!("the tests in {} ended well, but none ran", package.name);
            }
        }
    }
    Ok(Outcome::Passed)
}
