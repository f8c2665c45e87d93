//! The hub with few features, as services embed it: which crates it compiles, and that it runs.

use anyhow::{Result, bail, ensure};

use crate::command::{cargo, output, run, run_counted};
use crate::outcome::Outcome;
use crate::tally::Tally;

/// Crates that a service with its own login and a journal in memory does not compile, by the
/// beginnings of their names.
const LEFT_OUT: [&str; 10] = [
    "async-nats",
    "aws-lc-",
    "jsonwebtoken",
    "libsqlite3-sys",
    "prometheus-client",
    "reqwest",
    "rusqlite",
    "rustls",
    "tidings-disk",
    "tidings-nats",
];

/// Each combination of the hub's features that changes which of its modules there are.
const COMBINATIONS: [&str; 8] =
    ["", "disk", "tokens", "jwks", "metrics", "metrics,tls", "nats", "tls"];

/// # Errors
/// If the small hub compiles one of these crates, a combination of features does not build without
/// warnings, or the service that embeds the hub does not run.
pub(crate) fn check(tally: &mut Tally) -> Result<Outcome> {
    let tree = ["tree", "--locked", "--edges", "normal,build", "--prefix", "none"];
    for package in [&["tidings-embedded"][..], &["tidings-hub", "--no-default-features"]] {
        let crates = output(cargo().args(tree).arg("--package").args(package))?;
        ensure!(crates.contains("tidings-hub v"), "cargo tree does not list the hub:\n{crates}");
        let found = left_in(&crates);
        if !found.is_empty() {
            bail!("a hub without features compiles {}", found.join(", "));
        }
    }
    for features in COMBINATIONS {
        run(cargo()
            .args(["clippy", "--package", "tidings-hub", "--lib", "--no-default-features"])
            .args(["--features", features, "--", "-D", "warnings"]))?;
    }
    run_counted(cargo().args(["test", "--package", "tidings-embedded"]), tally)?;
    Ok(Outcome::Passed)
}

/// The crates of a list, one a line, that should not be there.
fn left_in(crates: &str) -> Vec<&str> {
    let names = crates.lines().filter_map(|line| line.split_whitespace().next());
    names.filter(|name| LEFT_OUT.iter().any(|start| name.starts_with(start))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_that_a_small_hub_leaves_out_is_found_in_a_list() {
        let small = "tidings-hub v0.1.0 (/x)\naxum v0.8.9\nurl v2.5.8 (*)\n";
        assert!(left_in(small).is_empty());
        for name in ["rusqlite", "prometheus-client", "aws-lc-sys", "aws-lc-rs", "rustls-webpki"] {
            assert_eq!(left_in(&format!("{small}{name} v1.0.0\n")), [name]);
        }
    }
}
