//! A thread of the hub that fails ends the process.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::hub::{File, Hub, program, tidings_with};

/// Replaces a function of the C library. Once the file that `FAIL_WHEN` names is removed, the
/// event queue of the first shard fails, and its thread panics.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

int epoll_wait(int queue, struct epoll_event *events, int count, int timeout) {
    char name[16] = "";
    pthread_getname_np(pthread_self(), name, sizeof name);
    if (strcmp(name, "shard-0") == 0 && access(getenv("FAIL_WHEN"), F_OK) != 0) {
        errno = EBADF;
        return -1;
    }
    int (*real)(int, struct epoll_event *, int, int) = dlsym(RTLD_NEXT, "epoll_wait");
    return real(queue, events, count, timeout);
}
"#;

/// The compiled shim, which is removed when it is dropped.
struct Shim(PathBuf);

impl Shim {
    fn compile() -> Self {
        let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("fail-{}.so", std::process::id()));
        let source = File::new(SHIM);
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-x", "c", source.path(), "-ldl", "-o"])
            .arg(&path)
            .status();
        assert!(compiled.expect("Rust links with a C compiler").success());
        Self(path)
    }
}

impl Drop for Shim {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_shard_whose_thread_fails_ends_the_process_with_an_error() {
    let shim = Shim::compile();
    let good = File::new("");
    let mut command = program();
    command.args(["serve", "--listen", "127.0.0.1:0", "--journal", "memory"]);
    command.env("LD_PRELOAD", &shim.0).env("FAIL_WHEN", good.path());
    let mut hub = Hub::run(command);
    hub.is_well();
    let mut stream = hub.subscribe("a");
    drop(good);
    let fault = hub.wait_for_log("the hub panicked");
    assert!(fault.contains("shard-0"), "{fault}");
    hub.wait_for_log("the hub failed: the thread of a shard");
    assert_eq!(hub.exit().code(), Some(1));
    // Its subscribers are cut, and reconnect to the hub that is started next.
    while stream.next().is_some() {}
}

#[test]
fn a_log_whose_thread_cannot_be_started_is_reported_on_standard_error() {
    // No system has so much memory for a thread's stack.
    let stack = (1_u64 << 60).to_string();
    let ended = tidings_with(&[("RUST_MIN_STACK", &stack)], &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.error.contains("cannot start the thread of the log"), "{ended:?}");
}
