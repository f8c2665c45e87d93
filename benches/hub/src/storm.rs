//! All streams come back at once: after the hub was killed, and after it went in good order.

use std::net::TcpListener;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::process::{Load, Servers, hub, signal, tidings};

/// Updates in a second, so that each stream misses some while it is away.
const RATE: u32 = 5;
/// How long the hub is left alone before it goes, and after all are back.
const BEFORE: Duration = Duration::from_secs(3);

pub(crate) fn restart_twice(streams: u32, drain: &str) -> Result<()> {
    println!(
        "{streams} streams of HTTP/1.1, {RATE} updates a second of 100 bytes, journal on disk.\n"
    );
    println!("| | `kill -9` | drain over {drain} |\n|---|---|---|");
    let killed = restart(streams, drain, "KILL")?;
    let drained = restart(streams, drain, "TERM")?;
    let row = |what: &str, value: fn(&Outcome) -> String| {
        println!("| {what} | {} | {} |", value(&killed), value(&drained));
    };
    row("the hub is away for", |one| format!("{:.2} s", one.away.as_secs_f64()));
    row("all are back, after the first end", |one| {
        format!("{:.1} s", one.of("all_back_after_seconds"))
    });
    row("most that come back in a second", |one| one.of("peak_returns_per_second").to_string());
    row("connections", |one| one.of("returns").to_string());
    row("attempts while nobody listens", |one| one.of("refused").to_string());
    row("lost, twice, out of order", |one| {
        let of = |name: &str| one.result[name].to_string();
        format!("{}, {}, {}", of("lost"), of("duplicates"), of("out_of_order"))
    });
    if killed.lost()? + drained.lost()? > 0 {
        bail!("updates were lost");
    }
    Ok(())
}

struct Outcome {
    /// From the signal to a new hub that listens.
    away: Duration,
    result: Value,
}

impl Outcome {
    fn of(&self, name: &str) -> f64 {
        self.result["reconnecting"][name].as_f64().unwrap_or(f64::NAN)
    }

    fn lost(&self) -> Result<u64> {
        self.result["lost"].as_u64().context("a number of losses")
    }
}

fn restart(streams: u32, drain: &str, how: &str) -> Result<Outcome> {
    let folder = std::env::temp_dir().join(format!("tidings-storm-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    let data = folder.display().to_string();
    // The same port for both hubs.
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let listen = format!("127.0.0.1:{port}");
    let flags = ["--journal", "disk", "--data-dir", &data, "--drain", drain];
    let (mut old, url) = hub(&tidings()?, &listen, &flags)?;
    // Until long after the last has come back: as long again as the drain, and some more.
    let seconds = if how == "KILL" { 20 } else { 20 + 3 * drain_seconds(drain)? };
    let (count, messages) = (streams.to_string(), (RATE * seconds).to_string());
    let rate = RATE.to_string();
    let load = ["--subscribers", &count, "--updates", &messages, "--rate", &rate];
    let load = Load::start(&url, &[&load[..], &["--size", "100", "--reconnect"]].concat())?;
    eprintln!("{streams} streams are open after {:.1} s", load.opening.as_secs_f64());
    sleep(BEFORE);
    signal(old.id(), how)?;
    old.wait()?;
    let gone = Instant::now();
    let (new, url) = hub(&tidings()?, &listen, &flags)?;
    let away = gone.elapsed();
    let new = Servers::new(url, vec![new]);
    let result = load.finish()?;
    drop(new);
    let _ = std::fs::remove_dir_all(&folder);
    Ok(Outcome { away, result })
}

fn drain_seconds(drain: &str) -> Result<u32> {
    let seconds = drain.strip_suffix('s').context("a drain in seconds, as 30s")?;
    seconds.parse().context("a drain in seconds, as 30s")
}
