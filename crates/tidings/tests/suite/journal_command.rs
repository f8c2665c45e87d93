//! `tidings journal`, with and without a running hub.

use std::fs;
use std::path::Path;

use crate::durability::{Folder, on_disk};
use crate::hub::{Hub, tidings};

/// Runs a command of `tidings journal` that must succeed; returns its output.
fn journal(folder: &str, arguments: &[&str]) -> String {
    let ended = tidings(&[&["journal", "--data-dir", folder], arguments].concat());
    assert_eq!(ended.code, Some(0), "{arguments:?}: {}", ended.error);
    ended.out
}

#[test]
fn a_journal_is_shown_checked_exported_and_copied_while_a_hub_uses_it() {
    let (folder, copy, other) = (Folder::new(), Folder::new(), Folder::new());
    let hub = on_disk(&folder, None, &[]);
    let ids: Vec<_> = (0..5).map(|n| hub.publish("a", &n.to_string())).collect();
    let shown: serde_json::Value =
        serde_json::from_str(&journal(folder.path(), &["show", "--json"])).expect("JSON");
    assert_eq!(shown["updates"], 5);
    assert_eq!(
        (&shown["oldest"], &shown["last"]),
        (&ids[0].as_str().into(), &ids[4].as_str().into())
    );
    assert_eq!(journal(folder.path(), &["check"]), "no damage found\n");
    let lines = journal(folder.path(), &["export", "--from", &ids[1]]);
    assert_eq!(lines.lines().count(), 3);
    // The export can be published unchanged.
    let elsewhere = on_disk(&other, None, &[]);
    let taken = elsewhere.publisher().publish_body(journal(folder.path(), &["export"]).as_bytes());
    assert_eq!(taken.len(), 5);
    let refused = tidings(&["journal", "--data-dir", folder.path(), "trim", "--count", "1"]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.error.contains("another hub uses"), "{}", refused.error);
    // A copy is a journal, with the same ids.
    let target = copy.path().to_owned() + "/copy";
    journal(folder.path(), &["backup", &target]);
    hub.publish("a", "later");
    drop(hub);
    fs::rename(target + "/journal.db", copy.path().to_owned() + "/journal.db")
        .expect("it is there");
    let hub = on_disk(&copy, None, &[]);
    let mut stream = hub.subscribe_with("topic=a", &format!("last-event-id: {}\r\n", ids[2]));
    assert_eq!(stream.data(2), ["3", "4"]);
}

#[test]
fn a_journal_is_trimmed_while_no_hub_uses_it_and_subscribers_get_a_gap() {
    let folder = Folder::new();
    let hub = on_disk(&folder, None, &[]);
    let ids: Vec<_> = (0..50).map(|n| hub.publish("a", &n.to_string())).collect();
    let trim = ["journal", "--data-dir", folder.path(), "trim", "--count", "10"];
    let ended = tidings(&trim);
    assert_eq!(ended.code, Some(1), "{}", ended.error);
    assert!(ended.error.contains("stop that hub before you trim"), "{}", ended.error);
    drop(hub);
    let said = journal(folder.path(), &["trim", "--count", "10"]);
    assert!(said.starts_with("kept 10 of 50 updates"), "{said}");
    let hub = on_disk(&folder, None, &[]);
    let mut stream = hub.subscribe_with("topic=a", &format!("last-event-id: {}\r\n", ids[0]));
    assert_eq!(stream.event().notice()["kind"], "gap");
    assert_eq!(stream.event().id, ids[40]);
}

