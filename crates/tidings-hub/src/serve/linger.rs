//! The end of an HTTP/1 connection, in stages (RFC 9112 9.6): the hub ends its side, then reads
//! and discards what the client still sends, then closes. Closing at once would make the system
//! answer those bytes with a reset, which takes the last answer from a client that has not read
//! it yet.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::limits::{ANSWER_TIME, LINGER_BYTES, LINGER_SILENCE, LINGER_TIME};

/// Bytes that are discarded at once.
const PIECE_BYTES: usize = 16 << 10;

/// Writes `last`, ends this side, and waits for the other side's end, as one of at most `most`
/// connections of this thread. `socket` takes the socket out of a TLS stream: the rest need not be
/// decrypted.
pub(super) async fn close<S, T>(
    mut stream: S,
    last: &[u8],
    most: usize,
    socket: impl FnOnce(S) -> T,
) where
    S: AsyncWrite + Unpin,
    T: AsyncRead + Unpin,
{
    let end = async {
        stream.write_all(last).await?;
        stream.shutdown().await
    };
    if let Ok(Ok(())) = timeout(ANSWER_TIME, end).await {
        discard(socket(stream), most).await;
    }
}

/// Reads until the peer ends, is silent for [`LINGER_SILENCE`], has sent [`LINGER_BYTES`] or has
/// taken [`LINGER_TIME`], or until the place is needed for a newer connection.
async fn discard<T: AsyncRead + Unpin>(mut socket: T, most: usize) {
    let read = async {
        let mut left = LINGER_BYTES;
        loop {
            let piece = poll_fn(|context| poll_discard(Pin::new(&mut socket), context));
            match timeout(LINGER_SILENCE, piece).await {
                Ok(Ok(bytes)) if bytes > 0 && bytes <= left => left -= bytes,
                _ => return,
            }
        }
    };
    let mut place = LingerSlot::take(most);
    tokio::select! {
        // A peer that keeps sending must not keep the place.
        biased;
        _ = &mut place.lost => {}
        _ = timeout(LINGER_TIME, read) => {}
    }
}

/// The piece is on the stack, so that a lingering connection costs no buffer.
fn poll_discard<T: AsyncRead>(
    socket: Pin<&mut T>,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut piece = [0; PIECE_BYTES];
    let mut buffer = ReadBuf::new(&mut piece);
    ready!(socket.poll_read(context, &mut buffer))?;
    Poll::Ready(Ok(buffer.filled().len()))
}

thread_local! {
    /// The connections of this thread that linger, oldest first.
    static LINGERING: RefCell<VecDeque<(u64, oneshot::Sender<()>)>> = RefCell::default();
    static NEXT: Cell<u64> = const { Cell::new(0) };
}

/// One of the places of this thread.
struct LingerSlot {
    number: u64,
    /// Ready when another connection got the place.
    lost: oneshot::Receiver<()>,
}

impl LingerSlot {
    /// Takes a place. If all are taken, it displaces the oldest connection, which has had the most
    /// time.
    fn take(most: usize) -> Self {
        let (sender, lost) = oneshot::channel();
        let number = NEXT.replace(NEXT.get() + 1);
        LINGERING.with_borrow_mut(|lingering| {
            if lingering.len() >= most {
                lingering.pop_front();
            }
            lingering.push_back((number, sender));
        });
        Self { number, lost }
    }
}

impl Drop for LingerSlot {
    fn drop(&mut self) {
        // The thread may be ending, and its places with it.
        let _ = LINGERING.try_with(|lingering| {
            let mut lingering = lingering.borrow_mut();
            if let Ok(at) = lingering.binary_search_by_key(&self.number, |(number, _)| *number) {
                lingering.remove(at);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt as _, DuplexStream, duplex};
    use tokio::task::{JoinHandle, spawn_local};
    use tokio::time::{Instant, sleep};

    use super::*;

    const MOST: usize = 3;

    /// The client's side of a connection that is closed with these words, and the closing.
    fn closing() -> (DuplexStream, JoinHandle<()>) {
        let (client, hub) = duplex(64);
        (client, spawn_local(close(hub, b"last words", MOST, |stream| stream)))
    }

    async fn check(test: impl Future<Output = ()>) {
        tokio::task::LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_keeps_sending_can_still_read_the_answer() {
        check(async {
            let (mut client, closing) = closing();
            for _ in 0..4 {
                client.write_all(&[0; 1000]).await.unwrap();
                sleep(LINGER_SILENCE - Duration::from_secs(1)).await;
            }
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert_eq!(answer, "last words");
            drop(client);
            closing.await.unwrap();
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_is_waited_for_as_long_as_stated_and_no_longer() {
        check(async {
            let begun = Instant::now();
            let (silent, over) = closing();
            over.await.unwrap();
            assert_eq!(begun.elapsed(), LINGER_SILENCE);
            drop(silent);

            let begun = Instant::now();
            let (mut slow, over) = closing();
            while !over.is_finished() {
                let _ = slow.write_all(b"x").await;
                sleep(Duration::from_secs(1)).await;
            }
            let least = LINGER_TIME.as_secs();
            assert!((least..=least + 1).contains(&begun.elapsed().as_secs()));

            let (mut fast, over) = closing();
            let mut sent = 0;
            while fast.write_all(&[0; 64]).await.is_ok() {
                sent += 64;
            }
            assert!((LINGER_BYTES..LINGER_BYTES + 1000).contains(&sent), "{sent}");
            over.await.unwrap();
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_makes_room_for_one_too_many() {
        check(async {
            let begun = Instant::now();
            let mut all = Vec::new();
            for _ in 0..MOST + 2 {
                all.push(closing());
                sleep(Duration::from_millis(10)).await;
            }
            for (nth, (_, over)) in all.iter().enumerate() {
                assert_eq!(over.is_finished(), nth < 2, "{nth}");
            }
            for (_client, over) in all {
                over.await.unwrap();
            }
            assert!(begun.elapsed() > LINGER_SILENCE);
            LINGERING.with_borrow(|lingering| assert!(lingering.is_empty()));
        })
        .await;
    }
}
