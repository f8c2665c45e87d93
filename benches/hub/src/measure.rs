//! What is measured of a server: CPU and latency of deliveries, and memory of idle streams.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::{Load, Servers};

/// How the load comes: its name, and the flags of `tidings bench`.
pub(crate) type Lane = (&'static str, &'static [&'static str]);

/// The lanes of a server with TLS.
pub(crate) const TLS_LANES: [Lane; 3] = [
    ("HTTP/2, 100 streams a connection", &["--http2", "--streams-per-connection", "100"]),
    ("HTTP/2, 1 stream a connection", &["--http2", "--streams-per-connection", "1"]),
    ("HTTP/1.1 over TLS", &[]),
];

/// What is measured, in the order of the table.
pub(crate) const FIGURES: [&str; 6] = [
    "µs of CPU per delivery, one event at a time",
    "p50 latency of that, ms",
    "µs of CPU per delivery, a burst",
    "deliveries per second, a burst",
    "events in each read, a burst",
    "bytes of user memory per idle stream",
];

/// Streams of the measurements of CPU, and of memory.
pub(crate) const STREAMS: u32 = 1000;
pub(crate) const IDLE: u32 = 4000;

/// Measures a server on this lane, one that `start` starts.
///
/// # Errors
/// If it does not run, or loses deliveries that it may not lose.
pub(crate) fn measure(
    start: impl Fn() -> Result<Servers>,
    lane: &[&str],
    may_lose: bool,
) -> Result<[f64; FIGURES.len()]> {
    let streams = STREAMS.to_string();
    let run = |servers: &Servers, messages: &str, rate: &str| -> Result<(f64, serde_json::Value)> {
        let flags = ["--subscribers", &streams, "--updates", messages, "--rate", rate];
        let load = Load::start(&servers.url, &[&flags[..], &["--size", "100"], lane].concat())?;
        let before = servers.cpu();
        let result = load.finish()?;
        let deliveries = number(&result, "deliveries")?;
        let lost = number(&result, "lost")?;
        if !may_lose && lost > 0.0 {
            bail!("{lost} deliveries were lost");
        }
        Ok(((servers.cpu() - before) as f64 / 1000.0 / deliveries, result))
    };
    let servers = start()?;
    let (alone, result) = run(&servers, "100", "10")?;
    let latency = result["latency_milliseconds"]["p50"].as_f64().context("a latency")?;
    let (burst, result) = run(&servers, "1000", "0")?;
    let per_second = number(&result, "deliveries_per_second")?;
    let per_read = number(&result, "events_per_read")?;
    drop(servers);

    // A fresh one: memory that was freed may still be counted.
    let servers = start()?;
    let before = servers.memory();
    let idle = IDLE.to_string();
    let flags = ["--subscribers", &idle, "--updates", "5", "--rate", "1", "--size", "24"];
    let load = Load::start(&servers.url, &[&flags[..], lane].concat())?;
    sleep(Duration::from_secs(2));
    let memory = servers.memory().saturating_sub(before) as f64 / f64::from(IDLE);
    load.finish()?;
    Ok([alone, latency, burst, per_second, per_read, memory])
}

fn number(result: &serde_json::Value, name: &str) -> Result<f64> {
    result[name].as_f64().with_context(|| format!("{name} is not in {result}"))
}

pub(crate) fn shown(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

/// A folder with a certificate, which is removed when it is dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("tidings-bench-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        let folder = Self(folder);
        let made = Command::new("openssl")
            .args(["req", "-x509", "-nodes", "-newkey", "ec", "-subj", "/CN=localhost"])
            .args(["-pkeyopt", "ec_paramgen_curve:prime256v1", "-days", "2"])
            .args(["-keyout", &folder.path("key.pem"), "-out", &folder.path("cert.pem")])
            .output()
            .context("openssl cannot be started (Debian: openssl)")?;
        if !made.status.success() {
            bail!("no certificate: {}", String::from_utf8_lossy(&made.stderr));
        }
        Ok(folder)
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
