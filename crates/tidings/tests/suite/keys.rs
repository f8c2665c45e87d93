//! `tidings key` and `tidings init`: their files work, and only their owner can read the secrets.

use std::fs;
use std::path::PathBuf;

use crate::hub::{Hub, finish, program, tidings};

/// A folder that is removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidings-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn file(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn mode(path: &str) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;
    fs::metadata(path).expect("a file").permissions().mode() & 0o777
}

/// Publishes with a token of this signing key at a hub with this verification key.
fn publishes(signing: &str, verifying: &str) {
    let hub = Hub::with(&["--publisher-key-file", verifying, "--anonymous-subscribe"]);
    let mut stream = hub.subscribe("a");
    let token = tidings(&["token", "--key-file", signing, "--publish", "*"]);
    assert_eq!(token.code, Some(0), "{}", token.error);
    assert_eq!(token.error, "", "no doubt about the key");
    let url = hub.url();
    let published = tidings(&["publish", "a", "hello", "--hub", &url, "--token", token.out.trim()]);
    assert_eq!(published.code, Some(0), "{}", published.error);
    assert_eq!(stream.event().data, "hello");
}

#[test]
fn the_keys_of_each_algorithm_sign_and_verify_tokens() {
    let folder = Folder::new("keys");
    for (algorithm, has_public) in [("HS256", false), ("EdDSA", true), ("es256", true)] {
        let (file, public) = (folder.file(algorithm), folder.file(&format!("{algorithm}.pub")));
        let made = tidings(&["key", &file, "--algorithm", algorithm]);
        assert_eq!(made.code, Some(0), "{}", made.error);
        let named: Vec<_> = made.out.lines().collect();
        let expected = if has_public { vec![file.as_str(), &public] } else { vec![file.as_str()] };
        assert_eq!(named, expected);
        #[cfg(unix)]
        assert_eq!(mode(&file), 0o600);
        let text = fs::read_to_string(&file).expect("a file");
        assert_eq!(text.starts_with("-----BEGIN PRIVATE KEY-----\n"), has_public);
        publishes(&file, if has_public { &public } else { &file });
        // A file is never overwritten.
        let again = tidings(&["key", &file, "--algorithm", algorithm]);
        assert_eq!(again.code, Some(2), "{}", again.error);
        assert!(again.error.contains("exists, and is not overwritten"), "{}", again.error);
        assert_eq!(fs::read_to_string(&file).expect("a file"), text);
    }
    // Also if only the public key exists.
    fs::write(folder.file("other.pub"), "mine").expect("a file");
    let refused = tidings(&["key", &folder.file("other"), "--algorithm", "EdDSA"]);
    assert_eq!(refused.code, Some(2), "{}", refused.error);
    assert!(!fs::exists(folder.file("other")).expect("a folder"));
    let two = [tidings(&["key", &folder.file("1")]), tidings(&["key", &folder.file("2")])];
    assert!(two.iter().all(|made| made.code == Some(0)));
    assert_ne!(
        fs::read(folder.file("1")).expect("a file"),
        fs::read(folder.file("2")).expect("a file")
    );
}

#[test]
fn the_configuration_that_init_writes_runs_a_hub() {
    let folder = Folder::new("init");
    let init = || {
        let mut command = program();
        command.arg("init").current_dir(&folder.0);
        finish(
            command
                .stdout(std::process::Stdio::piped())
                .stderr(std::process::Stdio::piped())
                .spawn()
                .expect("it starts"),
        )
    };
    let made = init();
    assert_eq!(
        (made.code, made.out.as_str()),
        (Some(0), "tidings.toml\ntidings.key\n"),
        "{}",
        made.error
    );
    let (config, key) = (folder.file("tidings.toml"), folder.file("tidings.key"));
    #[cfg(unix)]
    assert_eq!(mode(&key), 0o600);
    let checked = tidings(&["check", "--config", &config]);
    assert_eq!(checked.code, Some(0), "{}", checked.error);
    assert!(!checked.out.contains("warning"), "{}", checked.out);
    let hub = Hub::with(&["--config", &config]);
    let mut stream = hub.subscribe("a");
    let url = hub.url();
    let refused = tidings(&["publish", "a", "hello", "--hub", &url]);
    assert_eq!(refused.code, Some(3), "{}", refused.error);
    let token = tidings(&["token", "--key-file", &key, "--publish", "*"]).out;
    let published = tidings(&["publish", "a", "hello", "--hub", &url, "--token", token.trim()]);
    assert_eq!(published.code, Some(0), "{}", published.error);
    assert_eq!(stream.event().data, "hello");
    // Nothing is overwritten, not even half of it.
    for (kept, removed) in [(&config, &key), (&key, &config)] {
        fs::write(kept, "mine").expect("a file");
        let _ = fs::remove_file(removed);
        let again = init();
        assert_eq!(again.code, Some(2), "{}", again.error);
        assert_eq!(fs::read(kept).expect("a file"), b"mine");
        assert!(!fs::exists(removed).expect("a folder"));
    }
}

#[test]
fn a_key_is_removed_if_the_file_that_belongs_to_it_cannot_be_written() {
    let folder = Folder::new("keys-removed");
    // A file's name has at most 255 bytes, and that of the second file is longer.
    let configuration = folder.file(&format!("{}.toml", "x".repeat(251)));
    let key = folder.file(&"x".repeat(252));
    for arguments in [&["init", &configuration][..], &["key", &key, "--algorithm", "EdDSA"]] {
        let failed = tidings(arguments);
        assert_eq!(failed.code, Some(1), "{}", failed.error);
        assert!(failed.error.contains("cannot create"), "{}", failed.error);
        assert_eq!(fs::read_dir(&folder.0).expect("a folder").count(), 0, "{arguments:?}");
    }
}
