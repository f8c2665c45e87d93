//! `tidings publish`: publishes an update to a hub, or one for each line of standard input.

mod lines;

use std::io::Read as _;
use std::sync::Arc;

use anyhow::Context as _;
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::json;
use tidings_client::transport::ReqwestTransport;
use tidings_client::{Event, PublishError, Publisher, Update};

use self::lines::Lines;
use super::stop::stopped;
use super::{hub, saved};
use crate::args::PublishArgs;
use crate::console::{self, put};
use crate::outcome::{Ended, Outcome};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(crate) async fn run(args: PublishArgs) -> anyhow::Result<Outcome> {
    let (url, headers) = saved::target(&args.hub)?;
    let transport = match args.lines {
        true => ReqwestTransport::pooled(),
        false => ReqwestTransport::new(),
    };
    let transport = transport.context("cannot set up the HTTP client")?;
    let publisher = Publisher::new(url.clone(), Arc::new(transport))
        .headers(headers.clone())
        .answer_within(args.hub.request.common.timeout);
    if !args.lines {
        let data = if args.data == "-" { read_input()? } else { args.data.clone() };
        publish(&publisher, &url, &args, data).await?;
        return Ok(Outcome::Done);
    }
    if !matches!(args.data.as_str(), "" | "-") {
        return Err(Ended::usage(
            "--lines reads the data from standard input; remove the data, or --lines",
        ));
    }
    let mut lines = Lines::of_input()?;
    let publishing = async {
        while let Some((number, line)) = lines.next().await? {
            // A proxy may send a request again.
            let mut headers = headers.clone();
            headers.insert(IDEMPOTENCY_KEY, key()?);
            let publisher = publisher.clone().headers(headers);
            publish(&publisher, &url, &args, line)
                .await
                // The exit code is that of the cause.
                .map_err(|error| {
                    let is_refused = Outcome::of(&error) == Outcome::Refused;
                    error.context(match is_refused {
                        true => format!("line {number} was not published"),
                        // Without an answer it may have been published.
                        false => format!("stopped at line {number}"),
                    })
                })?;
        }
        Ok(Outcome::Done)
    };
    tokio::select! {
        done = publishing => done,
        () = console::reader_gone() => Ok(Outcome::Unread),
        outcome = stopped() => Ok(outcome),
    }
}

/// A new key of a publish: the hub publishes an update once, however often its request arrives.
fn key() -> anyhow::Result<HeaderValue> {
    Ok(format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..)).parse()?)
}

/// Publishes an update with this data, and prints its id.
async fn publish(
    publisher: &Publisher,
    url: &Url,
    args: &PublishArgs,
    data: String,
) -> anyhow::Result<()> {
    let id = match publisher.publish(&update(args, data)?).await {
        Ok(id) => id,
        Err(PublishError::Refused(refusal)) => return Err(hub::refused("hub", &refusal)),
        Err(PublishError::NotSent(error)) => {
            return Err(hub::unanswered(error, format!("no response from {}", hub::shown(url))));
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        put!("{}", json!({ "id": id.as_str() }));
    } else {
        put!("{id}");
    }
    Ok(())
}

fn update(args: &PublishArgs, data: String) -> anyhow::Result<Update> {
    let mut event = Event::new(data);
    if let Some(event_type) = args.event_type.as_deref().filter(|text| !text.is_empty()) {
        let typed = event.with_type(event_type);
        event = typed.map_err(|error| Ended::usage(format!("--type: {error}")))?;
    }
    if let Some(id) = args.id.as_deref().filter(|text| !text.is_empty()) {
        let identified = event.with_id(id);
        event = identified.map_err(|error| Ended::usage(format!("--id: {error}")))?;
    }
    if let Some(retry) = args.retry {
        event = event.with_retry(retry);
    }
    let mut update = Update::new(&args.topic, event);
    for topic in &args.also {
        update = update.also_about(topic);
    }
    Ok(if args.private { update.private() } else { update })
}

fn read_input() -> anyhow::Result<String> {
    let mut data = String::new();
    std::io::stdin().read_to_string(&mut data).context("standard input is not UTF-8 text")?;
    // `echo` and editors end a text with a line break, which is not part of the data.
    if data.ends_with('\n') {
        data.pop();
    }
    Ok(data)
}
