//! `tidings inspect` on files, standard input and URLs.

use std::io::Write as _;
use std::process::Stdio;

use crate::answers::Answers;
use crate::hub::{Finished, finish, program, tidings};

fn with_input(arguments: &[&str], input: &[u8]) -> Finished {
    let mut child = program()
        .arg("inspect")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child.stdin.take().expect("piped").write_all(input).expect("it reads");
    finish(child)
}

#[test]
fn test_cases_are_decoded_to_a_line_of_json_each() {
    let cases = br#"[{"name":"a","chunks_hex":["69643a37","0a0a"]},
        {"name":"b","chunks_hex":["72657472793a3530300a","646174613a780d0d"],"events":"ignored"}]"#;
    let ended = with_input(&["--conformance"], cases);
    assert_eq!(ended.code, Some(0), "{}", ended.error);
    let lines: Vec<serde_json::Value> =
        ended.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let expected = [
        serde_json::json!({ "name": "a", "events": [], "retry": null, "last_event_id": "7" }),
        serde_json::json!({
            "name": "b",
            "events": [{ "event": "message", "data": "x", "id": "" }],
            "retry": 500,
            "last_event_id": "",
        }),
    ];
    assert_eq!(lines, expected);
    let ended = with_input(&["--conformance"], b"nonsense");
    assert_eq!(ended.code, Some(1));
    assert!(ended.error.contains("not JSON of the format"), "{}", ended.error);
}

#[test]
fn a_stream_is_explained_from_every_kind_of_source() {
    let stream = "id: 7\nretry: 5\ndata:  a\n\n";
    let expected =
        ["id \"7\"", "reconnection time 5 ms", "flood", "begins with a space", "=> event 1"];
    let piped = with_input(&[], stream.as_bytes());
    let file = std::env::temp_dir().join(format!("tidings-inspect-{}", std::process::id()));
    std::fs::write(&file, stream).expect("a file");
    let named = tidings(&["inspect", &file.display().to_string()]);
    std::fs::remove_file(&file).expect("the file");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let answers = Answers::of(&[format!("{head}{stream}")]);
    let fetched = tidings(&["inspect", &answers.url()]);
    assert!(fetched.out.contains("X-Accel-Buffering"), "{}", fetched.out);
    for ended in [piped, named, fetched] {
        assert_eq!(ended.code, Some(0), "{}", ended.error);
        for part in expected {
            assert!(ended.out.contains(part), "{part}: {}", ended.out);
        }
    }
    let missing = tidings(&["inspect", "/no/such/file"]);
    assert_eq!(missing.code, Some(1));
    assert!(missing.error.contains("cannot open /no/such/file"), "{}", missing.error);
}
