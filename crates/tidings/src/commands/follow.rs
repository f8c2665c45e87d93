//! What `subscribe` and `tail` share: events to standard output, news to standard error, and
//! how it ends.

use std::time::Duration;

use anyhow::Context as _;
use tidings_client::{
    CloseReason, ConnectError, Incoming, LossError, Notice, NoticeKind, ReceivedEvent, Subscription,
};

use super::hub;
pub(crate) use super::output::Form;
use super::output::Output;
use super::resume::Resume;
use crate::outcome::Outcome;

/// How a stream is followed.
pub(crate) struct Follow {
    /// Who is at the other end: "hub" or "server".
    pub(crate) who: &'static str,
    /// What is said when nobody is.
    pub(crate) nobody: String,
    pub(crate) event_types: Vec<String>,
    pub(crate) count: Option<u64>,
    pub(crate) until: Option<String>,
    pub(crate) fail_on_gap: bool,
    pub(crate) output: Output,
    pub(crate) resume: Option<Resume>,
    pub(crate) tells_opening: bool,
}

/// What happened last.
enum Heard {
    Incoming(Option<Incoming>),
    Word(Option<String>),
}

impl Follow {
    pub(crate) async fn run(self, stream: Subscription) -> anyhow::Result<Outcome> {
        tokio::select! {
            done = self.follow(stream) => done,
            _ = tokio::signal::ctrl_c() => Ok(Outcome::Interrupted),
        }
    }

    async fn follow(mut self, mut stream: Subscription) -> anyhow::Result<Outcome> {
        let mut printed = 0;
        let mut lost = false;
        let mut opened = false;
        loop {
            let heard = match &mut self.resume {
                None => Heard::Incoming(stream.next().await),
                Some(resume) if resume.is_full() => Heard::Word(resume.word().await),
                Some(resume) => tokio::select! {
                    biased;
                    word = resume.word() => Heard::Word(word),
                    incoming = stream.next() => Heard::Incoming(incoming),
                },
            };
            let incoming = match heard {
                Heard::Incoming(Some(incoming)) => incoming,
                Heard::Incoming(None) => return Ok(self.outcome(lost)),
                Heard::Word(Some(word)) => {
                    if let Some(resume) = &mut self.resume {
                        resume.acknowledge(&word)?;
                    }
                    continue;
                }
                Heard::Word(None) => anyhow::bail!("the reader has ended its acknowledgements"),
            };
            match incoming {
                Incoming::Event(event) if self.is_wanted(&event) => {
                    self.output.write(&event).context("standard output is closed")?;
                    let id = event.last_event_id();
                    if let Some(resume) = &mut self.resume {
                        resume.written(id, self.output.end())?;
                    }
                    if printed == 0 && id.is_empty() && self.resume.is_some() {
                        eprintln!("the events have no ids: no place can be kept");
                    }
                    printed += 1;
                    let is_last = self.until.as_deref() == Some(event.data());
                    if is_last || Some(printed) == self.count {
                        return self.last_words(lost).await;
                    }
                }
                Incoming::Event(event) => self.passed(event.last_event_id())?,
                Incoming::Notice(notice) => {
                    if tell(&notice) {
                        lost = true;
                        // The place stays before what was lost, so that the next run says it too.
                        if self.fail_on_gap {
                            return Ok(Outcome::EventsLost);
                        }
                    }
                    self.passed(notice.event().last_event_id())?;
                }
                Incoming::Open(head) => {
                    if self.tells_opening {
                        let again = if opened { " again" } else { "" };
                        eprintln!("connected{again} to {}", without_secrets(&head.url));
                    }
                    opened = true;
                }
                Incoming::Lost(loss) => {
                    eprintln!("{loss}; trying again in {}", shown(loss.retry_in));
                }
                Incoming::Discarded(discarded) => {
                    eprintln!("events were lost: {}", discarded.error());
                    lost = true;
                    if self.fail_on_gap {
                        return Ok(Outcome::EventsLost);
                    }
                }
                Incoming::LastEventIdNotSent(id) => {
                    eprintln!(
                        "events may be missing: the id {id:?} has characters that no header can \
                         carry"
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

    /// All is written; where the reader's word counts, it is waited for until the reader ends.
    async fn last_words(&mut self, lost: bool) -> anyhow::Result<Outcome> {
        if let Some(resume) = &mut self.resume {
            while resume.waits() {
                match resume.word().await {
                    Some(word) => resume.acknowledge(&word)?,
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
                eprintln!("the {} has ended the stream", self.who);
                self.last_words(lost).await
            }
            reason if reason.is_success() => self.last_words(lost).await,
            CloseReason::Json(answer) => {
                println!("{}", String::from_utf8_lossy(&answer.body));
                anyhow::bail!("the answer is JSON, and no event stream")
            }
            CloseReason::Failed(ConnectError::Status(refusal)) => {
                Err(hub::refused(self.who, &refusal))
            }
            CloseReason::Failed(
                error @ (ConnectError::Transport(_) | ConnectError::NoAnswer { .. }),
            ) if !opened => Err(anyhow::Error::new(error).context(self.nobody.clone())),
            CloseReason::GaveUp {
                last: Some(LossError::Connect(ConnectError::Status(last))),
                ..
            } => Err(hub::refused(self.who, &last)),
            reason => Err(reason.into()),
        }
    }

    fn outcome(&self, lost: bool) -> Outcome {
        if lost && self.fail_on_gap { Outcome::EventsLost } else { Outcome::Done }
    }
}

/// Says what the hub said. True if it was about a loss.
fn tell(notice: &Notice) -> bool {
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "?".to_owned());
    match notice.kind() {
        NoticeKind::Gap { oldest, .. } => {
            eprintln!("events were lost: the hub goes on from {}", or_unknown(oldest));
        }
        NoticeKind::Reset { asked } => {
            eprintln!("events may be lost: the hub does not know {}", or_unknown(asked));
        }
        NoticeKind::Draining { .. } => eprintln!("the hub is going"),
        NoticeKind::Live { .. } => eprintln!("live"),
        NoticeKind::Resumed { asked, .. } => eprintln!("resumed after {}", or_unknown(asked)),
        NoticeKind::Slow { behind: Some(behind) } => {
            eprintln!("catching up: {behind} updates have come meanwhile");
        }
        NoticeKind::Slow { behind: None } => eprintln!("catching up"),
        NoticeKind::Expiring { in_ms } => {
            eprintln!("the token ends in {}", shown(Duration::from_millis(*in_ms)));
        }
        NoticeKind::Revoked => eprintln!("the token was revoked"),
        NoticeKind::Anonymous => eprintln!("the hub took no token: only public events will come"),
        _ => {}
    }
    notice.is_loss()
}

/// A URL as it may be shown: neither who asks, nor what a query may hold.
fn without_secrets(url: &reqwest::Url) -> String {
    let mut url = url.clone();
    // Both fail for URLs without a host, which http has not.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url.set_query(None);
    url.to_string()
}

fn shown(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(0)))
}
