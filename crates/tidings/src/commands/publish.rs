//! `tidings publish`: one update to a hub.

use std::io::Read as _;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tidings_client::transport::ReqwestTransport;
use tidings_client::{Event, PublishError, Publisher, Update};

use super::{headers, hub};
use crate::args::{Global, PublishArgs};
use crate::outcome::{Ended, Outcome};

pub(crate) async fn run(args: PublishArgs, global: &Global) -> anyhow::Result<Outcome> {
    let url = hub::url(&global.hub)?;
    let headers = headers::read_with_token(global)?;
    let data = if args.data == "-" { read_input()? } else { args.data };
    let mut event = Event::new(data);
    if let Some(event_type) = args.event_type.filter(|text| !text.is_empty()) {
        event = event.with_type(&event_type).map_err(|error| Ended::usage(error.to_string()))?;
    }
    if let Some(id) = args.id.filter(|text| !text.is_empty()) {
        event = event.with_id(&id).map_err(|error| Ended::usage(error.to_string()))?;
    }
    if let Some(retry) = args.retry {
        event = event.with_retry(retry);
    }
    let mut update = Update::new(args.topic, event);
    for topic in args.also {
        update = update.also_about(topic);
    }
    if args.private {
        update = update.private();
    }
    let transport = ReqwestTransport::new().context("the HTTP client cannot be made")?;
    let publisher = Publisher::new(url.clone(), Arc::new(transport))
        .headers(headers)
        .answer_within(global.timeout);
    let id = match publisher.publish(&update).await {
        Ok(id) => id,
        Err(PublishError::Refused(refusal)) => return Err(hub::refused("hub", &refusal)),
        Err(PublishError::NotSent(error)) => {
            return Err(anyhow::Error::new(error).context(format!("no answer from {url}")));
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        println!("{}", json!({ "id": id.as_str() }));
    } else {
        println!("{id}");
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
