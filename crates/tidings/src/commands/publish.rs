//! `tidings publish`: one update to a hub.

use std::io::Read as _;

use anyhow::Context as _;
use serde_json::json;

use super::hub_client::{HubClient, refusal};
use crate::args::{Global, PublishArgs};
use crate::outcome::Outcome;

pub(crate) async fn run(args: PublishArgs, global: &Global) -> anyhow::Result<Outcome> {
    let hub = HubClient::new(global)?;
    let data = if args.data == "-" { read_input()? } else { args.data };
    let mut topics = vec![args.topic];
    topics.extend(args.also);
    let mut update = json!({ "topics": topics, "data": data, "private": args.private });
    let retry = args.retry.map(|retry| u64::try_from(retry.as_millis())).transpose()?;
    let optional = [
        ("type", args.event_type.map(Into::into)),
        ("id", args.id.map(Into::into)),
        ("retry", retry.map(Into::into)),
    ];
    for (name, value) in optional {
        if let Some(value) = value {
            update[name] = value;
        }
    }
    let request = hub.client.post(hub.url.clone()).timeout(global.timeout).json(&update);
    let response = request.send().await.with_context(|| format!("no answer from {}", hub.url))?;
    if !response.status().is_success() {
        return Err(refusal(response, global.timeout).await);
    }
    let answer: serde_json::Value =
        response.json().await.context("the hub's answer is not what a hub answers")?;
    if args.json {
        println!("{answer}");
    } else {
        println!("{}", answer["id"].as_str().unwrap_or_default());
    }
    Ok(Outcome::Done)
}

fn read_input() -> anyhow::Result<String> {
    let mut data = String::new();
    std::io::stdin().read_to_string(&mut data).context("standard input is no UTF-8 text")?;
    // The line break that `echo` and editors end a text with is none of the data.
    if data.ends_with('\n') {
        data.pop();
    }
    Ok(data)
}
