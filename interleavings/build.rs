//! Copies the production sources, with their locks, atomics and wake-ups replaced by those of the
//! model checker, and makes faulty twins of them. Every replaced text must occur in the source, so
//! a change there cannot leave a twin without its fault.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Production files that are checked together.
struct Part {
    name: &'static str,
    /// Their folder, from the root of the project.
    folder: &'static str,
    files: &'static [&'static str],
    /// Modules that are written here, because the production's know more than is needed.
    written: &'static [(&'static str, &'static str)],
    /// Smaller bounds, so that few threads reach them, and what a scenario has to look at.
    adapted: &'static [Change],
}

/// A file, a text that it has once, and what replaces the text.
type Change = (&'static str, &'static str, &'static str);

/// A copy of a part with a fault in its synchronization.
struct Twin {
    part: &'static str,
    name: &'static str,
    changes: &'static [Change],
}

const PARTS: [Part; 4] = [
    Part {
        name: "follower",
        folder: "crates/tidings-core/src/journal",
        files: &["follower.rs"],
        written: &[("mod.rs", "pub(crate) mod follower;\npub(crate) use tidings_core::model;\n")],
        adapted: &[],
    },
    Part {
        name: "body_lane",
        folder: "crates/tidings-hub/src",
        files: &["limits.rs", "limits/operator.rs", "shard/socket.rs", "shard/lane/body.rs"],
        written: &[
            ("mod.rs", "pub(crate) mod limits;\npub(crate) mod shard;\n"),
            (
                "shard.rs",
                "mod lane;\nmod socket;\npub(crate) use lane::body::{BodySocket, StreamBody, hand_over};\n\
                 use std::task::{Context, Poll};\nuse socket::{Outgoing, Socket};\n\
                 impl BodySocket {\n\
                     pub(crate) fn write_bytes(&mut self, bytes: &[u8]) -> std::io::Result<usize> {\n\
                         self.write(&Outgoing::of(bytes)).map(|written| written.bytes)\n\
                     }\n\
                     pub(crate) fn writable(&mut self, context: &mut Context<'_>) -> Poll<()> {\n\
                         self.poll_writable(context)\n\
                     }\n\
                     pub(crate) fn disconnected(&mut self, context: &mut Context<'_>) -> Poll<()> {\n\
                         self.poll_disconnected(context)\n\
                     }\n\
                     pub(crate) fn abort_now(&mut self) {\n\
                         self.abort();\n\
                     }\n\
                 }\n",
            ),
            ("shard/lane.rs", "pub(super) mod body;\n"),
        ],
        adapted: &[],
    },
    Part {
        name: "admission",
        folder: "crates/tidings-hub/src",
        files: &["limits.rs", "limits/operator.rs", "admission.rs", "budget.rs"],
        written: &[(
            "mod.rs",
            "pub(crate) mod admission;\npub(crate) mod budget;\npub(crate) mod limits;\n",
        )],
        adapted: &[(
            "budget.rs",
            "    /// Bytes that are held.
",
            "    pub(crate) fn addresses(&self) -> usize {
        self.by_address.lock().len()
    }

    \
             /// Bytes that are held.
",
        )],
    },
    Part {
        name: "presence",
        folder: "crates/tidings-hub/src",
        files: &[
            "limits.rs",
            "limits/operator.rs",
            "clock.rs",
            "access/dialect.rs",
            "access/grants.rs",
            "access/payloads.rs",
            "access/revoked.rs",
            "presence/address.rs",
            "presence/announce.rs",
            "presence/members.rs",
            "presence/subscription.rs",
        ],
        written: &[
            (
                "mod.rs",
                "pub(crate) mod access;\nmod clock;\nmod limits;\npub(crate) mod presence;\n",
            ),
            (
                "access.rs",
                "mod dialect;\nmod grants;\nmod payloads;\nmod revoked;\n\
                 pub(crate) use dialect::{Dialect, Dialects};\npub(crate) use grants::Grants;\n\
                 pub(crate) use revoked::Revoked;\n",
            ),
            (
                "presence.rs",
                "mod address;\nmod announce;\nmod members;\nmod subscription;\n\
                 pub(crate) use address::SubscriberAddress;\n\
                 pub(crate) use members::{ListStart, Presence};\n\
                 use tidings_core::model::Update;\nuse super::access::Dialects;\n\
                 impl Presence {\n\
                     pub(crate) fn next_announcements(&self, dialects: Dialects) -> Vec<Update> {\n\
                         self.events.as_ref().map(|events| events.next_batch(dialects)).unwrap_or_default()\n\
                     }\n\
                     pub(crate) fn waiting_announcements(&self) -> usize {\n\
                         self.events.as_ref().map(|events| events.queue.lock().count).unwrap_or_default()\n\
                     }\n\
                 }\n",
            ),
        ],
        adapted: &[(
            "limits.rs",
            "PRESENCE_PENDING: usize = bound(16_384, 8)",
            "PRESENCE_PENDING: usize = bound(1, 1)",
        )],
    },
];

