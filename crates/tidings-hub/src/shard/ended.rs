//! Connections of ended streams. If the hub ended the stream, its connection stays open until the
//! client hangs up, or for [`LAST_READ_TIME`]: time to read the last events and the notice.

use std::future::poll_fn;

use tokio::task::spawn_local;
use tokio::time::timeout;

use super::lane::LaneSocket;
use super::slot::ConnectionSlot;
use super::thread::ShardThread;
use crate::limits::LAST_READ_TIME;
use crate::metrics::EndReason;

impl ShardThread {
    /// Closes the connection of an ended stream, now or later. A body has its own pause, because its
    /// driver must write the last bytes first.
    pub(super) fn close_connection(&self, mut slot: ConnectionSlot, reason: EndReason) {
        let may_read = match (&slot.connection, reason) {
            (_, EndReason::Client | EndReason::Broken | EndReason::Stalled) => false,
            (LaneSocket::Body(_), _) => false,
            // Without chunks, the end of the connection is the end of a complete response.
            (LaneSocket::Tcp(socket), _) => socket.is_chunked(),
        };
        if !may_read {
            return;
        }
        slot.leave();
        let open = self.ended.subscribe();
        spawn_local(async move {
            // Input is read and discarded: unread bytes would turn the close into a reset, with
            // which the system drops what the client has not read.
            let hung_up = poll_fn(|context| slot.connection.poll_disconnected(context));
            let _ = timeout(LAST_READ_TIME, hung_up).await;
            drop((slot, open));
        });
    }

    /// Waits until the connections of all streams that have ended by now are closed. Others may end
    /// meanwhile, for which it does not wait forever.
    pub(super) async fn until_read(&self) {
        let _ = timeout(2 * LAST_READ_TIME, self.ended.closed()).await;
    }
}
