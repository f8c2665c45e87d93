//! Limits and access exchanged while the hub runs.

use std::io;
use std::sync::Arc;

use super::state::Hub;
use crate::access::Access;
use crate::limits::Limits;

impl Hub {
    /// Replaces the limits and the access rules. Open streams stay, and keep their maximum age and
    /// the rights of their tokens. Revoked tokens stay revoked. If there are keys for tokens now
    /// and were none before, subscribers are listed from now on.
    ///
    /// Blocks while it reads the system's certificates for new key sets. Requests are answered
    /// meanwhile.
    ///
    /// # Errors
    /// If the system has no means to fetch key sets. Nothing changes then.
    pub fn reconfigure(&self, limits: Limits, access: Access) -> io::Result<()> {
        let listing = access.has_token_keys() || self.authorizer().is_set();
        let dialects = access.dialects;
        // One at a time, so that none is lost; but requests, which read the gate, don't wait while
        // the new one is built.
        let _turn = self.0.reconfiguring.lock();
        let gate = Arc::new(self.gate().renewed(access)?);
        self.presence().set(dialects, listing);
        let old = std::mem::replace(&mut *self.0.gate.write(), gate);
        drop(old);
        self.admission().set_limits(limits);
        Ok(())
    }
}
