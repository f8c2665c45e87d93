//! TLS and HTTP/2 of the hub, beside nginx before a plain hub.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use crate::measure::{FIGURES, Folder, IDLE, STREAMS, TLS_LANES, measure, median, shown};
use crate::process::{Servers, hub, server, tidings};

const KINDS: [&str; 2] = ["tidings", "nginx + axum"];

type Measured = BTreeMap<(usize, usize, usize), Vec<f64>>;

pub(crate) fn compare(rounds: usize) -> Result<()> {
    let folder = Folder::new()?;
    let mut measured = Measured::new();
    for round in 1..=rounds {
        for (lane, (name, flags)) in TLS_LANES.iter().enumerate() {
            for (kind, server) in KINDS.iter().enumerate() {
                eprintln!("round {round}: {name}: {server}");
                // The plain hub drops what a slow reader has not taken.
                let figures = measure(|| start(&folder, kind), flags, kind == 1)?;
                for (figure, value) in figures.into_iter().enumerate() {
                    measured.entry((lane, figure, kind)).or_default().push(value);
                }
            }
        }
    }
    println!("Median of {rounds}; {STREAMS} streams, {IDLE} idle ones; 100 bytes of data.\n");
    println!("| | {} | ratio |\n|---|---|---|---|", KINDS.join(" | "));
    for (lane, (name, _)) in TLS_LANES.iter().enumerate() {
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

fn start(folder: &Folder, kind: usize) -> Result<Servers> {
    let (cert, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    if kind == 0 {
        let flags = ["--journal", "memory", "--tls-cert", &cert, "--tls-key", &key];
        let (child, url) = hub(&tidings()?, "127.0.0.1:0", &flags)?;
        return Ok(Servers::new(url, vec![child]));
    }
    let mut plain = server(std::env::current_exe()?);
    let mut plain = plain.arg("plain").stdout(Stdio::piped()).spawn()?;
    let mut port = String::new();
    BufReader::new(plain.stdout.take().context("it is piped")?).read_line(&mut port)?;
    // nginx takes no free port by itself.
    let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let config = folder.path("nginx.conf");
    fs::write(&config, nginx(&folder.0, free, port.trim()))?;
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
