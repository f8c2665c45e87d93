//! A network without sockets: a transport with scripted bytes, delays and losses, on tokio's
//! paused clock.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use tidings_client::transport::{Body, BoxFuture, Transport, TransportError};
use tokio::time::Sleep;

/// The events on an open connection, in order. After the last it is silent forever.
#[derive(Clone, Debug)]
pub(crate) enum Act {
    Send(Bytes),
    Pause(Duration),
    /// The body ends in good order.
    End,
    /// The connection breaks.
    Break,
}

/// How a request is answered.
pub(crate) enum Answer {
    /// After this time, with this status, these headers and then these acts.
    Http(Duration, u16, Vec<(&'static str, String)>, Vec<Act>),
    /// After this time the connection breaks without an answer.
    Broken(Duration),
    /// Never.
    Silence,
}

impl Answer {
    pub(crate) fn stream(acts: Vec<Act>) -> Self {
        let headers = vec![("content-type", "text/event-stream".to_owned())];
        Self::Http(Duration::ZERO, 200, headers, acts)
    }
}

/// The server's side: a request in, its answer out.
pub(crate) struct Network<F>(Mutex<F>);

impl<F> Network<F>
where
    F: FnMut(http::Request<Bytes>) -> Answer + Send + 'static,
{
    pub(crate) fn of(serve: F) -> Arc<Self> {
        Arc::new(Self(Mutex::new(serve)))
    }
}

impl<F> Transport for Network<F>
where
    F: FnMut(http::Request<Bytes>) -> Answer + Send + 'static,
{
    fn send(
        &self,
        request: http::Request<Bytes>,
    ) -> BoxFuture<'static, Result<http::Response<Body>, TransportError>> {
        let answer = (self.0.lock().unwrap())(request);
        Box::pin(async move {
            match answer {
                Answer::Http(after, status, headers, acts) => {
                    tokio::time::sleep(after).await;
                    let mut response = http::Response::builder().status(status);
                    for (name, value) in headers {
                        response = response.header(name, value);
                    }
                    let body: Body = Box::pin(Acts { acts: acts.into_iter(), pause: None });
                    Ok(response.body(body).unwrap())
                }
                Answer::Broken(after) => {
                    tokio::time::sleep(after).await;
                    Err(TransportError::passing("the connection broke"))
                }
                Answer::Silence => std::future::pending().await,
            }
        })
    }
}

struct Acts {
    acts: std::vec::IntoIter<Act>,
    pause: Option<Pin<Box<Sleep>>>,
}

impl Stream for Acts {
    type Item = Result<Bytes, TransportError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(pause) = &mut self.pause {
                std::task::ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            match self.acts.next() {
                Some(Act::Send(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Some(Act::Pause(time)) => self.pause = Some(Box::pin(tokio::time::sleep(time))),
                Some(Act::End) => return Poll::Ready(None),
                Some(Act::Break) => {
                    return Poll::Ready(Some(Err(TransportError::passing("the line is cut"))));
                }
                None => return Poll::Pending,
            }
        }
    }
}