#[test]
fn a_folder_without_a_journal_is_an_error_and_is_not_changed() {
    let folder = Folder::new();
    for command in [&["show"][..], &["check"], &["export"], &["trim", "--count", "1"]] {
        let ended = tidings(&[&["journal", "--data-dir", folder.path()], command].concat());
        assert_eq!(ended.code, Some(1), "{command:?}");
        assert!(ended.error.contains("there is no journal"), "{}", ended.error);
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}

/// Flips a bit of the first occurrence of this text in the file.
fn flip(path: &Path, text: &str) {
    let mut bytes = fs::read(path).expect("a file");
    let mut windows = bytes.windows(text.len());
    let at = windows.position(|window| window == text.as_bytes()).expect("the text is there");
    bytes[at] ^= 1;
    fs::write(path, bytes).expect("it can be written");
}

#[test]
fn a_damaged_update_is_a_gap_in_the_stream_a_metric_and_a_line_of_the_check() {
    let folder = Folder::new();
    let mut hub = on_disk(&folder, None, &[]);
    let ids: Vec<_> = (0..5).map(|n| hub.publish("a", &format!("number {n}"))).collect();
    hub.signal("TERM");
    assert!(hub.exit().success());
    flip(&Path::new(folder.path()).join("journal.db"), "number 2");
    let checked = tidings(&["journal", "--data-dir", folder.path(), "check"]);
    assert_eq!(checked.code, Some(1));
    assert!(checked.out.contains("the update at 3 cannot be read"), "{}", checked.out);
    let exported = tidings(&["journal", "--data-dir", folder.path(), "export"]);
    assert_eq!((exported.code, exported.out.lines().count()), (Some(1), 4));
    assert!(exported.error.contains("1 positions cannot be read"), "{}", exported.error);

    let hub = on_disk(&folder, None, &[]);
    for query in ["topic=a", "topic=*"] {
        let mut stream = hub.subscribe_with(query, "last-event-id: earliest\r\n");
        assert_eq!(stream.data(2), ["number 0", "number 1"]);
        let gap = stream.event();
        assert_eq!(gap.notice()["kind"], "gap");
        assert_eq!(stream.data(2), ["number 3", "number 4"]);
        // The stream can be resumed from the gap's own id.
        let mut stream = hub.subscribe_with(query, &format!("last-event-id: {}\r\n", gap.id));
        assert_eq!(stream.cursor(), Some(gap.id.as_str()));
        assert_eq!(stream.event().id, ids[3]);
    }
    assert_eq!(hub.metric("tidings_journal_damaged_total"), 1);
    hub.wait_for_log("the journal's file is damaged");
}

/// Publishes numbers until there are so many.
fn publish_numbers(hub: &Hub, from: usize, count: usize) -> Vec<String> {
    (from..from + count).map(|number| hub.publish("a", &number.to_string())).collect()
}

#[test]
fn a_backup_made_while_publishing_is_served_elsewhere_and_subscribers_ahead_of_it_get_a_reset() {
    let (folder, restored) = (Folder::new(), Folder::new());
    let hub = on_disk(&folder, None, &[]);
    let mut ids = publish_numbers(&hub, 0, 20);
    let target = restored.path().to_owned() + "/data";
    std::thread::scope(|scope| {
        let publisher = scope.spawn(|| publish_numbers(&hub, 20, 200));
        journal(folder.path(), &["backup", &target]);
        ids.extend(publisher.join().expect("it publishes"));
    });
    drop(hub);
    let summary: serde_json::Value =
        serde_json::from_str(&journal(&target, &["show", "--json"])).expect("JSON");
    let kept = usize::try_from(summary["updates"].as_u64().expect("a number")).expect("small");
    assert!((20..=220).contains(&kept), "{kept}");

    // The restored journal, elsewhere.
    let elsewhere = Folder::new();
    fs::rename(
        Path::new(&target).join("journal.db"),
        Path::new(elsewhere.path()).join("journal.db"),
    )
    .expect("it is there");
    let hub = on_disk(&elsewhere, None, &[]);
    let resume = |id: &str| hub.subscribe_with("topic=a", &format!("last-event-id: {id}\r\n"));
    for n in [0, kept / 2, kept - 1] {
        let mut stream = resume(&ids[n]);
        assert_eq!(stream.cursor(), Some(ids[n].as_str()));
        let rest: Vec<_> = (n + 1..kept).map(|number| number.to_string()).collect();
        assert_eq!(stream.data(rest.len()), rest);
    }
    let told = |id: &str| {
        let mut stream = resume(id);
        assert_eq!(stream.event().notice()["kind"], "reset");
        assert_eq!(stream.cursor(), Some("earliest"));
    };
    if kept < ids.len() {
        told(&ids[kept]);
        // Even when other updates have those positions.
        publish_numbers(&hub, 1000, ids.len() - kept + 1);
        told(&ids[kept]);
    }
}

#[test]
fn an_older_copy_in_the_same_folder_is_known_to_lack_acknowledged_updates() {
    let folder = Folder::new();
    let mut hub = on_disk(&folder, None, &[]);
    let mut ids = publish_numbers(&hub, 0, 10);
    let target = folder.path().to_owned() + "/copy";
    journal(folder.path(), &["backup", &target]);
    ids.extend(publish_numbers(&hub, 10, 10));
    hub.signal("TERM");
    assert!(hub.exit().success());
    let database = |folder: &str| Path::new(folder).join("journal.db");
    fs::rename(database(&target), database(folder.path())).expect("it is there");
    let checked = tidings(&["journal", "--data-dir", folder.path(), "check"]);
    assert_eq!(checked.code, Some(1));
    let missing = "the acknowledged updates 11 to 20 are missing";
    assert!(checked.out.contains(missing), "{}", checked.out);

    let hub = on_disk(&folder, None, &[]);
    assert_eq!(hub.metric("tidings_journal_damaged_total"), 1);
    let resume = |id: &str| hub.subscribe_with("topic=a", &format!("last-event-id: {id}\r\n"));
    let mut behind = resume(&ids[9]);
    assert_eq!(behind.event().notice()["kind"], "gap");
    let mut up_to_date = resume(&ids[19]);
    assert_eq!(up_to_date.cursor(), Some(ids[19].as_str()));
    let next = hub.publish("a", "next");
    assert_eq!(next.split('.').nth(1), Some("21"));
    for stream in [&mut behind, &mut up_to_date] {
        assert_eq!(stream.event().id, next);
    }
}
