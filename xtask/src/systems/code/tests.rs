use super::*;
use crate::systems::names;

/// Checks the lines with findings.
fn check(text: &str, expected: &[&str]) {
    let names = names::all().unwrap();
    let code = Code::read(text, &[], &names).unwrap();
    let lines: Vec<_> =
        code.findings.iter().map(|finding| finding.split(':').next().unwrap()).collect();
    assert_eq!(lines, expected, "{text}: {:#?}", code.findings);
}

const LINUX: &str = "#[cfg(any(target_os = \"android\", target_os = \"linux\"))]\n";

#[test]
fn a_call_of_linux_outside_of_a_cfg_is_found() {
    check("fn f() {\n    socket.set_tcp_user_timeout(None)\n}", &["2"]);
    check("#[cfg(unix)]\nfn f() { socket.set_tcp_user_timeout(None) }", &["2"]);
    check(&format!("{LINUX}fn f() {{ socket.set_tcp_user_timeout(None) }}"), &[]);
    check(
        &format!("fn f() {{ {LINUX}return socket.set_tcp_user_timeout(None);\nepoll(); }}"),
        &["3"],
    );
    let names = names::all().unwrap();
    let code = Code::read("fn f() { epoll(); }", &[], &names).unwrap();
    let systems = "Android, macOS, FreeBSD, Windows";
    assert_eq!(code.findings, [format!("1: epoll is a facility of Linux; not on {systems}")]);
}

#[test]
fn modules_types_and_crates_of_unix_are_found() {
    check("use std::os::unix::fs::MetadataExt;", &["1"]);
    check("use std::os::{\n    fd::AsFd,\n    unix::fs::MetadataExt as _,\n};", &["1", "1"]);
    check("use tokio::net::{TcpStream, UnixStream};", &["1"]);
    check("#[cfg(unix)]\nuse std::os::unix::fs::X;\nuse std::os::fd::*;", &["3"]);
    check("#[cfg(not(unix))]\nfn f() { libc::getpid() }", &["2"]);
    check("#[cfg(not(windows))]\nfn f() { libc::getpid() }", &[]);
    check("fn f() -> Option<std::os::unix::net::UnixStream> { None }", &["1", "1"]);
}

#[test]
fn a_condition_ends_with_what_it_stands_before() {
    check("#[cfg(unix)]\nmod a {\n    fn f() { libc::x() }\n}\nfn g() { libc::y() }", &["5"]);
    check(
        "fn f() { match x {\n#[cfg(unix)]\nA::B { c, .. } => {\n libc::x();\n}\nD => libc::y(),\n} }",
        &["6"],
    );
    check("struct A {\n#[cfg(unix)]\na: UnixStream,\nb: UnixStream,\n}", &["4"]);
    check("fn f() {\n#[cfg(unix)]\n{ libc::x(); }\nlibc::y(); }", &["4"]);
    check("fn f() {\n#[cfg(unix)]\nlet x = libc::x();\nlet y = libc::y(); }", &["4"]);
    check("#![cfg(unix)]\nuse std::os::fd::AsFd;", &[]);
}

#[test]
fn macros_are_searched_too() {
    check("fn f() { println!(\"{}\", libc::x()) }", &["1"]);
    check(
        "macro_rules! m { () => { match x {\n#[cfg(unix)]\nA(b) => libc::x(),\nC => libc::y(),\n} } }",
        &["4"],
    );
    check("fn f() { tokio::select! {\n_ = libc::x() => {}\n} }", &["2"]);
}

#[test]
fn files_of_linux_are_found() {
    check("fn f() { read(\"/proc/self/status\") }", &["1"]);
    check("fn f() { read(format!(\"/proc/{id}/stat\")) }", &["1"]);
    check("/// As `/proc/self/status`.\nfn f() { read(\"a/proc/b\") }", &[]);
}

#[test]
fn tests_and_comments_are_left_out() {
    check("// std::os::unix\n#[cfg(test)]\nmod tests { use std::os::unix; }", &[]);
}

#[test]
fn a_module_in_a_file_has_the_conditions_around_it() {
    let code = Code::read("#[cfg(unix)]\nmod a {\n    mod b;\n}\nmod c;", &[], &[]).unwrap();
    let found: Vec<_> =
        code.modules.iter().map(|one| (one.path.display().to_string(), one.behind.len())).collect();
    assert_eq!(found, [("a/b".to_owned(), 1), ("c".to_owned(), 0)]);
}
