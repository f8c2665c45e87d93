//! TLS and HTTP/2 of the hub, beside nginx before a plain hub.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::process::{Load, Servers, hub, server};

/// How the load comes: its name, and the flags of `tidings bench`.
const LANES: [(&str, &[&str]); 3] = [
    ("HTTP/2, 100 streams a connection", &["--http2", "--streams-per-connection", "100"]),
    ("HTTP/2, 1 stream a connection", &["--http2", "--streams-per-connection", "1"]),
    ("HTTP/1.1 over TLS", &[]),
];

const KINDS: [&str; 2] = ["tidings", "nginx + axum"];

/// What is measured, in the order of the table.
const FIGURES: [&str; 6] = [
    "µs of CPU per delivery, one event at a time",
    "p50 latency of that, ms",
    "µs of CPU per delivery, a burst",
    "deliveries per second, a burst",
    "events in each read, a burst",
    "bytes of user memory per idle stream",
];

/// Streams of the measurements of CPU, and of memory.
const STREAMS: u32 = 1000;
const IDLE: u32 = 4000;

type Measured = BTreeMap<(usize, usize, usize), Vec<f64>>;

pub(crate) fn compare(rounds: usize) -> Result<()> {
    let folder = Folder::new()?;
    let mut measured = Measured::new();
    for round in 1..=rounds {
        for (lane, (name, flags)) in LANES.iter().enumerate() {
            for (kind, server) in KINDS.iter().enumerate() {
                eprintln!("round {round}: {name}: {server}");
                let figures = measure(&folder, kind, flags)?;
                for (figure, value) in figures.into_iter().enumerate() {
                    measured.entry((lane, figure, kind)).or_default().push(value);
                }
            }
        }
    }
    println!("Median of {rounds}; {STREAMS} streams, {IDLE} idle ones; 100 bytes of data.\n");
    println!("| | {} | ratio |\n|---|---|---|---|", KINDS.join(" | "));
    for (lane, (name, _)) in LANES.iter().enumerate() {
        println!("| **{name}** | | | |");
        for (figure, what) in FIGURES.iter().enumerate() {
            let [ours, theirs] = [0, 1].map(|kind| median(&measured[&(lane, figure, kind)]));
            println!("| {what} | {} | {} | {:.2} |", shown(ours), shown(theirs), ours / theirs);
        }
        let alone = median(&measured[&(lane, 0, 0)]);
        let together = median(&measured[&(lane, 2, 0)]);
        println!(
            "| a delivery alone, as a multiple of one in a burst | {:.1} | | |",
            alone / together
        );
    }
    Ok(())
}

fn shown(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[sorted.len() / 2]
}

fn measure(folder: &Folder, kind: usize, lane: &[&str]) -> Result<[f64; FIGURES.len()]> {
    let streams = STREAMS.to_string();
    let run = |servers: &Servers, messages: &str, rate: &str| -> Result<(f64, serde_json::Value)> {
        let flags = ["--subscribers", &streams, "--messages", messages, "--rate", rate];
        let load = Load::start(&servers.url, &[&flags[..], &["--size", "100"], lane].concat())?;
        let before = servers.cpu();
        let result = load.finish()?;
        let deliveries = number(&result, "deliveries")?;
        let lost = number(&result, "lost")?;
        // The plain hub drops what a slow reader has not taken.
        if kind == 0 && lost > 0.0 {
            bail!("{lost} deliveries were lost");
        }
        Ok(((servers.cpu() - before) as f64 / 1000.0 / deliveries, result))
    };
    let servers = folder.start(kind)?;
    let (alone, result) = run(&servers, "100", "10")?;
    let latency = result["latency_milliseconds"]["p50"].as_f64().context("a latency")?;
    let (burst, result) = run(&servers, "1000", "0")?;
    let per_second = number(&result, "deliveries_per_second")?;
    let per_read = number(&result, "events_per_read")?;
    drop(servers);

    // A fresh one: memory that was freed may still be counted.
    let servers = folder.start(kind)?;
    let before = servers.memory();
    let idle = IDLE.to_string();
    let flags = ["--subscribers", &idle, "--messages", "5", "--rate", "1", "--size", "24"];
    let load = Load::start(&servers.url, &[&flags[..], lane].concat())?;
    sleep(Duration::from_secs(2));
    let memory = servers.memory().saturating_sub(before) as f64 / f64::from(IDLE);
    load.finish()?;
    Ok([alone, latency, burst, per_second, per_read, memory])
}

fn number(result: &serde_json::Value, name: &str) -> Result<f64> {
    result[name].as_f64().with_context(|| format!("{name} is not in {result}"))
}

/// A certificate, and what nginx wants to write.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Self> {
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

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn start(&self, kind: usize) -> Result<Servers> {
        let (cert, key) = (self.path("cert.pem"), self.path("key.pem"));
        if kind == 0 {
            let flags = ["--journal", "memory", "--tls-cert", &cert, "--tls-key", &key];
            let (child, url) = hub("127.0.0.1:0", &flags)?;
            return Ok(Servers::new(url, vec![child]));
        }
        let mut plain = server(std::env::current_exe()?);
        let mut plain = plain.arg("plain").stdout(Stdio::piped()).spawn()?;
        let mut port = String::new();
        BufReader::new(plain.stdout.take().context("it is piped")?).read_line(&mut port)?;
        // nginx takes no free port by itself.
        let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let config = self.path("nginx.conf");
        fs::write(&config, nginx(&self.0, free, port.trim()))?;
        let program = ["/usr/sbin/nginx", "/usr/local/sbin/nginx"];
        let program = program.iter().find(|path| Path::new(path).is_file()).unwrap_or(&"nginx");
        let nginx = server(program).args(["-c", &config]).stderr(Stdio::null()).spawn();
        let nginx = nginx.context("nginx cannot be started (Debian: nginx-light)")?;
        let servers = Servers::new(format!("https://127.0.0.1:{free}"), vec![nginx, plain]);
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", free)).is_ok() {
                return Ok(servers);
            }
            sleep(Duration::from_millis(50));
        }
        bail!("nginx does not listen")
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// One worker for one core, as Tidings has one shard there; buffering off, as streams need it.
fn nginx(folder: &Path, port: u16, plain: &str) -> String {
    let folder = folder.display();
    format!(
        "worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log stderr;
worker_rlimit_nofile 20000;
events {{ worker_connections 20000; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    upstream plain {{ server 127.0.0.1:{plain}; keepalive 64; }}
    server {{
        listen 127.0.0.1:{port} ssl http2 backlog=4096;
        http2_max_concurrent_streams 256;
        keepalive_requests 1000000;
        ssl_certificate {folder}/cert.pem; ssl_certificate_key {folder}/key.pem;
        location / {{
            proxy_pass http://plain;
            proxy_http_version 1.1;
            proxy_set_header Connection \"\";
            proxy_buffering off;
            proxy_read_timeout 1h;
        }}
    }}
}}
"
    )
}
