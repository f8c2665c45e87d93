//! Follows a stream for `subscribe` and `tail`: events go to standard output, messages about the
//! connection to standard error.

use std::time::Duration;

use tidings_client::{
    CloseReason, ConnectError, Incoming, LossError, Notice, NoticeKind, ReceivedEvent, Subscription,
};

use super::exec::Exec;
use super::hub;
use super::output::Output;
use super::resume::Resume;
use super::stop::stopped;
use crate::console::{self, put, say};
use crate::outcome::Outcome;

/// How a stream is followed.
pub(crate) struct Follow {
    /// The kind of server, in error texts: "hub" or "server".
    pub(crate) server: &'static str,
    /// The error text if the first connection attempt fails.
    pub(crate) no_answer: String,
    pub(crate) event_types: Vec<String>,
    pub(crate) count: Option<u64>,
    pub(crate) until: Option<String>,
    pub(crate) fail_on_gap: bool,
    pub(crate) output: Output,
    /// The command that runs for each event instead of printing it.
    pub(crate) exec: Option<Exec>,
    pub(crate) resume: Option<Resume>,
    pub(crate) tells_opening: bool,
}

/// Input that the loop waits for.
enum Input {
    Incoming(Option<Incoming>),
    Acknowledgement(Option<String>),
}

impl Follow {
    pub(crate) async fn run(self, stream: Subscription) -> anyhow::Result<Outcome> {
        tokio::select! {
            done = self.follow(stream) => done,
            () = console::reader_gone() => Ok(Outcome::Unread),
            outcome = stopped() => Ok(outcome),
        }
    }

    async fn follow(mut self, mut stream: Subscription) -> anyhow::Result<Outcome> {
        let mut printed = 0;
        let mut lost = false;
        let mut opened = false;
        loop {
            let input = match &mut self.resume {
                None => Input::Incoming(stream.next().await),
                Some(resume) if resume.is_full() => {
                    Input::Acknowledgement(resume.acknowledgement().await)
                }
                Some(resume) => tokio::select! {
                    biased;
                    line = resume.acknowledgement() => Input::Acknowledgement(line),
                    incoming = stream.next() => Input::Incoming(incoming),
                },
            };
            let incoming = match input {
                Input::Incoming(Some(incoming)) => incoming,
                Input::Incoming(None) => return Ok(self.outcome(lost)),
                Input::Acknowledgement(Some(line)) => {
                    if let Some(resume) = &mut self.resume {
                        resume.acknowledge(&line)?;
                    }
                    continue;
                }
                Input::Acknowledgement(None) => anyhow::bail!(
                    "standard input was closed, so events can no longer be acknowledged (--ack)"
                ),
            };
            match incoming {
                Incoming::Event(event) if self.is_wanted(&event) => {
                    match &mut self.exec {
                        Some(exec) => exec.run(&event).await?,
                        None => self.output.write(&event)?,
                    }
                    let id = event.last_event_id();
                    if let Some(resume) = &mut self.resume {
                        resume.written(id, self.output.end())?;
                    }
                    if printed == 0 && id.is_empty() && self.resume.is_some() {
                        say!("warning: the events have no ids, so no position can be stored");
                    }
                    printed += 1;
                    let is_last = self.until.as_deref() == Some(event.data());
                    if is_last || Some(printed) == self.count {
                        return self.last_acknowledgements(lost).await;
                    }
                }
                Incoming::Event(event) => self.passed(event.last_event_id())?,
                Incoming::Notice(notice) => {
                    if tell(&notice) {
                        lost = true;
                        // The stored position stays before the loss, so the next run reports it too.
                        if self.fail_on_gap {
                            return Ok(Outcome::EventsLost);
                        }
                    }
                    self.passed(notice.event().last_event_id())?;
                }
                Incoming::Open(head) => {
                    if self.tells_opening {
                        let again = if opened { " again" } else { "" };
                        say!("connected{again} to {}", hub::shown(&head.url));
                    }
                    opened = true;
                }
                Incoming::Lost(loss) => {
                    say!("{loss}; reconnecting in {}", shown(loss.retry_in));
                }
                // An id without an event: a position to continue from.
                Incoming::LastEventId(id) => self.passed(&id)?,
                Incoming::Discarding(error) => {
                    say!("discarding an event: {error}");
                    lost = true;
                    if self.fail_on_gap {
                        return Ok(Outcome::EventsLost);
                    }
                }
                Incoming::Discarded(discarded) => {
                    say!("events were lost: {}", discarded.error());
                    lost = true;
                    if self.fail_on_gap {
                        return Ok(Outcome::EventsLost);
                    }
                }
                Incoming::LastEventIdNotSent(id) => {
                    let start: String = id.chars().take(100).collect();
                    say!(
                        "events may have been lost: the id {start:?} ({} bytes) is too long for a \
                         request header, or contains characters that a header cannot hold",
                        id.len()
                    );
                    lost = true;
                    if self.fail_on_gap {
                        return Ok(Outcome::EventsLost);
                    }
                }
                Incoming::Closed(reason) => return self.closed(reason, opened, lost).await,
                _ => {}
            }
        }
    }

