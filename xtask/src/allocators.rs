//! The hub with other allocators: built from a copy of the sources, so that nothing here depends on
//! an allocator that is not chosen.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, bail};

use crate::command::{cargo, command, run};
use crate::workspace::Workspace;

/// The allocator of a build.
#[derive(Clone, Copy)]
enum Allocator {
    /// The features of the build.
    Chosen,
    /// That of the C library.
    System,
    /// A crate, with its version, and its type.
    Crate(&'static str, &'static str, &'static str),
}

/// A build of the hub.
struct Build {
    name: &'static str,
    of: Allocator,
    /// The environment of its process.
    environment: &'static str,
}

const BUILDS: [Build; 5] = [
    Build { name: "glibc", of: Allocator::System, environment: "" },
    Build { name: "glibc, 2 arenas", of: Allocator::System, environment: "MALLOC_ARENA_MAX=2" },
    // Each block of 2 KiB or more is given back at once.
    Build {
        name: "glibc, blocks mapped",
        of: Allocator::System,
        environment: "MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=2048 MALLOC_TRIM_THRESHOLD_=65536",
    },
    Build {
        name: "mimalloc",
        of: Allocator::Crate("mimalloc", "0.1", "mimalloc::MiMalloc"),
        environment: "",
    },
    Build { name: "jemalloc", of: Allocator::Chosen, environment: "" },
];

/// Builds the last commit with each allocator, and prints the time of the build, the cost of
/// deliveries and idle streams, and the memory before, during and after each attack.
///
/// # Errors
/// If something does not build or run.
pub(crate) fn compare(workspace: &Workspace, options: &[String]) -> Result<()> {
    let rounds = match options {
        [] => "3",
        [rounds] => rounds,
        _ => bail!("bench allocators takes a number of rounds"),
    };
    let folder = workspace.target.join("allocators");
    let mut programs = Vec::new();
    println!("| | cold build | binary |\n|---|---|---|");
    for build in &BUILDS {
        let (program, seconds) = build.program(&workspace.root, &folder)?;
        let bytes = fs::metadata(&program).with_context(|| program.display().to_string())?.len();
        let took = seconds.map_or("kept".to_owned(), |seconds| format!("{seconds:.0} s"));
        println!("| {} | {took} | {:.2} MB |", build.name, bytes as f64 / 1e6);
        programs.push((build, build.started_by(&folder, &program)?));
    }
    let named = programs.iter().map(|(build, path)| format!("{}={}", build.name, path.display()));
    run(cargo()
        .args(["run", "--release", "--locked", "--quiet", "--", "allocators", rounds])
        .args(named)
        .current_dir(workspace.root.join("benches").join("hub"))
        .env_remove("CARGO_TARGET_DIR"))?;
    for (build, path) in &programs {
        println!("\nattacks on the hub with {}:", build.name);
        // The effect of an attack on a hub with this allocator is measured, so the attack may fail.
        let attacked = run(cargo()
            .args(["test", "--release", "--package", "tidings", "--test", "suite"])
            .args(["attack::", "--", "--nocapture", "--include-ignored", "--test-threads", "1"])
            .env("TIDINGS_ATTACK", "full")
            .env("TIDINGS_ATTACKED", path));
        if let Err(error) = attacked {
            println!("{error:#}");
        }
    }
    Ok(())
}

impl Build {
    /// The program, and how many seconds its build took, unless it was built already.
    fn program(&self, root: &Path, folder: &Path) -> Result<(PathBuf, Option<f64>)> {
        let key = match self.of {
            Allocator::Chosen => "chosen",
            Allocator::System => "glibc",
            Allocator::Crate(name, ..) => name,
        };
        let (source, target) = (folder.join(key).join("source"), folder.join(key).join("target"));
        let program = target.join("release").join("tidings");
        if program.is_file() {
            return Ok((program, None));
        }
        if source.exists() {
            fs::remove_dir_all(&source).with_context(|| source.display().to_string())?;
        }
        fs::create_dir_all(&source).with_context(|| source.display().to_string())?;
        let script = "git archive HEAD | tar -x -C \"$0\"";
        run(command("sh").args(["-c", script]).arg(&source).current_dir(root))?;
        if let Allocator::Crate(name, version, kind) = self.of {
            let main = source.join("crates/tidings/src/main.rs");
            let mut text = fs::read_to_string(&main).with_context(|| main.display().to_string())?;
            text += &format!("\n#[global_allocator]\nstatic ALLOCATOR: {kind} = {kind};\n");
            fs::write(&main, text).with_context(|| main.display().to_string())?;
            run(cargo()
                .args(["add", "--package", "tidings", &format!("{name}@{version}")])
                .current_dir(&source))?;
        }
        // Downloads are not part of a build.
        run(cargo().arg("fetch").current_dir(&source))?;
        let begun = Instant::now();
        let features: &[&str] = match self.of {
            Allocator::Chosen => &[],
            Allocator::System | Allocator::Crate(..) => {
                &["--no-default-features", "--features", "nats,tls"]
            }
        };
        run(cargo()
            .args(["build", "--release", "--package", "tidings"])
            .args(features)
            .current_dir(&source)
            .env("CARGO_TARGET_DIR", &target))?;
        Ok((program, Some(begun.elapsed().as_secs_f64())))
    }

    /// The program to start: a script if it needs environment variables.
    fn started_by(&self, folder: &Path, program: &Path) -> Result<PathBuf> {
        if self.environment.is_empty() {
            return Ok(program.to_owned());
        }
        let script = folder.join(self.environment);
        let text = format!("#!/bin/sh\n{} exec '{}' \"$@\"\n", self.environment, program.display());
        fs::write(&script, text).with_context(|| script.display().to_string())?;
        run(command("chmod").arg("+x").arg(&script))?;
        Ok(script)
    }
}
