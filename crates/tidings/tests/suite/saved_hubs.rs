//! `tidings hubs`: hubs that are saved under names, for `--hub @NAME`.

use std::fs;

use crate::hub::{Hub, program, tidings};

const SECRET: &str = "!ChangeThisMercureHubJWTSecretKey!";

#[test]
fn a_saved_hub_is_used_by_its_name_with_its_token() {
    let folder = std::env::temp_dir().join(format!("tidings-hubs-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    let run = |arguments: &[&str]| {
        let mut command = program();
        command.args(arguments).env("XDG_CONFIG_HOME", &folder);
        if arguments[0] != "hubs" {
            // Another hub's token.
            command.env("TIDINGS_TOKEN", "a.b.c");
        }
        let ended = command.output().expect("it starts");
        let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
        (ended.status.code(), text(ended.stdout), text(ended.stderr))
    };
    let good = |arguments: &[&str]| {
        let (code, out, error) = run(arguments);
        assert_eq!(code, Some(0), "{arguments:?}: {error}");
        out
    };
    let hub = Hub::with(&["--publisher-key", SECRET, "--subscriber-key", SECRET]);
    let token = tidings(&["token", "--key", SECRET, "--publish", "*", "--subscribe", "*"]).out;
    let url = hub.url();
    assert_eq!(good(&["hubs", "list"]), "");
    let (code, _, error) = run(&["publish", "a", "b", "--hub", "@work"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(
        error.contains("none is saved") && error.contains("tidings hubs save work URL"),
        "{error}"
    );

    good(&["hubs", "save", "@other", "https://hub.invalid"]);
    assert_eq!(
        good(&["hubs", "save", "work", &url, "--token", token.trim()]),
        format!("@work  {url}\n")
    );
    let listed = good(&["hubs", "list"]);
    assert_eq!(listed, format!("@other  https://hub.invalid\n@work  {url}, with a token\n"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let file = fs::metadata(folder.join("tidings/hubs.json")).expect("a file");
        assert_eq!(file.permissions().mode() & 0o777, 0o600);
    }
    good(&["publish", "a", "hello", "--hub", "@work"]);
    let first = ["--from", "earliest", "--count", "1", "--format", "data"];
    assert_eq!(good(&[&["subscribe", "a", "--hub", "@work"][..], &first].concat()), "hello\n");
    assert_eq!(good(&["subscriptions", "list", "--hub", "@work"]), "");
    // Wherever a hub is named.
    good(&["health", "@work"]);
    good(&["bench", "@work", "--subscribers", "1", "--updates", "1"]);
    assert!(good(&["doctor", "@work"]).contains("published and received"));
    for arguments in [&["tail", "@work"][..], &["publish", "a", "b", "--hub", "http://@work"]] {
        let (code, _, error) = run(arguments);
        assert_eq!(code, Some(2), "{error}");
        assert!(error.contains("is not a URL"), "{error}");
    }
    // A token on the command line takes precedence.
    let (code, _, error) = run(&["publish", "a", "b", "--hub", "@work", "--token", "x"]);
    assert_eq!(code, Some(3), "{error}");

    let (code, _, error) = run(&["publish", "a", "b", "--hub", "@wrk"]);
    assert_eq!(code, Some(2), "{error}");
    assert!(error.contains("@other, @work"), "{error}");
    good(&["hubs", "remove", "@work"]);
    assert_eq!(good(&["hubs", "list"]), "@other  https://hub.invalid\n");
    assert_eq!(run(&["hubs", "remove", "work"]).0, Some(2));
    for (name, url) in [("a b", url.as_str()), ("", &url), ("ok", "ftp://h.test")] {
        assert_eq!(run(&["hubs", "save", name, url]).0, Some(2), "{name:?} {url}");
    }
    fs::write(folder.join("tidings/hubs.json"), "[").expect("a file");
    let (code, _, error) = run(&["hubs", "list"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("is not a list of saved hubs"), "{error}");
    fs::remove_dir_all(&folder).expect("the folder");
}
