//! The values that make a journal's ids and indexes unique: its epoch and its secrets.

use rusqlite::Connection;
use tidings_core::journal::keys::Keys;
use tidings_core::model::Epoch;

use crate::meta::{put, take};

/// The values that make this journal's ids and indexes unique.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) epoch: Epoch,
    pub(crate) keys: Keys,
}

impl Identity {
    /// Gives a new journal an identity, as part of the running transaction.
    pub(crate) fn found(connection: &Connection) -> rusqlite::Result<Self> {
        let identity = Self::random();
        let [first, second] = identity.keys.secret();
        put(connection, "epoch", identity.epoch.number())?;
        put(connection, "secret_1", first.cast_signed())?;
        put(connection, "secret_2", second.cast_signed())?;
        Ok(identity)
    }

    fn random() -> Self {
        #[cfg(feature = "simulation")]
        if let Some(host) = crate::simulation::host() {
            let keys = Keys::new([host.random(), host.random()]);
            return Self { epoch: Epoch::new(host.random() as u32), keys };
        }
        Self { epoch: Epoch::random(), keys: Keys::random() }
    }

    /// Reads the journal's identity.
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let missing = || rusqlite::Error::QueryReturnedNoRows;
        let epoch = take::<u32>(connection, "epoch")?.ok_or_else(missing)?;
        let first = take::<i64>(connection, "secret_1")?.ok_or_else(missing)?;
        let second = take::<i64>(connection, "secret_2")?.ok_or_else(missing)?;
        let keys = Keys::new([first.cast_unsigned(), second.cast_unsigned()]);
        Ok(Self { epoch: Epoch::new(epoch), keys })
    }
}
