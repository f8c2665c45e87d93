//! `tidings tail`: prints the events of any event stream, and reconnects.

use std::io::Read as _;

use anyhow::Context as _;
use reqwest::Url;
use reqwest::header::{CONTENT_TYPE, HeaderValue, USER_AGENT};
use tidings_client::reconnect::{Mode, Policy};
use tidings_client::{EventId, EventSource};

use super::follow::Follow;
use super::output::Output;
use super::resume::Resume;
use super::{headers, hub};
use crate::args::TailArgs;
use crate::outcome::{Ended, Outcome};

pub(crate) async fn run(args: TailArgs) -> anyhow::Result<Outcome> {
    let mut url = url(&args.url)?;
    let stream = without_login(&url);
    let is_asked = url.query_pairs().any(|(name, _)| name == "tidings");
    if args.post.is_none() && hub::is_hubs(&url) && !is_asked {
        // The position before the first event, so that a connection lost before it loses nothing,
        // and the topics of each event.
        url.query_pairs_mut().append_pair("tidings", "place,topics");
    }
    let mut headers = headers::read(&args.request)?;
    headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(super::AGENT));
    let mut policy = Policy::default();
    policy.retry_first = args.wait;
    policy.reconnection_time = args.retry;
    policy.budget = args.give_up_after;
    policy.silence_max = Some(args.silence).filter(|time| !time.is_zero());
    let mut source = match &args.post {
        None => EventSource::get(&url),
        Some(post) => {
            let body = body(post)?;
            if !headers.contains_key(CONTENT_TYPE)
                && serde_json::from_slice::<serde::de::IgnoredAny>(&body).is_ok()
            {
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            }
            policy.mode = Mode::Once;
            let source = EventSource::post(&url).body(body);
            match args.until.clone() {
                Some(until) => source.ends_with(move |event| event.data() == until),
                None => source,
            }
        }
    };
    source = source.headers(headers).policy(policy);
    if args.post.is_none() {
        source = source.answer_within(args.request.timeout);
    }
    let mut output = Output::new(args.format.chosen());
    let resume = match args.resume_file {
        None => None,
        Some(path) => {
            let mut resume = Resume::open(path, stream.as_str())?;
            if args.ack {
                resume.read_acknowledgements().context("cannot read acknowledgements")?;
            } else {
                output.watch(resume.output()).context("cannot read standard output")?;
            }
            Some(resume)
        }
    };
    let kept = resume.as_ref().map(|resume| resume.last_event_id().to_owned());
    let kept = kept.filter(|id| !id.is_empty());
    if let Some(id) = kept.or(args.from).filter(|id| !id.is_empty()) {
        source = source.last_event_id(event_id(&id)?);
    }
    let follow = Follow {
        server: "server",
        no_answer: format!("cannot connect to {}", url.origin().ascii_serialization()),
        event_types: args.event_types,
        count: args.count,
        until: args.until,
        fail_on_gap: args.fail_on_gap,
        output,
        exec: None,
        resume,
        tells_opening: true,
    };
    follow.run(source.open()).await
}

/// The URL of a stream. `http://` is added if the text has no scheme.
pub(crate) fn url(text: &str) -> anyhow::Result<Url> {
    hub::parse(text, "URL")
}

/// The URL of the stream, without a login.
fn without_login(url: &Url) -> Url {
    let mut url = url.clone();
    // Both fail for URLs without a host only, and http URLs have one.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    url
}

fn event_id(text: &str) -> anyhow::Result<EventId> {
    EventId::new(text).map_err(|error| Ended::usage(format!("invalid id to begin at: {error}")))
}

fn body(text: &str) -> anyhow::Result<Vec<u8>> {
    if text == "-" {
        let mut body = Vec::new();
        std::io::stdin().read_to_end(&mut body).context("cannot read standard input")?;
        return Ok(body);
    }
    match text.strip_prefix('@') {
        Some(path) => std::fs::read(path).with_context(|| format!("cannot read {path}")),
        None => Ok(text.as_bytes().to_vec()),
    }
}
