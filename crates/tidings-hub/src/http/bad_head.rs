//! What is answered where a request's head is none. hyper ends such a connection with a bare
//! status, before any of the hub's own code is asked; this puts the words to it.

use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::limits::{HEAD_FIELDS, Limits};

/// How long the client has to take the answer.
const ANSWER_TIME: Duration = Duration::from_secs(1);
/// Bytes that are read from who still sends.
const INPUT_BYTES: u64 = 1 << 20;

/// The status of the answer that hyper makes by itself, if these bytes are one: no other
/// refusal comes without a body.
pub(super) fn status_of(bytes: &[u8]) -> Option<StatusCode> {
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
pub(super) async fn refuse(mut stream: TcpStream, status: StatusCode, limits: &Limits) {
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