const TWINS: &[Twin] = &[
    Twin {
        part: "follower",
        name: "woken_first",
        changes: &[
            (
                "follower.rs",
                "        // First the position:",
                "        self.changed.notify_one();\n        // First the position:",
            ),
            (
                "follower.rs",
                "        self.news.store(true, Ordering::Release);\n        self.changed.notify_one();\n",
                "        self.news.store(true, Ordering::Release);\n",
            ),
        ],
    },
    Twin {
        part: "follower",
        name: "bytes_first",
        changes: &[
            ("follower.rs", "        self.shown_bytes.fetch_add(bytes, Ordering::AcqRel);\n", ""),
            (
                "follower.rs",
                "        // First the position:",
                "        self.shown_bytes.fetch_add(bytes, Ordering::AcqRel);\n        // First the position:",
            ),
        ],
    },
    Twin {
        part: "follower",
        name: "bytes_read_late",
        changes: &[
            (
                "follower.rs",
                "        let shown_bytes = self.shown_bytes.load(Ordering::Acquire);\n        self.taken",
                "        self.taken",
            ),
            (
                "follower.rs",
                "            self.taken_bytes.store(shown_bytes, Ordering::Release);\n",
                "            self.taken_bytes.store(self.shown_bytes.load(Ordering::Acquire), Ordering::Release);\n",
            ),
        ],
    },
    Twin {
        part: "follower",
        name: "progress_first",
        changes: &[
            (
                "follower.rs",
                "        self.taken_bytes.fetch_add(record",
                "        self.progress.notify_one();\n        self.taken_bytes.fetch_add(record",
            ),
            ("follower.rs", "        }\n        self.progress.notify_one();\n", "        }\n"),
        ],
    },
    Twin {
        part: "follower",
        name: "relaxed",
        changes: &[
            (
                "follower.rs",
                "self.shown.store(position.number(), Ordering::Release)",
                "self.shown.store(position.number(), Ordering::Relaxed)",
            ),
            (
                "follower.rs",
                "self.shown_bytes.fetch_add(bytes, Ordering::AcqRel)",
                "self.shown_bytes.fetch_add(bytes, Ordering::Relaxed)",
            ),
        ],
    },
    Twin {
        part: "follower",
        name: "news_last",
        changes: &[(
            "follower.rs",
            "        self.news.store(true, Ordering::Release);\n        self.changed.notify_one();\n",
            "        self.changed.notify_one();\n        self.news.store(true, Ordering::Release);\n",
        )],
    },
    Twin {
        part: "body_lane",
        name: "body_registers_late",
        changes: &[(
            "shard/lane/body.rs",
            "        let old = shared.body.replace(",
            "        drop(shared);\n        let mut shared = self.shared.lock();\n        let old = shared.body.replace(",
        )],
    },
    Twin {
        part: "body_lane",
        name: "shard_registers_late",
        changes: &[(
            "shard/lane/body.rs",
            "        let old = shared.writer.replace(",
            "        drop(shared);\n        let mut shared = self.shared.lock();\n        let old = shared.writer.replace(",
        )],
    },
    Twin {
        part: "body_lane",
        name: "watcher_registers_late",
        changes: &[(
            "shard/lane/body.rs",
            "        let old = shared.watcher.replace(",
            "        drop(shared);\n        let mut shared = self.shared.lock();\n        let old = shared.watcher.replace(",
        )],
    },
    Twin {
        part: "admission",
        name: "looks_then_counts",
        changes: &[(
            "admission.rs",
            "        self.streams\n            .fetch_update(Ordering::AcqRel, Ordering::Acquire, more)\n            .map_err(|_| TurnedAway::Streams)?;\n",
            "        let open = more(self.streams.load(Ordering::Acquire)).ok_or(TurnedAway::Streams)?;\n        self.streams.store(open, Ordering::Release);\n",
        )],
    },
    Twin {
        part: "admission",
        name: "address_checked_before",
        changes: &[(
            "admission.rs",
            "            activity.streams += 1;\n            self.address = Some(address);\n",
            "        }\n        if let Some(activity) = self.admission.activities.lock().activity(address, now) {\n            activity.streams += 1;\n            self.address = Some(address);\n",
        )],
    },
    Twin {
        part: "admission",
        name: "share_removed_late",
        changes: &[(
            "budget.rs",
            "            if share.holders == 0 {\n                by_address.remove(&self.address);\n",
            "            if share.holders == 0 {\n                drop(by_address);\n                self.budget.by_address.lock().remove(&self.address);\n",
        )],
    },
    Twin {
        part: "admission",
        name: "holders_read_early",
        changes: &[
            (
                "budget.rs",
                "        self.held = None;\n        let mut by_address",
                "        self.held = None;\n        let holders = self.budget.by_address.lock().get(&self.address).map_or(0, |share| share.holders);\n        let mut by_address",
            ),
            ("budget.rs", "            if share.holders == 0 {", "            if holders == 1 {"),
        ],
    },
    Twin {
        part: "presence",
        name: "revoked_read_before",
        changes: &[
            (
                "presence/members.rs",
                "        let token = grants.token.clone();\n",
                "        let token = grants.token.clone();\n        let is_revoked = token.is_some_and(|token| self.revoked.contains(&token));\n",
            ),
            (
                "presence/members.rs",
                "        let is_revoked = token.is_some_and(|token| self.revoked.contains(&token));\n        (!is_revoked)",
                "        (!is_revoked)",
            ),
        ],
    },
    Twin {
        part: "presence",
        name: "revoked_noted_after",
        changes: &[
            ("presence/members.rs", "        self.revoked.add(token.clone(), expires);\n", ""),
            (
                "presence/members.rs",
                "        let kept = RevokedToken::new(",
                "        self.revoked.add(token.clone(), expires);\n        let kept = RevokedToken::new(",
            ),
            (
                "presence/members.rs",
                "        let ending = holders.map(|member| member.address).collect();\n",
                "        let ending = holders.map(|member| member.address).collect();\n        drop(members);\n",
            ),
        ],
    },
    Twin {
        part: "presence",
        name: "room_looked_at_first",
        changes: &[(
            "presence/announce.rs",
            "            let taken = self.taken.notified();\n            if !self.queue.lock().is_full() || self.is_failing.load(Ordering::Acquire) {\n                break;\n            }\n",
            "            if !self.queue.lock().is_full() || self.is_failing.load(Ordering::Acquire) {\n                break;\n            }\n            let taken = self.taken.notified();\n",
        )],
    },
];

