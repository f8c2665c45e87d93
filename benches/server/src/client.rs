//! Starts a server, reads all of its streams, and sees what that took.

use std::cell::Cell;
use std::net::SocketAddr;
use std::process::Stdio;
use std::rc::Rc;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::scenario::{Scenario, Source};
use crate::server::Kind;

/// The kernel counts CPU time in these.
const TICK_MICROS: f64 = 10_000.0;
const PAGE_BYTES: f64 = 4096.0;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Measured {
    pub(crate) user_micros: Option<f64>,
    pub(crate) cpu_micros: Option<f64>,
    pub(crate) stream_bytes: Option<f64>,
}

pub(crate) async fn measure(kind: Kind, scenario: &'static Scenario) -> Result<Measured> {
    LocalSet::new().run_until(read_all(kind, scenario)).await
}

async fn read_all(kind: Kind, scenario: &'static Scenario) -> Result<Measured> {
    let (server, address) = start(kind, scenario).await?;
    let process = server.id().context("it runs")?;
    // What the first request loads is not a stream's.
    drop(open(address, "/").await?);
    let before = resident_bytes(process)?;
    let arrived = Rc::new(Cell::new(0));
    let done = Rc::new(Notify::new());
    let all = scenario.streams * scenario.events;
    for _ in 0..scenario.streams {
        let mut socket = open(address, "/").await?;
        let (arrived, done) = (Rc::clone(&arrived), Rc::clone(&done));
        tokio::task::spawn_local(async move {
            let mut buffer = vec![0; 16 << 10];
            let mut last = 0;
            loop {
                let read = socket.read(&mut buffer).await.expect("the server is there");
                assert!(read > 0, "a stream has ended");
                for byte in &buffer[..read] {
                    // A blank line: framing has CRs in it.
                    arrived.set(arrived.get() + usize::from(last == b'\n' && *byte == b'\n'));
                    last = *byte;
                }
                if arrived.get() >= all {
                    done.notify_one();
                }
            }
        });
    }
    let (user_before, cpu_before) = cpu_ticks(process)?;
    open(address, "/go").await?;
    done.notified().await;
    let (user, cpu) = cpu_ticks(process)?;
    if matches!(scenario.source, Source::Once) {
        let stream_bytes = (resident_bytes(process)? - before) / scenario.streams as f64;
        return Ok(Measured {
            user_micros: None,
            cpu_micros: None,
            stream_bytes: Some(stream_bytes),
        });
    }
    let each = |ticks: f64| Some(ticks * TICK_MICROS / all as f64);
    Ok(Measured {
        user_micros: each(user - user_before),
        cpu_micros: each(cpu - cpu_before),
        stream_bytes: None,
    })
}

async fn start(kind: Kind, scenario: &Scenario) -> Result<(Child, SocketAddr)> {
    let program = std::env::current_exe()?;
    let has_taskset = std::path::Path::new("/usr/bin/taskset").is_file();
    let mut command =
        Command::new(if has_taskset { "/usr/bin/taskset".into() } else { program.clone() });
    if has_taskset {
        command.args(["-c", "0"]).arg(program);
    }
    command.args(["serve", kind.name(), scenario.name]).stdout(Stdio::piped()).kill_on_drop(true);
    let mut server = command.spawn()?;
    let mut line = String::new();
    let output = server.stdout.take().context("its output is piped")?;
    BufReader::new(output).read_line(&mut line).await?;
    Ok((server, line.trim().parse().context("it prints its address")?))
}

/// Asks for a path and reads the answer's head.
async fn open(address: SocketAddr, path: &str) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(address).await?;
    socket.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await?);
    }
    Ok(socket)
}

/// User-space time, and all time.
fn cpu_ticks(process: u32) -> Result<(f64, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let (_, after) = stat.rsplit_once(") ").context("a process has a name")?;
    let mut fields = after.split(' ').skip(11).map(str::parse::<f64>);
    let mut next = || fields.next().context("a process has times");
    let (user, system) = (next()??, next()??);
    Ok((user, user + system))
}

fn resident_bytes(process: u32) -> Result<f64> {
    let statm = std::fs::read_to_string(format!("/proc/{process}/statm"))?;
    let pages = statm.split(' ').nth(1).context("a process has pages")?;
    Ok(pages.parse::<f64>()? * PAGE_BYTES)
}
