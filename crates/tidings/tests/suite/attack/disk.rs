//! Publishers that hang up while the disk does not answer.

use std::fs;
use std::process::Command;

use super::peers::Flood;
use super::{Trial, scaled};
use crate::durability::Folder;

/// A library that makes each sync of a process wait while a file exists, like a disk that does not
/// respond. All other ways to stall a disk need privileges.
const STALLING: &str = "#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>
static int synced(const char *name, int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    const char *path = getenv(\"TIDINGS_TEST_STALL\");
    while (path && access(path, F_OK) == 0) usleep(5000);
    return next(fd);
}
int fsync(int fd) { return synced(\"fsync\", fd); }
int fdatasync(int fd) { return synced(\"fdatasync\", fd); }
";

#[test]
fn publishers_that_hang_up_leave_a_bounded_number_of_updates_to_a_stalled_disk() {
    let folder = Folder::new();
    let path = |name: &str| format!("{}/{name}", folder.path());
    let (source, library, stall) = (path("stall.c"), path("stall.so"), path("stall"));
    fs::write(&source, STALLING).expect("a folder of ours");
    let built =
        Command::new("cc").args(["-shared", "-fPIC", "-o", &library, &source, "-ldl"]).output();
    let built = built.expect("a C compiler, which the hub's build needs too");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let data = path("data");
    let trial = Trial {
        flags: &["--data-dir", &data],
        environment: &[("LD_PRELOAD", &library), ("TIDINGS_TEST_STALL", &stall)],
        is_serving: false,
        // The newest updates.
        kept_kb: 64 << 10,
        ..Trial::new("a stalled disk")
    };
    let mut request = format!(
        "POST /.well-known/mercure HTTP/1.1\r\nhost: localhost\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\ntopic=a&data=",
        1 << 20
    )
    .into_bytes();
    let end = request.len() + (1 << 20) - b"topic=a&data=".len();
    request.resize(end, b'x');
    trial.run(|hub| {
        fs::write(&stall, "").expect("a folder of ours");
        for _ in 0..scaled(8, 20) {
            // All have sent their updates, and hang up without an answer.
            drop(Flood::send(hub, 100, 16, &request));
        }
        Going(stall.clone())
    });
}

/// A file that is removed when this is dropped.
struct Going(String);

impl Drop for Going {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}
