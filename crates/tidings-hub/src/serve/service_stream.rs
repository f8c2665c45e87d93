//! The direct lane for an event stream of the service around the hub: its body is polled here, and
//! written to the socket directly.
//!
//! It follows no feed and has no position in the journal. It ends with its body: over HTTP/1.1 the
//! last chunk says that it is whole, over HTTP/1.0 a reset says that it is not.

use std::future::poll_fn;
use std::io::{ErrorKind, IoSlice, Write as _};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

use bytes::Bytes;
use http_body::Body as _;
use tidings_core::stream::framing::Framing;
use tidings_server::EventBody;
use tokio::task::yield_now;

use crate::limits::STALL_TIME;
use crate::shard::{ShardThread, TcpSocket};
use crate::task::spawn_local;
use crate::transport::Transport;

/// After a piece of this size, more is probably ready.
const FULL_PIECE_BYTES: usize = 16 << 10;

/// The stream that a connection carries from now on.
#[derive(Debug)]
pub(super) struct ServiceStream {
    pub(super) head: Vec<u8>,
    pub(super) framing: Framing,
    pub(super) body: EventBody,
}

/// The stream ended before its body did: the peer disconnected, read nothing for too long, or the
/// body failed.
struct StreamEndedEarly;

/// Hands a socket, whose request's head has been read, to such a stream.
pub(super) fn start(thread: &Rc<ShardThread>, socket: Transport, stream: ServiceStream) {
    let thread = Rc::clone(thread);
    spawn_local(async move {
        let _load = thread.count_connection();
        let socket = TcpSocket::new(socket, thread.patience(), stream.framing);
        let writer = ServiceStreamWriter { socket, framing: stream.framing };
        tokio::select! {
            biased;
            // A client reconnects, or knows that the stream was cut.
            () = thread.until_drain() => {}
            _ = writer.run(stream.head, stream.body) => {}
        }
    });
}

struct ServiceStreamWriter {
    socket: TcpSocket,
    framing: Framing,
}

impl ServiceStreamWriter {
    async fn run(mut self, head: Vec<u8>, mut body: EventBody) -> Result<(), StreamEndedEarly> {
        if self.framing == Framing::Close {
            // Until the body has ended, every end of the connection must look like a cut.
            self.socket.reset_on_close(true);
        }
        self.write(&[&head]).await?;
        drop(head);
        let mut size = Vec::with_capacity(10);
        while let Some(bytes) = self.next(&mut body).await? {
            match self.framing {
                Framing::Chunked => {
                    size.clear();
                    write!(size, "{:x}\r\n", bytes.len()).expect("writing to a Vec never fails");
                    self.write(&[&size, &bytes, b"\r\n"]).await?;
                }
                Framing::Close => self.write(&[&bytes]).await?,
            }
            // Other tasks must run too, even if this source always has more and its peer reads
            // everything.
            if bytes.len() >= FULL_PIECE_BYTES {
                yield_now().await;
            }
        }
        match self.framing {
            Framing::Chunked => self.write(&[b"0\r\n\r\n"]).await?,
            Framing::Close => self.socket.reset_on_close(false),
        }
        Ok(())
    }

    /// The body's next piece, unless the peer disconnects.
    async fn next(&mut self, body: &mut EventBody) -> Result<Option<Bytes>, StreamEndedEarly> {
        poll_fn(|context| {
            if self.socket.poll_disconnected(context).is_ready() {
                return Poll::Ready(Err(StreamEndedEarly));
            }
            Pin::new(&mut *body).poll_frame(context).map(|frame| match frame {
                None => Ok(None),
                // The body has logged the reason.
                Some(Err(_)) => Err(StreamEndedEarly),
                Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
            })
        })
        .await
    }

    async fn write(&mut self, pieces: &[&[u8]]) -> Result<(), StreamEndedEarly> {
        let mut slices: [IoSlice<'_>; 3] = [IoSlice::new(&[]); 3];
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
        }
        let mut rest = &mut slices[..pieces.len()];
        while !rest.is_empty() {
            match self.socket.write_pieces(rest) {
                Ok(0) => return Err(StreamEndedEarly),
                Ok(bytes) => IoSlice::advance_slices(&mut rest, bytes),
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.room().await?,
                Err(_) => return Err(StreamEndedEarly),
            }
        }
        Ok(())
    }

    /// Waits until the socket has room.
    async fn room(&mut self) -> Result<(), StreamEndedEarly> {
        self.socket.note_full(true);
        let socket = &mut self.socket;
        let room = poll_fn(|context| {
            if socket.poll_disconnected(context).is_ready() {
                return Poll::Ready(Err(StreamEndedEarly));
            }
            socket.poll_writable(context).map(Ok)
        });
        // On the heap: streams rarely wait here, and all would carry the timer's size.
        let room = Box::pin(tokio::time::timeout(STALL_TIME, room)).await;
        self.socket.note_full(false);
        room.unwrap_or(Err(StreamEndedEarly))
    }
}
