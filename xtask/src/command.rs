//! Running other programs: shown before they start, with the program named when they fail.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::tally::Tally;

/// A command that has nothing on its standard input.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::null());
    command
}

/// The cargo that started us, in the state in which a developer's own call finds it.
pub(crate) fn cargo() -> Command {
    let mut command = command(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // `cargo run` describes the package it runs to that package. Passed on, these variables look
    // to build scripts like a change, and dependencies would be built again and again.
    for (name, _) in std::env::vars_os() {
        let name_text = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_"].iter().any(|own| name_text.starts_with(own)) {
            command.env_remove(&name);
        }
    }
    command
}

/// Runs to the end, with the same output as this process.
///
/// # Errors
/// If the program can't be started, or its exit code is not zero.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    show(command);
    let status = command.status().with_context(|| not_started(command))?;
    check(command, status)
}

/// The time limit of test runners: far above their need, and a third of CI's limit. So a test that
/// hangs is named by the lines above. CI would only report that it was cut off.
const TESTS_TAKE_MAX: Duration = Duration::from_secs(30 * 60);

/// Lines read ahead of the one being looked at.
const LINES_AHEAD_MAX: usize = 64;

/// Like [`run`], and adds up the counts on the closing lines of test runners.
///
/// # Errors
/// As for [`run`], and if the program takes longer than half an hour; the counts until then are in
/// `tally`.
pub(crate) fn run_counted(command: &mut Command, tally: &mut Tally) -> Result<()> {
    show(command);
    let status = each_line(command, TESTS_TAKE_MAX, |line| {
        println!("{line}");
        tally.read_line(line);
        ControlFlow::Continue(())
    })?;
    status.map_or(Ok(()), |status| check(command, status))
}

/// Runs a program, and passes each line of its standard output to `each`. Returns how the program
/// ended, or `None` if `each` broke off: then it was killed.
///
/// # Errors
/// If the program can't be started, or takes longer than `time`: then it was killed.
pub(crate) fn each_line(
    command: &mut Command,
    time: Duration,
    mut each: impl FnMut(&str) -> ControlFlow<()>,
) -> Result<Option<ExitStatus>> {
    let deadline = Instant::now() + time;
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| not_started(command))?;
    let stdout = child.stdout.take().with_context(|| not_started(command))?;
    let (sender, lines) = sync_channel(LINES_AHEAD_MAX);
    // Ends with the output, or with the receiver. It is not joined after the time limit: a process
    // that a killed runner has started may keep the other end of the pipe open forever.
    thread::spawn(move || {
        let mut lines = BufReader::new(stdout).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if each(&String::from_utf8_lossy(&line)).is_break() {
                    kill(&mut child);
                    return Ok(None);
                }
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                kill(&mut child);
                bail!("{} did not end within {} s", words(command), time.as_secs());
            }
        }
    }
    child.wait().map(Some).with_context(|| words(command))
}

fn kill(child: &mut Child) {
    // It may have ended just now; then there is no process to kill.
    let _ = child.kill();
    let _ = child.wait();
}

/// Runs to the end without a word, and returns the standard output.
///
/// # Errors
/// As for [`run`], with the standard error in the text.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| not_started(command))?;
    if !output.status.success() {
        let told = String::from_utf8_lossy(&output.stderr);
        bail!("{} ended with {}: {}", words(command), output.status, told.trim());
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("what {} printed is not UTF-8", words(command)))
}

/// Where a program is, as a shell would find it.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

fn show(command: &Command) {
    println!("$ {}", words(command));
}

fn check(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() { Ok(()) } else { bail!("{} ended with {status}", words(command)) }
}

fn not_started(command: &Command) -> String {
    format!("{} can't be started", words(command))
}

/// The command as one would type it, the program without its folder.
fn words(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    let words = std::iter::once(name).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