/// What replaces the synchronization of the production code.
const STAND_INS: [(&str, &str); 4] = [
    ("std::sync::atomic::", "crate::sync::atomic::"),
    ("parking_lot::", "crate::sync::"),
    ("tokio::sync::", "crate::sync::"),
    ("tokio::time::timeout", "crate::sync::timeout"),
];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    println!("cargo::rerun-if-changed=build.rs");
    let mut modules = String::new();
    let mut table = String::new();
    for part in &PARTS {
        let sound = ("sound", &[][..]);
        let twins = TWINS.iter().filter(|twin| twin.part == part.name);
        for (name, changes) in
            std::iter::once(sound).chain(twins.map(|twin| (twin.name, twin.changes)))
        {
            let variant = format!("{}_{name}", part.name);
            let folder = out.join(&variant);
            copy(
                part,
                changes,
                &variant,
                here.parent().expect("the project is around it"),
                &folder,
            );
            let file = folder.join("mod.rs");
            let scenario = here.join("src/scenarios").join(part.name).with_extension("rs");
            writeln!(
                modules,
                "mod {variant} {{\n    #[path = {file:?}]\n    pub(crate) mod production;\n    \
                 #[path = {scenario:?}]\n    pub(crate) mod scenarios;\n}}"
            )
            .expect("a text takes everything");
            writeln!(table, "    ({:?}, {name:?}, {variant}::scenarios::ALL),", part.name)
                .expect("a text takes everything");
        }
    }
    let table = format!("const VARIANTS: &[(&str, &str, &[Scenario])] = &[\n{table}];\n");
    fs::write(out.join("variants.rs"), modules + &table).expect("cargo's folder is writable");
}

fn copy(part: &Part, changes: &[Change], variant: &str, root: &Path, folder: &Path) {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("it is in a folder")).expect("it can be made");
        fs::write(path, text).expect("cargo's folder is writable");
    };
    for (name, text) in part.written {
        write(name, text);
    }
    for name in part.files {
        let path = root.join(part.folder).join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        let mut text =
            fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for (file, from, to) in part.adapted.iter().chain(changes) {
            if file == name {
                assert_eq!(
                    text.matches(from).count(),
                    1,
                    "{variant}: change build.rs: {} no longer has this text once:\n{from}",
                    path.display()
                );
                text = text.replace(from, to);
            }
        }
        text = text.replace("crate::", &format!("crate::{variant}::production::"));
        for (from, to) in STAND_INS {
            text = text.replace(from, to);
        }
        write(name, &text);
    }
    for (file, from, _) in changes {
        assert!(part.files.contains(file), "{variant}: {file} is not of this part:\n{from}");
    }
}
