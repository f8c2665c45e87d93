//! `tidings subscribe --exec`: runs a command for each event, one after the other.

use std::future::pending;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tidings_client::ReceivedEvent;
use tokio::io::AsyncWriteExt as _;
use tokio::process::{Child, Command};

use crate::args::OF_EXEC;
use crate::console::say;

/// A command of the user. While it runs, no further event is read: the hub keeps them.
pub(crate) struct Exec {
    command: String,
    time_max: Duration,
    has_failed: bool,
}

impl Exec {
    pub(crate) fn new(command: String, time_max: Duration) -> Self {
        Self { command, time_max, has_failed: false }
    }

    /// Whether a command failed or took too long.
    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed
    }

    /// Runs the command for an event. If it fails or takes too long, this is reported, and the
    /// next event follows.
    ///
    /// # Errors
    /// If the shell cannot be started.
    pub(crate) async fn run(&mut self, event: &ReceivedEvent) -> anyhow::Result<()> {
        let time = humantime::format_rfc3339_millis(SystemTime::now()).to_string();
        let topic = event.topics().next().unwrap_or_default();
        let values = [topic, event.event_type(), event.last_event_id(), &time];
        let child = shell(&self.command)
            .envs(OF_EXEC.iter().zip(values))
            .stdin(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start the command of --exec")?;
        let mut running = Running(child);
        let input = running.0.stdin.take();
        let write = async {
            if let Some(mut input) = input {
                // The command need not read its input.
                let _ = input.write_all(event.data().as_bytes()).await;
            }
            pending::<()>().await;
        };
        let failure = tokio::select! {
            ended = running.0.wait() => failure(ended.context("cannot wait for the command of --exec")?),
            () = write => None,
            () = tokio::time::sleep(self.time_max) => {
                running.kill();
                running.0.wait().await.context("cannot kill the command of --exec")?;
                let time = humantime::format_duration(self.time_max);
                Some(format!("took longer than {time} and was killed (--exec-timeout)"))
            }
        };
        if let Some(failure) = failure {
            self.has_failed = true;
            say!("the command {failure}, for the event {:?}", event.last_event_id());
        }
        Ok(())
    }
}

/// A shell, and the programs that it runs.
struct Running(Child);

impl Running {
    /// Kills all of them, unless the shell has ended.
    fn kill(&mut self) {
        #[cfg(unix)]
        if let Some(group) = self.group() {
            // An error means that none of them is left.
            let _ = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        #[cfg(not(unix))]
        let _ = self.0.start_kill();
    }

    /// The process group of the shell. `None` once the shell was waited for: another process may
    /// have its id then.
    #[cfg(unix)]
    fn group(&self) -> Option<rustix::process::Pid> {
        let id = i32::try_from(self.0.id()?).ok()?;
        rustix::process::Pid::from_raw(id)
    }
}

/// As when `subscribe` is stopped.
impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The shell has a process group of its own. Otherwise only the shell could be killed, and not the
/// programs that it runs.
#[cfg(unix)]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", command]).process_group(0);
    shell
}

#[cfg(not(unix))]
fn shell(command: &str) -> Command {
    let mut shell = Command::new("cmd");
    shell.args(["/C", command]);
    shell
}

/// What is wrong with the end of a command.
fn failure(status: ExitStatus) -> Option<String> {
    if status.success() {
        return None;
    }
    if let Some(code) = status.code() {
        return Some(format!("failed with exit code {code}"));
    }
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        return Some(format!("was ended by signal {signal}"));
    }
    Some("failed".to_owned())
}
