//! `tidings journal`, beside a hub and without one.

use std::fs;

use crate::durability::{Folder, on_disk};
use crate::hub::tidings;

/// Runs a command of `tidings journal` that has to succeed; gives what it prints.
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
    assert_eq!(journal(folder.path(), &["check"]), "the journal is sound\n");
    let lines = journal(folder.path(), &["export", "--from", &ids[1]]);
    assert_eq!(lines.lines().count(), 3);
    // What is exported can be published as it is.
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
fn a_journal_is_trimmed_while_no_hub_uses_it_and_its_readers_are_told() {
    let folder = Folder::new();
    let hub = on_disk(&folder, None, &[]);
    let ids: Vec<_> = (0..50).map(|n| hub.publish("a", &n.to_string())).collect();
    drop(hub);
    let said = journal(folder.path(), &["trim", "--count", "10"]);
    assert!(said.starts_with("10 of 50 updates are left"), "{said}");
    let hub = on_disk(&folder, None, &[]);
    let mut stream = hub.subscribe_with("topic=a", &format!("last-event-id: {}\r\n", ids[0]));
    assert_eq!(stream.event().notice()["kind"], "gap");
    assert_eq!(stream.event().id, ids[40]);
}

#[test]
fn a_folder_without_a_journal_is_told_and_gets_none() {
    let folder = Folder::new();
    for command in [&["show"][..], &["check"], &["export"], &["trim", "--count", "1"]] {
        let ended = tidings(&[&["journal", "--data-dir", folder.path()], command].concat());
        assert_eq!(ended.code, Some(1), "{command:?}");
        assert!(ended.error.contains("there is no journal"), "{}", ended.error);
    }
    assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0);
}
