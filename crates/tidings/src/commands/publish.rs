//! `tidings publish`: publishes an update to a hub.

use std::io::Read as _;
use std::sync::Arc;

use anyhow::Context as _;
use serde_json::json;
use tidings_client::transport::ReqwestTransport;
use tidings_client::{ConnectError, Event, PublishError, Publisher, Update};

use super::{headers, hub};
use crate::args::{HubArgs, PublishArgs};
use crate::console::put;
use crate::outcome::{Ended, Outcome};

pub(crate) async fn run(args: PublishArgs) -> anyhow::Result<Outcome> {
    let HubArgs { hub, request } = args.hub;
    let url = hub::url(&hub)?;
    let headers = headers::read_with_token(&request)?;
    let data = if args.data == "-" { read_input()? } else { args.data };
    let mut event = Event::new(data);
    if let Some(event_type) = args.event_type.filter(|text| !text.is_empty()) {
        let typed = event.with_type(&event_type);
        event = typed.map_err(|error| Ended::usage(format!("--type: {error}")))?;
    }
    if let Some(id) = args.id.filter(|text| !text.is_empty()) {
        let identified = event.with_id(&id);
        event = identified.map_err(|error| Ended::usage(format!("--id: {error}")))?;
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
    let transport = ReqwestTransport::new().context("cannot set up the HTTP client")?;
    let publisher = Publisher::new(url.clone(), Arc::new(transport))
        .headers(headers)
        .answer_within(request.common.timeout);
    let id = match publisher.publish(&update).await {
        Ok(id) => id,
        Err(PublishError::Refused(refusal)) => return Err(hub::refused("hub", &refusal)),
        Err(PublishError::NotSent(ConnectError::Transport(error))) if error.proxy().is_some() => {
            return Err(hub::not_through_proxy(error));
        }
        Err(PublishError::NotSent(error)) => {
            return Err(
                anyhow::Error::new(error).context(format!("no response from {}", hub::shown(&url)))
            );
        }
        Err(error) => return Err(error.into()),
    };
    if args.json {
        put!("{}", json!({ "id": id.as_str() }));
    } else {
        put!("{id}");
    }
    Ok(Outcome::Done)
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
