//! What is answered where a request's head is none. hyper ends such a connection with a bare
//! status, before any of the hub's own code is asked; this puts the words to it.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use crate::limits::{HEAD_FIELDS, Limits};

/// How long the client has to take the answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Bytes that are read from who still sends.
const INPUT_BYTES: u64 = 1 << 20;

/// The stream under hyper, which keeps the bare status that hyper answers a bad head with to
/// itself, and stays open then, for [`refuse`].
#[derive(Debug)]
pub(super) struct Watched<S> {
    stream: S,
    bad_head: Rc<Cell<Option<StatusCode>>>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, bad_head: Rc<Cell<Option<StatusCode>>>) -> Self {
        Self { stream, bad_head }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Whether these bytes are the answer that is kept back.
    fn keeps(&self, bytes: &[u8]) -> bool {
        let status = status_of(bytes);
        if status.is_some() {
            self.bad_head.set(status);
        }
        status.is_some()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.keeps(bytes) {
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if let [piece] = pieces
            && self.keeps(piece)
        {
            return Poll::Ready(Ok(piece.len()));
        }
        Pin::new(&mut self.stream).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.bad_head.get().is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// The status of the answer that hyper makes by itself, if these bytes are one: no other
/// refusal comes without a body.
fn status_of(bytes: &[u8]) -> Option<StatusCode> {
    let head = bytes.strip_prefix(b"HTTP/1.1 ")?;
    let status = StatusCode::from_bytes(head.get(..3)?).ok()?;
    let is_ours = matches!(
        status,
        StatusCode::BAD_REQUEST
            | StatusCode::URI_TOO_LONG
            | StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE
    );
    let is_empty = head.windows(21).any(|window| window == b"\r\ncontent-length: 0\r\n");
    (is_ours && is_empty).then_some(status)
}

/// Answers with `status` and what is wrong and allowed, and ends the connection.
pub(super) async fn refuse<S>(mut stream: S, status: StatusCode, limits: &Limits)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let words = match status {
        StatusCode::BAD_REQUEST => "this is no request in HTTP/1.0 or HTTP/1.1".to_owned(),
        _ => format!(
            "the request's head is too large; at most {} bytes and {HEAD_FIELDS} header fields are \
             allowed",
            limits.head_bytes
        ),
    };
    let answer = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{words}\n",
        words.len() + 1
    );
    let say = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Closing before all was read would reset the connection, and the answer with it.
        tokio::io::copy(&mut stream.take(INPUT_BYTES), &mut tokio::io::sink()).await
    };
    // Whoever does not take it goes without.
    let _ = tokio::time::timeout(ANSWER_TIME, say).await;
}
