//! A hub that was started from a terminal, when that terminal is closed.

use std::process::{Command, Stdio};

use crate::hub::{TIDINGS, finish};

/// Starts a hub on a new terminal, and prints the outcome. The first argument selects the case.
const SCRIPT: &str = r#"
import os, pty, signal, sys, time

what, arguments = sys.argv[1], sys.argv[2:]
signal.alarm(60)
if what == "detached":
    # The hub's parent ends before it does: it becomes a child of this process then.
    import ctypes
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
told, tell = os.pipe()
process, terminal = pty.fork()
if process == 0 and what == "detached":
    # Like a shell's background job: in a separate process group.
    hub = os.fork()
    if hub != 0:
        os.write(tell, b"%d" % hub)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.read(0, 1)
        os._exit(0)
    os.setpgid(0, 0)
if process == 0:
    # The tests themselves may run under nohup, which their programs would inherit.
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    if what == "nohup":
        arguments = ["nohup"] + arguments
    if what in ("redirected", "detached"):
        log = os.open("log", os.O_WRONLY | os.O_CREAT)
        for stream in range(3):
            os.dup2(log, stream)
    os.execvp(arguments[0], arguments)

def said(words, read, so_far=b""):
    while words not in so_far:
        so_far = read(so_far)
    return so_far

def from_terminal(so_far):
    return so_far + os.read(terminal, 4096)

def from_file(so_far):
    time.sleep(0.01)
    try:
        return open({"nohup": "nohup.out", "redirected": "log", "detached": "log"}[what], "rb").read()
    except FileNotFoundError:
        return b""

read = from_terminal if what in ("closed", "asked") else from_file
log = said(b"The journal is", read)
if what == "asked":
    os.kill(process, signal.SIGHUP)
    said(b"reloaded the configuration", read, log)
    os.kill(process, signal.SIGTERM)
elif what == "detached":
    # The session's leader ends, and the terminal with it. The hub gets no signal.
    os.write(terminal, b"\n")
    os.waitpid(process, 0)
    process = int(os.read(told, 20))
    said(b"the terminal was closed without a signal", read)
    os.kill(process, signal.SIGHUP)
    said(b"reloaded the configuration", read)
    os.kill(process, signal.SIGTERM)
else:
    os.close(terminal)
if what == "nohup":
    said(b"reloaded the configuration", read)
    os.kill(process, signal.SIGTERM)
_, status = os.waitpid(process, 0)
print("ended", os.waitstatus_to_exitcode(status), end="")
"#;

fn check(what: &str) {
    let folder = std::env::temp_dir().join(format!("tidings-{what}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let child = Command::new("python3")
        .args(["-c", SCRIPT, what, TIDINGS, "serve", "--listen", "127.0.0.1:0"])
        .env("TIDINGS_JOURNAL", "memory")
        .current_dir(&folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let ended = finish(child);
    let _ = std::fs::remove_dir_all(&folder);
    assert_eq!(ended.out, "ended 0", "{what}: {}", ended.error);
}

#[test]
fn a_hub_ends_with_the_terminal_that_it_was_started_from() {
    check("closed");
    check("redirected");
}

#[test]
fn a_hub_on_a_terminal_reloads_its_configuration_on_request() {
    check("asked");
}

#[test]
fn under_nohup_a_hub_outlives_its_terminal() {
    check("nohup");
}

#[cfg(target_os = "linux")]
#[test]
fn a_hub_whose_terminal_disappeared_without_a_signal_reloads_on_request() {
    check("detached");
}
