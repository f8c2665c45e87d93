//! What TLS and HTTP/2 cost, what allocators do for the hub, and what a restart of it is like.
//!
//! `cargo xtask bench tls`, `allocators` and `storm` build the command and run this. The load
//! is `tidings bench`, on core 1; what is measured is on core 0. Servers take turns within each
//! round, so that what else the machine does meets all of them alike.

mod allocators;
mod measure;
mod plain;
mod process;
mod storm;
mod tls;

use anyhow::{Context as _, Result, bail};

const HELP: &str = "\
Usage: hub-bench COMMAND

  tls [ROUNDS]             TLS and HTTP/2, beside nginx before a plain hub of axum (3 rounds)
  allocators ROUNDS NAME=PATH…
                           the same command, built with several allocators
  storm [STREAMS [DRAIN]]  all streams (10000) come back after `kill -9`, and after a drain (30s)

TIDINGS=PATH is the command to measure.";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["tls"] => tls::compare(3),
        ["tls", rounds] => tls::compare(rounds.parse().context("a number of rounds")?),
        ["allocators", rounds, ref builds @ ..] => {
            allocators::compare(rounds.parse().context("a number of rounds")?, builds)
        }
        ["storm"] => storm::restart_twice(10_000, "30s"),
        ["storm", streams] => storm::restart_twice(streams.parse().context("a number")?, "30s"),
        ["storm", streams, drain] => {
            storm::restart_twice(streams.parse().context("a number of streams")?, drain)
        }
        // What `tls` starts behind nginx.
        ["plain"] => plain::serve(),
        [] | ["help" | "--help"] => {
            println!("{HELP}");
            Ok(())
        }
        _ => bail!("{HELP}"),
    }
}
