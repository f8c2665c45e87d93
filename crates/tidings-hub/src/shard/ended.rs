//! Connections of ended streams. If the hub ended the stream, its connection stays open until the
//! client hangs up, or for [`LAST_READ_TIME`]: time to read the last events and the notice.

use std::future::poll_fn;

use tokio::sync::watch;
use tokio::time::timeout;

use super::lane::LaneSocket;
use super::slot::ConnectionSlot;
use crate::limits::LAST_READ_TIME;
use crate::metrics::EndReason;
use crate::task::spawn_local;

/// Closes the connection of an ended stream, now or later, and drops `open` with it. A body has its
/// own pause, because its driver must write the last bytes first.
pub(super) fn close(mut slot: ConnectionSlot, reason: EndReason, open: watch::Receiver<()>) {
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
    if let LaneSocket::Tcp(socket) = &mut slot.connection
        && socket.join_runtime().is_err()
    {
        return;
    }
    spawn_local(async move {
        // Input is read and discarded: unread bytes would turn the close into a reset, with which
        // the system drops what the client has not read.
        let hung_up = poll_fn(|context| slot.connection.poll_disconnected(context));
        let _ = timeout(LAST_READ_TIME, hung_up).await;
        drop((slot, open));
    });
}
