//! Processes that are measured, and those that load them.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

/// The core of what is measured, and that of the load.
const SERVER_CORE: &str = "0";
const LOAD_CORE: &str = "1";

/// The command that is measured.
pub(crate) fn tidings() -> Result<PathBuf> {
    let path = std::env::var_os("TIDINGS").context("TIDINGS=PATH is to name the command")?;
    fs::canonicalize(&path).with_context(|| format!("TIDINGS={}", path.display()))
}

/// A program on one core, where the system can do that.
pub(crate) fn on_core(core: &str, program: impl AsRef<Path>) -> Command {
    let pins = Command::new("taskset").args(["-c", core, "true"]).status();
    if pins.is_ok_and(|status| status.success()) {
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program.as_ref());
        command
    } else {
        Command::new(program.as_ref())
    }
}

/// Programs that serve together. Dropping them ends them.
pub(crate) struct Servers {
    children: Vec<Child>,
    pub(crate) url: String,
}

impl Servers {
    pub(crate) fn new(url: String, children: Vec<Child>) -> Self {
        Self { children, url }
    }

    /// Nanoseconds that all their threads have run for, in the kernel too.
    pub(crate) fn cpu(&self) -> u64 {
        let run = |pid: u32| -> u64 {
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let one = |task: fs::DirEntry| {
                let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
                text.split(' ').next()?.parse::<u64>().ok()
            };
            tasks.filter_map(one).sum()
        };
        self.pids().into_iter().map(run).sum()
    }

    /// Bytes of memory that are theirs, what they share counted in parts.
    pub(crate) fn memory(&self) -> u64 {
        let pss = |pid: u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
            line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
        };
        self.pids().into_iter().filter_map(pss).sum::<u64>() << 10
    }

    /// With the processes that they have started.
    fn pids(&self) -> Vec<u32> {
        let mut pids: Vec<u32> = self.children.iter().map(Child::id).collect();
        for at in 0..self.children.len() {
            let path = format!("/proc/{0}/task/{0}/children", pids[at]);
            let text = fs::read_to_string(path).unwrap_or_default();
            pids.extend(text.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
        pids
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for child in &mut self.children {
            // nginx ends its workers only when it is asked to.
            let _ = signal(child.id(), "TERM");
            let _ = child.wait();
        }
    }
}

pub(crate) fn signal(pid: u32, name: &str) -> Result<()> {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status()?;
    if status.success() { Ok(()) } else { bail!("process {pid} cannot be told {name}") }
}

/// Starts this command's hub, and waits until it says where it listens.
pub(crate) fn hub(program: &Path, listen: &str, flags: &[&str]) -> Result<(Child, String)> {
    let mut command = on_core(SERVER_CORE, program);
    command.args(["serve", "--listen", listen, "--shards", "1"]).args(flags);
    let mut child = command.stderr(Stdio::piped()).spawn().context("the hub cannot be started")?;
    let stderr = child.stderr.take().context("it is piped")?;
    let mut lines = BufReader::new(stderr).lines();
    let mut said = String::new();
    let url = loop {
        let Some(line) = lines.next() else { bail!("the hub did not start: {said}") };
        let line = line?;
        if let Some((url, _)) = line.trim().split_once("/.well-known/mercure") {
            break url.to_owned();
        }
        said += &line;
    };
    // Whatever it says is read, so that it never waits for us.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    Ok((child, url))
}

/// A program of the servers' core.
pub(crate) fn server(program: impl AsRef<Path>) -> Command {
    on_core(SERVER_CORE, program)
}

/// `tidings bench`, from when its streams are open to its result.
pub(crate) struct Load {
    child: Child,
    stderr: BufReader<ChildStderr>,
    /// How long its streams took to open.
    pub(crate) opening: Duration,
}

impl Load {
    /// Starts it, and waits until its streams are open.
    pub(crate) fn start(url: &str, flags: &[&str]) -> Result<Self> {
        let mut command = on_core(LOAD_CORE, tidings()?);
        command.args(["bench", url, "--insecure", "--json", "--timeout", "120s"]).args(flags);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().context("the load cannot be started")?;
        let mut stderr = BufReader::new(child.stderr.take().context("it is piped")?);
        let begun = std::time::Instant::now();
        let mut line = String::new();
        stderr.read_line(&mut line)?;
        if !line.contains("streams are open") {
            bail!("the load failed: {line}");
        }
        Ok(Self { child, stderr, opening: begun.elapsed() })
    }

    /// Waits for its end.
    pub(crate) fn finish(mut self) -> Result<Value> {
        std::thread::spawn(move || self.stderr.lines().map_while(Result::ok).for_each(drop));
        let stdout = self.child.stdout.take().context("it is piped")?;
        let result = serde_json::from_reader(stdout).context("the load has no result");
        self.child.wait()?;
        result
    }
}
