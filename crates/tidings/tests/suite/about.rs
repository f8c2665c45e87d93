//! The commands about the program itself: `completions`, `man` and `version`.

use crate::hub::{Finished, program};

/// Runs a command whose output is larger than a pipe holds.
fn tidings(arguments: &[&str]) -> Finished {
    let ended = program().args(arguments).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    Finished { code: ended.status.code(), out: text(ended.stdout), error: text(ended.stderr) }
}

#[test]
fn every_shell_gets_completions_of_every_command() {
    for shell in ["bash", "zsh", "fish", "powershell"] {
        let made = tidings(&["completions", shell]);
        assert_eq!((made.code, made.error.as_str()), (Some(0), ""), "{shell}");
        for word in ["subscribe", "token", "revoke", "anonymous-subscribe"] {
            assert!(made.out.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(tidings(&["completions", "csh"]).code, Some(2));
}

#[cfg(unix)]
#[test]
fn bash_can_read_its_completions() {
    let script = tidings(&["completions", "bash"]).out;
    let complete = format!(
        "{script}\nCOMP_WORDS=(tidings subs); COMP_CWORD=1; _tidings tidings subs tidings\n\
         printf '%s\\n' \"${{COMPREPLY[@]}}\""
    );
    let done = std::process::Command::new("bash").args(["-c", &complete]).output().expect("bash");
    let words = String::from_utf8(done.stdout).expect("text");
    assert_eq!(words, "subscribe\nsubscriptions\n", "{}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn every_command_has_a_man_page() {
    let page = tidings(&["man"]);
    assert_eq!(page.code, Some(0), "{}", page.error);
    assert!(page.out.contains(".TH tidings 1") && page.out.contains("Exit codes"), "{}", page.out);
    let folder = std::env::temp_dir().join(format!("tidings-man-{}", std::process::id()));
    let made = tidings(&["man", "--dir", folder.to_str().expect("text")]);
    assert_eq!(made.code, Some(0), "{}", made.error);
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).expect("a page");
    assert!(read("tidings-serve.1").contains("TIDINGS_TLS_CERT"));
    assert!(read("tidings-token-revoke.1").contains("Revoke a token"));
    std::fs::remove_dir_all(&folder).expect("the folder");
}

#[test]
fn the_version_is_text_or_json() {
    let text = tidings(&["version"]).out;
    assert_eq!(text, tidings(&["--version"]).out);
    let json = tidings(&["version", "--json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(format!("tidings {}\n", json["version"].as_str().expect("text")), text);
    assert_eq!(json["os"], std::env::consts::OS);
}
