//! Failures of all writing: the files were moved, or the disk is full or broken. Publishes fail
//! until a probe succeeds.

use rusqlite::config::DbConfig;

use super::Writer;
use crate::clock;
use crate::in_place::{InPlace, Look};
use crate::limits::PROBE_INTERVAL;
use crate::meta::put;
use crate::sum::is_damage;

impl Writer {
    pub(super) fn note_success(&mut self) {
        if std::mem::take(&mut self.is_failing) {
            self.shared.set_trouble(None);
            tracing::info!("the journal can be written again");
        }
    }

    /// Checks whether the files are where they were opened, and as long as before. Data written to
    /// a removed or replaced file is lost with the process.
    pub(super) fn look_at_files(&mut self) {
        let found = match self.in_place.as_mut().map(InPlace::look) {
            None | Some(Look::InPlace) => None,
            Some(Look::Missing(path)) => Some((path, "removed or replaced")),
            Some(Look::Shortened(path)) => {
                self.spare_the_file();
                Some((path, "shortened"))
            }
            Some(Look::Unknown) => return,
        };
        match found {
            Some((path, what)) if !self.is_displaced => {
                self.is_displaced = true;
                let reason = format!("{} was {what}", path.display());
                if self.is_file_spared() {
                    tracing::error!(
                        reason,
                        "the journal is damaged, and newer updates may be lost; publishes fail \
                         until the hub is restarted, which says what is missing"
                    );
                } else {
                    tracing::error!(
                        reason,
                        "the journal's files were removed or replaced; publishes fail until they \
                         are restored as they were, or the hub is restarted"
                    );
                }
                let told = format!("the journal's files were {what}");
                self.shared.set_trouble(Some(told));
                self.shared.interrupt();
                // If only the log was removed, the open log still has all acknowledged updates.
                self.checkpoint();
            }
            None if self.is_displaced => {
                self.is_displaced = false;
                self.shared.set_trouble(None);
                tracing::info!("the journal's files were restored");
            }
            _ => {}
        }
    }

    /// Keeps SQLite from copying its log to the file. From a truncated log it would copy zeros over
    /// sound pages.
    fn spare_the_file(&self) {
        let spared = DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE;
        if let Err(error) = self.connection.set_db_config(spared, true) {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the end of the hub may damage the journal further");
        }
    }

    pub(super) fn is_file_spared(&self) -> bool {
        self.in_place.as_ref().is_some_and(InPlace::is_shortened)
    }

    /// Ends a failed transaction, and frees room for the next one.
    pub(super) fn give_up(&mut self, error: &rusqlite::Error) {
        self.next_probe = clock::now() + PROBE_INTERVAL;
        self.shared.set_trouble(Some(reason(error)));
        if !std::mem::replace(&mut self.is_failing, true) {
            self.shared.interrupt();
            let error = error as &dyn std::error::Error;
            tracing::error!(error, "cannot write the journal; publishes fail");
        }
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "cannot roll back a failed transaction"
            );
        }
        self.checkpoint();
    }

    /// Tests whether writing works again. A hub that cannot write receives no publishes, so none of
    /// them would test it.
    pub(super) fn probe(&mut self) {
        self.next_probe = clock::now() + PROBE_INTERVAL;
        let is_room = self.in_place.is_none() || self.folder.probe().is_ok();
        if is_room && self.write_anything().is_ok() {
            self.note_success();
        } else if !self.connection.is_autocommit() {
            let _ = self.connection.execute_batch("ROLLBACK");
        }
    }

    pub(super) fn write_anything(&self) -> rusqlite::Result<()> {
        self.begin()?;
        put(&self.connection, "last", self.last.to_string())?;
        self.commit()
    }
}

/// The reason that a publisher sees: it helps the publisher, and has no path of this machine.
pub(super) fn reason(error: &rusqlite::Error) -> String {
    use rusqlite::ErrorCode;
    let is_unwritten = error
        .sqlite_error()
        .is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_IOERR_WRITE);
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => "the disk is full".to_owned(),
        // This also happens if the system limits the size of the process's files (`ulimit -f`).
        Some(ErrorCode::SystemIoFailure) if is_unwritten => {
            "the disk is full or reports an error, or the file size limit is reached".to_owned()
        }
        Some(ErrorCode::ReadOnly) => "the journal's folder is read-only".to_owned(),
        Some(ErrorCode::SystemIoFailure) => "the disk reports an error".to_owned(),
        _ if is_damage(error) => "the journal's file is damaged".to_owned(),
        _ => "cannot write its file".to_owned(),
    }
}
