//! `tidings subscribe`: what arrives on a hub's topics, also after the connection was lost.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use reqwest::{Response, StatusCode, header};
use serde_json::json;
use tidings_sse::{DecodedEvent, Decoder, EventId, Item, Limits};

use super::hub_client::{HubClient, refusal};
use crate::args::{Global, SubscribeArgs};
use crate::outcome::{Ended, Outcome};

/// Until a stream says otherwise.
const RETRY: Duration = Duration::from_secs(3);
/// Connections that are tried one after another, without an event in between, before it is
/// taken that the hub won't come back.
const ATTEMPTS_MAX: u32 = 20;

pub(crate) async fn run(args: SubscribeArgs, global: &Global) -> anyhow::Result<Outcome> {
    let hub = HubClient::new(global)?;
    tokio::select! {
        done = Subscription::new(args).follow(&hub, global) => done,
        _ = tokio::signal::ctrl_c() => Ok(Outcome::Interrupted),
    }
}

struct Subscription {
    args: SubscribeArgs,
    decoder: Decoder,
    /// Fields of the block that is not complete yet.
    topics: Vec<String>,
    retry: Duration,
    printed: u64,
    lost: bool,
}

/// Why a stream was left.
enum Left {
    /// The connection ended; the hub may still have more.
    Ended,
    /// Everything that was asked for has come.
    Complete,
}

impl Subscription {
    fn new(args: SubscribeArgs) -> Self {
        let decoder = Decoder::new(Limits::default());
        Self { args, decoder, topics: Vec::new(), retry: RETRY, printed: 0, lost: false }
    }

    async fn follow(mut self, hub: &HubClient, global: &Global) -> anyhow::Result<Outcome> {
        if self.args.from != "now" {
            let from = EventId::new(&self.args.from)
                .map_err(|error| Ended::usage(format!("--from: {error}")))?;
            self.decoder.set_last_event_id(&from);
        }
        let mut failures = 0;
        loop {
            match self.connect(hub, global).await {
                Ok(response) if response.status() == StatusCode::NO_CONTENT => {
                    eprintln!("the hub has ended the stream");
                    return Ok(self.outcome());
                }
                Ok(response) if is_passing(response.status()) && failures > 0 => {
                    let error = refusal(response, global.timeout).await;
                    eprintln!("{error:#}; trying again in {}", shown(self.retry));
                }
                Ok(response) if response.status() != StatusCode::OK => {
                    return Err(refusal(response, global.timeout).await);
                }
                Ok(response) => {
                    let before = self.printed;
                    if let Left::Complete = self.read(response).await? {
                        return Ok(self.outcome());
                    }
                    if self.printed > before {
                        failures = 0;
                    }
                    eprintln!("the connection has ended; coming back in {}", shown(self.retry));
                }
                Err(error) if failures == 0 && self.printed == 0 => {
                    return Err(error.context(format!(
                        "no hub answers at {}; is it running? `tidings` starts one",
                        hub.url
                    )));
                }
                Err(error) => eprintln!("{error:#}; trying again in {}", shown(self.retry)),
            }
            failures += 1;
            if failures > ATTEMPTS_MAX {
                anyhow::bail!("given up after {ATTEMPTS_MAX} attempts without an event");
            }
            tokio::time::sleep(self.retry).await;
        }
    }

    async fn connect(&self, hub: &HubClient, global: &Global) -> anyhow::Result<Response> {
        let topics = self.args.topics.iter().map(|topic| ("topic", topic.as_str()));
        let query: Vec<_> = topics.chain([("tidings", "topics,notices")]).collect();
        let mut request = hub
            .client
            .get(hub.url.clone())
            .query(&query)
            .header(header::ACCEPT, "text/event-stream")
            .header(header::CACHE_CONTROL, "no-cache");
        if !self.decoder.last_event_id().is_empty() {
            request = request.header("last-event-id", self.decoder.last_event_id());
        }
        let answer = tokio::time::timeout(global.timeout, request.send()).await;
        Ok(answer.context("the hub did not answer in time")??)
    }