    fn is_wanted(&self, event: &ReceivedEvent) -> bool {
        self.event_types.is_empty()
            || self.event_types.iter().any(|wanted| wanted == event.event_type())
    }

    fn passed(&mut self, id: &str) -> anyhow::Result<()> {
        match &mut self.resume {
            Some(resume) => resume.passed(id, self.output.end()),
            None => Ok(()),
        }
    }

    /// Waits for the acknowledgements of all written events, or until the reader closes standard
    /// input.
    async fn last_acknowledgements(&mut self, lost: bool) -> anyhow::Result<Outcome> {
        if let Some(resume) = &mut self.resume {
            while resume.waits() {
                match resume.acknowledgement().await {
                    Some(line) => resume.acknowledge(&line)?,
                    None => break,
                }
            }
        }
        Ok(self.outcome(lost))
    }

    async fn closed(
        &mut self,
        reason: CloseReason,
        opened: bool,
        lost: bool,
    ) -> anyhow::Result<Outcome> {
        match reason {
            CloseReason::NoContent => {
                say!("the {} ended the stream", self.server);
                self.last_acknowledgements(lost).await
            }
            reason if reason.is_success() => self.last_acknowledgements(lost).await,
            CloseReason::Json(answer) => {
                put!("{}", String::from_utf8_lossy(&answer.body));
                anyhow::bail!("the response is JSON, not an event stream")
            }
            CloseReason::Failed(ConnectError::Status(refusal)) => {
                Err(hub::refused(self.server, &refusal))
            }
            CloseReason::Failed(
                error @ (ConnectError::Transport(_) | ConnectError::NoAnswer { .. }),
            ) => {
                let what = if opened { "cannot reconnect" } else { &self.no_answer };
                Err(hub::unanswered(error, what.to_owned()))
            }
            CloseReason::GaveUp {
                last: Some(LossError::Connect(ConnectError::Status(last))),
                ..
            } => Err(hub::refused(self.server, &last)),
            reason => Err(reason.into()),
        }
    }

    fn outcome(&self, lost: bool) -> Outcome {
        let has_failed = self.exec.as_ref().is_some_and(Exec::has_failed);
        match lost && self.fail_on_gap {
            true => Outcome::EventsLost,
            false if has_failed => Outcome::Failed,
            false => Outcome::Done,
        }
    }
}

/// Prints a notice of the hub. Returns whether it reports a loss.
fn tell(notice: &Notice) -> bool {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    match notice.kind() {
        NoticeKind::Gap { oldest, .. } => {
            say!("events were lost: the hub continues from {}", or_unknown(oldest));
        }
        NoticeKind::Reset { asked } => {
            say!("events may have been lost: the hub does not know {}", or_unknown(asked));
        }
        NoticeKind::Draining { .. } => say!("the hub is draining"),
        NoticeKind::Live { .. } => say!("receiving new events"),
        NoticeKind::Resumed { asked, .. } => say!("resumed after {}", or_unknown(asked)),
        NoticeKind::Slow { behind: Some(behind) } => {
            say!("too slow: {behind} updates behind, catching up");
        }
        NoticeKind::Slow { behind: None } => say!("too slow, catching up"),
        NoticeKind::Expiring { in_ms } => {
            say!("the token expires in {}", shown(Duration::from_millis(*in_ms)));
        }
        NoticeKind::Revoked => say!("the token was revoked"),
        NoticeKind::Anonymous => {
            say!("the request had no token, so the hub sends public events only");
        }
        _ => {}
    }
    notice.is_loss()
}

fn shown(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(0)))
}