    async fn read(&mut self, mut response: Response) -> anyhow::Result<Left> {
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok()).unwrap_or("none");
        if !content_type.to_ascii_lowercase().starts_with("text/event-stream") {
            anyhow::bail!("the answer is no event stream; its content type is {content_type}");
        }
        self.decoder.end_stream();
        self.topics.clear();
        loop {
            let chunk = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(Left::Ended),
                Err(error) => {
                    eprintln!("the connection broke: {error}");
                    return Ok(Left::Ended);
                }
            };
            self.decoder.push(&chunk);
            if self.take_items()? {
                return Ok(Left::Complete);
            }
        }
    }

    /// Prints what was decoded. Says whether all that was asked for has come.
    fn take_items(&mut self) -> anyhow::Result<bool> {
        let mut out = io::stdout().lock();
        while let Some(item) = self.decoder.next() {
            match item {
                Item::Retry(time) => self.retry = time.max(Duration::from_millis(100)),
                Item::Field { name: "topic", value } => self.topics.push(value.to_owned()),
                Item::Event(event) if event.event_type() == "tidings" => {
                    self.topics.clear();
                    if note(event.data()) {
                        self.lost = true;
                        if self.args.fail_on_gap {
                            return Ok(true);
                        }
                    }
                }
                Item::Event(event) => {
                    let topics = std::mem::take(&mut self.topics);
                    let wanted = &self.args.event_types;
                    if !wanted.is_empty() && !wanted.iter().any(|one| one == event.event_type()) {
                        continue;
                    }
                    print(&event, topics, self.args.json, &mut out)
                        .context("standard output is closed")?;
                    self.printed += 1;
                    let is_last = self.args.until.as_deref() == Some(event.data());
                    if is_last || Some(self.printed) == self.args.count {
                        return Ok(true);
                    }
                }
                Item::NoEvent => self.topics.clear(),
                Item::Discarded(discarded) => eprintln!("an event was too large: {discarded:?}"),
                Item::Failed(error) => return Err(error.into()),
                _ => {}
            }
        }
        Ok(false)
    }

    fn outcome(&self) -> Outcome {
        if self.lost && self.args.fail_on_gap { Outcome::EventsLost } else { Outcome::Done }
    }
}

/// Statuses that may be different next time.
fn is_passing(status: StatusCode) -> bool {
    status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS
}

fn print(
    event: &DecodedEvent<'_>,
    topics: Vec<String>,
    json: bool,
    out: &mut impl io::Write,
) -> io::Result<()> {
    if json {
        let line = json!({
            "type": event.event_type(),
            "id": event.last_event_id(),
            "data": event.data(),
            "topics": topics,
        });
        writeln!(out, "{line}")?;
    } else {
        writeln!(out, "{}", event.data())?;
    }
    out.flush()
}

/// Says what the hub said. True if it was about a loss.
fn note(data: &str) -> bool {
    let notice: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
    let text = |name: &str| notice[name].as_str().unwrap_or("?").to_owned();
    match notice["kind"].as_str() {
        Some("gap") => {
            eprintln!("events were lost: the hub goes on from {}", text("oldest"));
            true
        }
        Some("reset") => {
            eprintln!("events may be lost: the hub does not know {}", text("asked"));
            true
        }
        Some("draining") => {
            eprintln!("the hub is going");
            false
        }
        Some("live") => {
            eprintln!("live");
            false
        }
        Some("resumed") => {
            eprintln!("resumed after {}", text("asked"));
            false
        }
        Some("slow") => {
            eprintln!("catching up: {} updates have come meanwhile", notice["behind"]);
            false
        }
        _ => false,
    }
}

fn shown(time: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(u64::try_from(time.as_millis()).unwrap_or(0)))
}
